"""What runs inside vLLM's own server process. vLLM's internals are used here and nowhere else.

server           starts vLLM's server with our policy endpoint in it
policy_endpoint  GET/PUT/DELETE /policy: loads, swaps, tags answers with their version
tagging          an answer says which version made its first and its last token
transfer         weights that a trainer sends, over vLLM's weight-transfer API
gloo             vLLM's weight transfer without a GPU, both ends of it
worker           what vLLM's workers do after a reload
base_rows        a request for the base gets nothing of an adapter beside it (torch)
traffic          the answers under way, and whether more may begin
readiness        has it what the gateways want?
drain            has an engine finish its answers before it is stopped
liveness         calls to vLLM's engine core end when that dies
asgi             the little of ASGI that such an endpoint needs
weights          a policy folder checked before an engine loads it (torch)

may import: feedback, serving
"""
