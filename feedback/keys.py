"""Every Redis key of hone. A name is written here and nowhere else."""

from __future__ import annotations

import hashlib
import json

PREFIX = "hone:"

API_KEYS = PREFIX + "api_keys"  # hash: SHA-256 of the key -> ApiKey as JSON (serving.auth)
PLAYGROUND_CLOSED = PREFIX + "playground_closed"  # string: when the playground's key was revoked
POLICIES = PREFIX + "policies"  # hash: version -> PolicyRecord as JSON (serving.registry)
ALIASES = PREFIX + "aliases"  # hash: production | canary | previous -> version
LIVE_SINCE = PREFIX + "live_since"  # string: since when `production` means it, unix seconds
LIVE_CHANNEL = PREFIX + "live"  # pub/sub: `production` changed; gateways read the aliases again
ROLLOUT = PREFIX + "rollout"  # string: full weights on their way to the engines; Rollout as JSON
ROLLOUT_LEASE = PREFIX + "rollout_lease"  # string with TTL: the gateway that carries it out
CANARY = PREFIX + "canary"  # string: the canary that runs; Canary as JSON (serving.canary.state)
CANARIES = PREFIX + "canaries"  # hash: id -> canary that ended, and how; Ended as JSON
CANARY_FIGURES = PREFIX + "canary_figures"  # string: what was counted so far, and up to where
CANARY_LEASE = PREFIX + "canary_lease"  # string with TTL: the gateway that counts and decides
AUDITS_DUE = PREFIX + "audits_due"  # hash: event id -> Audit that is to go into the log
POLICY_SEQ = PREFIX + "policy_seq"  # counter: the last version number given out, never reused
LABELERS = PREFIX + "labelers"  # hash: labeler id -> Labeler as JSON (feedback.labeling.labelers)
LABELER_NAMES = PREFIX + "labeler_names"  # hash: name, casefolded -> labeler id
INVITES = PREFIX + "invites"  # hash: SHA-256 of an invitation's token -> Invite as JSON
SUPPLY_LEASE = PREFIX + "supply_lease"  # string with TTL: the gateway that fills the queues
SUPPLY_CURSOR = PREFIX + "supply_cursor"  # string: completions stream id up to which it has looked
SUPPLIED = PREFIX + "supplied"  # zset: digests of prompts that labelers were given, by time
KNOWN_ANSWERS = PREFIX + "known_answers"  # hash: completion id -> KnownAnswer as JSON
GUIDELINES = (
    PREFIX + "guidelines"
)  # hash: tenant -> Markdown that the operator wrote (feedback.labeling)
STORED_METADATA = (
    PREFIX + "stored_metadata"
)  # hash: completion id -> metadata that replaced its own

OWN_FIGURES = PREFIX + "own_figures"  # hash: labeler id -> OwnFigures as JSON (feedback.labeling)
QUALITY_REPORT = PREFIX + "quality_report"  # string: JSON of feedback.quality.report.Report
OWN_FIGURES_THROUGH = PREFIX + "own_figures_through"  # string: feedback entry id that is in them
ARCHIVE = PREFIX + "archive"  # hash: "<kind>:sealed" | "<kind>:through" -> entry id (archive.marks)
ARCHIVE_LEASE = PREFIX + "archive_lease"  # string with TTL: fencing token of who archives
ARCHIVE_FENCE = PREFIX + "archive_fence"  # counter: fencing tokens
ERASE_DUE = PREFIX + "erase_due"  # hash: "<kind>:<event id>" -> entry id; to leave the archive
ERASED_USERS = PREFIX + "erased_users"  # hash: digest of tenant and user -> erased at, unix seconds
ERASURES = PREFIX + "erasures"  # stream: what gateways are to forget: `id` of an event, or `all`
ERASURES_QUEUED = PREFIX + "erasures_queued"  # list: ids of erasures that are to be carried out
ERASURES_ASKED = PREFIX + "erasures_asked"  # hash: erasure id -> Erasure as JSON (feedback.erasure)
AOF_STALE = PREFIX + "aof_stale"  # string: since when an erased text may be in Redis' own files

ROUND_SEQ = PREFIX + "round_seq"  # counter: the last round number
ROUND_ACTIVE = PREFIX + "round_active"  # string: id of the round under way
ROUND_LEASE = PREFIX + "round_lease"  # string with TTL: fencing token of the worker on the round
ROUND_FENCE = PREFIX + "round_fence"  # counter: fencing tokens
ROUND_REQUESTED = PREFIX + "round_requested"  # string: somebody asked for a round; JSON of options
ROUND_QUEUED = (
    PREFIX + "round_queued"
)  # string with TTL: a message for the train worker is under way
CELERY = PREFIX + "celery:"  # Celery's own, in front of its queues
TRAIN_QUEUE = CELERY + "train"  # list: messages that no train worker has taken yet
CLOCK_UP = PREFIX + "clock_up"  # string with TTL: the control worker did what the clock asked for
LEARNING_PAUSED = (
    PREFIX + "learning_paused"
)  # string: present = no round starts (kill switch); JSON of by, reason, since
JUDGEMENTS_TRAINED = (
    PREFIX + "judgements_trained"
)  # string: feedback stream id of the last snapshot
JUDGEMENTS_COUNTED = (
    PREFIX + "judgements_counted"
)  # hash: how many came `since` a snapshot's id `through` another; how many are `wanted` for a round

CORRECTIONS_TRAINED = (
    PREFIX + "corrections_trained"
)  # string: as JUDGEMENTS_TRAINED, of moderation's
CORRECTIONS_COUNTED = PREFIX + "corrections_counted"  # hash: as JUDGEMENTS_COUNTED

MODERATION_VERSIONS = (
    PREFIX + "moderation_versions"
)  # hash: version -> ModerationRecord as JSON (moderation.versions)
MODERATION_ALIASES = PREFIX + "moderation_aliases"  # hash: production | previous -> version
MODERATION_HISTORY = (
    PREFIX + "moderation_history"
)  # list, newest first: Change as JSON (moderation.versions)
MODERATION_SEQ = PREFIX + "moderation_seq"  # counter: the last version number, never reused

WEBHOOKS = PREFIX + "webhooks"  # hash: endpoint id -> Endpoint as JSON (serving.webhooks.store)
WEBHOOK_CURSORS = PREFIX + "webhook_cursors"  # hash: kind -> last stream id made into deliveries
WEBHOOK_LEASE = PREFIX + "webhook_lease"  # string with TTL: token of the process that delivers

TASKS = ("rank", "compare", "rate", "demonstrate")
KINDS = ("completions", "feedback", "moderation", "rounds", "audit")


def stream(kind: str) -> str:
    """Stream of one kind of event."""
    return f"{PREFIX}log:{kind}"


def index(kind: str) -> str:
    """Hash: event id -> stream entry id, or `erased…`. Makes an append happen once, a look-up O(1)."""
    return f"{PREFIX}index:{kind}"


def archived_ids(kind: str) -> str:
    """Bitmap: a Bloom filter of the ids that the index gave up when they were archived."""
    return f"{PREFIX}archived_ids:{kind}"


def worker_up(queue: str) -> str:
    """String with TTL: a Celery worker of this queue, control or train, lives."""
    return f"{PREFIX}worker_up:{queue}"


def round_state(round_id: str) -> str:
    """Hash: phase, step, attempts, progress, error, times of one round."""
    return f"{PREFIX}round:{round_id}"


def queue(tenant: str, task: str) -> str:
    """Zset: completion id -> priority of what waits to be judged (feedback.labeling.queues)."""
    return f"{PREFIX}queue:{task}:{tenant}"


def queued(task: str, completion_id: str) -> str:
    """Hash of one that waits: refs, wanted, judged, `seen:<labeler>`, `lease:<labeler>` -> unix s."""
    return f"{PREFIX}queued:{task}:{completion_id}"


def held(labeler: str, task: str) -> str:
    """String with TTL: "<assignment id> <completion id>" that the labeler has on the screen."""
    return f"{PREFIX}held:{task}:{labeler}"


def assignment(assignment_id: str) -> str:
    """String with TTL: what was given to whom; JSON (feedback.labeling.assignments)."""
    return f"{PREFIX}assignment:{assignment_id}"


def known_seen(labeler: str) -> str:
    """Set: completion ids of the known answers that a labeler has been given."""
    return f"{PREFIX}known_seen:{labeler}"


def login_tries(name_hash: str) -> str:
    """Counter with TTL: tries to log in under one name."""
    return f"{PREFIX}login_tries:{name_hash}"


def labeled_on(labeler: str, day: str) -> str:
    """Counter with TTL: judgements of one labeler on one day, `2026-01-31` in UTC."""
    return f"{PREFIX}labeled_on:{day}:{labeler}"


def judged_in(hour: float) -> str:
    """Counter with TTL: judgements of labelers and API keys in the hour of a time, unix seconds."""
    return f"{PREFIX}judged_in:{int(hour // 3600)}"


def judged(labeler: str, what: str) -> str:
    """String with TTL: id of a person's last judgement on these answers; `what` is a hash of them."""
    return f"{PREFIX}judged:{labeler}:{what}"


def undoable(labeler: str) -> str:
    """List: the labeler's last ten judgements, newest first: feedback id and assignment as JSON."""
    return f"{PREFIX}undoable:{labeler}"


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
