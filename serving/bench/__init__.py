"""`hone bench …`: what the gateway, the engine and a swap cost, each beside a peer or a floor of the same run.

commands  the command line
gateway   the gateway on one core before a mock upstream, beside going direct and LiteLLM
engine    a running stack: vLLM direct and through its gateway
swap      a running stack: versions change while streams are in flight
verdict   what became of those streams: dropped, wrong, made to wait
load      the load client, a process of its own
relay     the floor under a gateway: bytes passed on, a process of its own
mock      the mock upstream, a process of its own: engine and moderation server in one
report    rounds, medians over them, tables

may import: moderation, feedback, serving
"""
