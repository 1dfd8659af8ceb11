"""Answers requests; knows, and changes, what is live.

settings         where the gateway and the engines are, and their bounds (HONE_SERVING_…)
auth             API keys: made, hashed, scoped, rotated, revoked
limits           what a key may use, counted together by all gateways
idempotency      a request sent twice under one Idempotency-Key is answered once
retired          what stays of a version whose weights are removed
registry         which policy versions there are, and which of them the aliases mean
artifact         a version's folder: manifest, digests, and whether it may be loaded
routing          which version a model name means, and which engine answers
engines          vLLM's HTTP, as hone uses it
fleet            what each engine has loaded; loads what is wanted; opens answers, with one retry
breaker          an engine that keeps failing is left alone for a while
waiting          requests that wait for room on an engine
promotion        a version goes live, or the one before it comes back
rollouts         full weights on their way to all engines, whoever dies in between
refresh          what the gateway keeps in memory of Redis: registry, keys, counters
request_fields   the fields of a request: which are known, what the engine gets
field_checks     what one field of a request may hold
screening        moderation on the request path, before and after
screened         what moderation says about a text, and how an answer shows it
holding          chunks of a stream that wait until moderation has read them
candidates       an engine's answer as the log keeps it and as the client sees it
upstream         one answer of an engine, opened: status, versions, events
exchange         one request and its answer, until it is in the log
streaming        server-sent events from an engine, rewritten on their way to a client
openai_api       the routes /v1/chat/completions, /v1/completions, /v1/models, /v1/moderations
candidate_sets   the route that samples several answers to a stored prompt, to be ranked
supply           fills the labelers' queue: prompts that people asked, answered K times
stored_completions  the routes of stored completions: list, retrieve, update, delete, messages
admin            the routes of an operator that change what serves, and who may call
round_states     what a round of training can be, and how that changes: one script at a time
round_decisions  what an operator decides about a round: asked for, cancelled, gone on with, overridden
repeated         what a gateway does over and over beside its requests
reasons          why an operator changes something: bodies of their requests
erasures         end users' texts removed, and which versions were trained on them
erasure_routes   the routes that erase an end user
feedback_routes  the feedback package's routes: who may judge, who may label
direct           the routes of the data path, called without FastAPI in between
edge             what every request passes: size, ids, times, errors in OpenAI's shape
tracing          spans of a request, or nothing where no traces are sent
otlp             whether traces are wanted, and can be sent
otel             spans made by OpenTelemetry's SDK; loaded only then
logs             one JSON object a line, with the request's id and version
metrics          what GET /metrics shows
health           /healthz, /readyz, /metrics
gateway          the parts of a gateway process, opened and closed together
app              the FastAPI application
server           the HTTP server: clients that are slow beyond reason are broken off
cli              the command line; every command imports what it needs when it runs

Sub-packages, each with a map of its own:

canary/          a new version before a share of the people, until what they say decides
lineage/         from an answer to the judgements behind its weights, and back
playground/      the chat page at /
oversight/       what an operator sees and does: reads and actions, as JSON and for the console
exported/        what /metrics says of engines, rounds, queues, Redis and disks
console/         the operator's pages at /console
recovery/        the registry made anew from the folders, where Redis was lost
stack/           `hone up`: every part of it on this machine, in one terminal
in_vllm/         what runs inside vLLM's server
schemas/         /openapi.json, and the shapes in it
webhooks/        told to others when a version goes live or a round ends
commands/        `hone keys …`, `hone policies …`, and what commands share
bench/           `hone bench …`

may import: moderation, feedback
"""
