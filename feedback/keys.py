"""Every Redis key of hone. A name is written here and nowhere else."""

from __future__ import annotations

import hashlib
import json

PREFIX = "hone:"

API_KEYS = PREFIX + "api_keys"  # hash: SHA-256 of the key -> ApiKey as JSON (serving.auth)
POLICIES = PREFIX + "policies"  # hash: version -> PolicyRecord as JSON (serving.registry)
ALIASES = PREFIX + "aliases"  # hash: production | canary | previous -> version
LIVE_CHANNEL = PREFIX + "live"  # pub/sub: `production` changed; gateways read the aliases again
ROLLOUT = PREFIX + "rollout"  # string: full weights on their way to the engines; Rollout as JSON
ROLLOUT_LEASE = PREFIX + "rollout_lease"  # string with TTL: the gateway that carries it out
POLICY_SEQ = PREFIX + "policy_seq"  # counter: the last version number given out, never reused
LEASES = PREFIX + "assignment_leases"  # zset: completion id of a leased set -> lease end, unix s
LEASE_HOLDERS = PREFIX + "lease_holders"  # hash: completion id of a leased set -> labeler
LABELED = PREFIX + "labeled"  # set: "<completion id>:<labeler>" already judged
STORED_METADATA = (
    PREFIX + "stored_metadata"
)  # hash: completion id -> metadata that replaced its own

ROUND_SEQ = PREFIX + "round_seq"  # counter: the last round number
ROUND_ACTIVE = PREFIX + "round_active"  # string: id of the round under way
ROUND_LEASE = PREFIX + "round_lease"  # string with TTL: fencing token of the worker on the round
ROUND_FENCE = PREFIX + "round_fence"  # counter: fencing tokens
ROUND_REQUESTED = PREFIX + "round_requested"  # string: somebody asked for a round; JSON of options
ROUND_QUEUED = (
    PREFIX + "round_queued"
)  # string with TTL: a message for the train worker is under way
LEARNING_PAUSED = PREFIX + "learning_paused"  # string: present = no round starts (kill switch)
JUDGEMENTS_TRAINED = (
    PREFIX + "judgements_trained"
)  # string: feedback stream id of the last snapshot

WEBHOOKS = PREFIX + "webhooks"  # hash: endpoint id -> Endpoint as JSON (serving.webhooks.store)
WEBHOOK_CURSORS = PREFIX + "webhook_cursors"  # hash: kind -> last stream id made into deliveries
WEBHOOK_LEASE = PREFIX + "webhook_lease"  # string with TTL: token of the process that delivers

KINDS = ("completions", "feedback", "moderation", "rounds", "audit")


def stream(kind: str) -> str:
    """Stream of one kind of event."""
    return f"{PREFIX}log:{kind}"


def index(kind: str) -> str:
    """Hash: event id -> stream entry id, or `erased`. Makes an append happen once, a look-up O(1)."""
    return f"{PREFIX}index:{kind}"


def round_state(round_id: str) -> str:
    """Hash: phase, step, attempts, progress, error, times of one round."""
    return f"{PREFIX}round:{round_id}"


def rankable(tenant: str) -> str:
    """List: completion ids with n >= 2 that nobody has ranked yet, oldest first."""
    return f"{PREFIX}rankable:{tenant}"


def stored(tenant: str) -> str:
    """Sorted set by name: ids of a tenant's stored chat completions; ids sort by time."""
    return f"{PREFIX}stored:{tenant}"


def stored_where(tenant: str, field: str, value: str) -> str:
    """The same, of those with this `model`, or this value of `metadata.<key>`."""
    # Hashed: a text that a client chose must not be able to spell another tenant's key.
    digest = hashlib.sha256(json.dumps([field, value]).encode()).hexdigest()[:32]
    return f"{PREFIX}stored_where:{digest}:{tenant}"


def webhook_due(endpoint_id: str) -> str:
    """Zset: event id -> when it is to be posted to this endpoint (again), unix s."""
    return f"{PREFIX}webhook_due:{endpoint_id}"


def webhook_deliveries(endpoint_id: str) -> str:
    """Hash: event id -> Delivery as JSON (serving.webhooks.store), until it is delivered or given up."""
    return f"{PREFIX}webhook_deliveries:{endpoint_id}"


def replays(completion_id: str) -> str:
    """Set with TTL: names of the kept answers (`idempotency`) that hold this chat completion's text."""
    return f"{PREFIX}replays:{completion_id}"


def limits(key_id: str, what: str, window: int) -> str:
    """Counter of one key's requests or tokens in one minute (unix minutes)."""
    return f"{PREFIX}limit:{key_id}:{what}:{window}"


def under_way(key_id: str) -> str:
    """Hash: gateway -> "<answers of this key under way there>@<unix seconds>"."""
    return f"{PREFIX}under_way:{key_id}"


def idempotency(key_id: str, key: str) -> str:
    """The first answer to an `Idempotency-Key`, kept for a day."""
    return f"{PREFIX}idem:{key_id}:{key}"
