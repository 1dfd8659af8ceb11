"""What /metrics says beside the gateway's own requests: engines, rounds, queues, Redis, disks.

Looked at every few seconds in the background, never for a request. What only Redis knows is said by every
gateway alike, so queries take its `max`; while Redis is away it is left out, and is never stale.

families  every name, with its type, its help and its labels
shared    what Redis and the rounds' folders know, the same at every gateway
rounds    the part of it about rounds and their gate
own       what this gateway alone sees: engines, moderation, outbox, disks
exporter  looks, and hands it to Prometheus

may import: moderation, feedback
"""
