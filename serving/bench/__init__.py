"""`hone bench …`: what the gateway, the engine and a swap cost, each beside a peer or a floor of the same run.

commands  the command line
gateway   the gateway on one core before a mock upstream, beside going direct and LiteLLM
engine    a running stack: vLLM direct and through its gateway
feedback  judgements that one gateway takes, beside appending to the log alone
swap      a running stack: versions change while streams are in flight
archive   old events from Redis to Parquet, beside reading and writing alone
snapshot  a snapshot of an invented log, beside only reading it
invented  that log: events drawn from a seed
console   every screen of the console with a large store
invented_reports  what the steps of those rounds report
invented_moderation  versions of moderation's classifier that nobody fitted
invented_rounds  rounds and versions that nobody trained, for the console
verdict   what became of those streams: dropped, wrong, made to wait
load      the load client, a process of its own
archiving  one run of the archiver, a process of its own
relay     the floor under a gateway: bytes passed on, a process of its own
processes  the processes of a bench, and which cores they get
append    the floor under feedback: events appended to the log, a process of its own
mock      the mock upstream, a process of its own: engine and moderation server in one
report    rounds, medians over them, tables

may import: moderation, feedback, serving
"""
