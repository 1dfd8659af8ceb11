"""What runs inside vLLM's own server process. vLLM's internals are used here and nowhere else.

server           starts vLLM's server with our policy endpoint in it
policy_endpoint  GET/PUT/DELETE /policy: loads, swaps, tags answers with their version
traffic          the answers under way, and whether more may begin
liveness         calls to vLLM's engine core end when that dies
asgi             the little of ASGI that such an endpoint needs
weights          what tensors hold, checked before an engine loads them (torch)

may import: feedback, serving
"""
