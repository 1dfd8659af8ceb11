"""The records of the log: frozen, versioned, JSON on the wire.

An event has an id that its writer makes (so that a retry is the same event), a kind that names its
stream, and a schema number. `decode` upgrades what an older release wrote.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, NewType

import orjson

CompletionId = NewType("CompletionId", str)
FeedbackId = NewType("FeedbackId", str)
RoundId = NewType("RoundId", str)
Version = NewType("Version", str)
Position = tuple[int, int]  # of an event in the log: unix ms, and a number within it

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TO_PYTHON = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")  # as int(…, 32) reads
_WITHOUT_WORDS = ("completion_id", "of", "thumb")  # fields of a judgement's body
_DIGITS = frozenset(_ALPHABET)
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]  # two digits of an id at a time


def new_id(prefix: str) -> str:
    """A sortable id: prefix, 48 bits of milliseconds and 80 random bits, Crockford base 32."""
    return id_of(prefix, (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10)))


def id_of(prefix: str, value: int) -> str:
    """The id with these 128 bits behind its prefix."""
    return prefix + "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


def uuid_of(event_id: str) -> str | None:
    """The 128 bits behind an id's prefix as a UUID, for clients that take no other ids."""
    digits = event_id[-26:].translate(_TO_PYTHON)
    if len(digits) < 26 or not (digits.isascii() and digits.isalnum()) or digits[0] > "7":
        return None
    value = f"{int(digits, 32):032x}"
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def made_at(event_id: str) -> float | None:
    """Unix seconds in an id's first 48 bits, when `new_id` made it: an id from an Idempotency-Key has the
    same form and chance in their place. None for an id of another form."""
    prefix, digits = event_id[:-26], event_id[-26:]
    if not prefix.endswith(("_", "-")) or not _DIGITS.issuperset(digits):
        return None
    return int(digits[:10].translate(_TO_PYTHON), 32) / 1000


def position(entry: str) -> Position:
    """An entry id of a stream, in order: as texts "9-10" would come before "9-9"."""
    ms, _, number = entry.partition("-")
    return int(ms), int(number or 0)


def quotes(body: Any, name: str = "") -> bool:
    """Whether what somebody said holds words of their own: a note, an answer, a comment. Whatever is
    not known to hold none counts as words, so that a form to come is not forgotten when one erases."""
    if isinstance(body, dict):
        return any(quotes(value, key) for key, value in body.items())
    if isinstance(body, list | tuple):
        return any(quotes(value, name) for value in body)
    return isinstance(body, str) and len(body) > 1 and name not in _WITHOUT_WORDS


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One completion of a candidate set."""

    index: int
    text: str
    token_ids: list[int]  # as the engine sampled them, the stop token included
    logprobs: list[float]  # behaviour log-probabilities, nats, one per token id
    finish_reason: str | None
    blocked: bool = False  # moderation withheld it from the client
    # Chat: `content` and `tool_calls` as the client got them, where it called tools; `text` holds both.
    message: dict[str, Any] | None = None


IMPORTED = "imported"  # the version of answers from elsewhere: texts, of which nobody made tokens


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A request and the answers to it. Written by the gateway when `store` is not false, by `hone import`
    for answers that others sampled."""

    kind: ClassVar[str] = "completions"
    # 2: Choice.message; 3: prompt_of; 4: broken_by, first_token_ms, drawn; 5: trace_id
    schema: ClassVar[int] = 5

    id: str  # chatcmpl-… or cmpl-…
    created: float  # unix seconds
    key_id: str
    tenant: str
    endpoint: str  # "chat" | "text"
    request: dict[str, Any]  # messages or prompt, and sampling parameters
    prompt_ids: list[int]
    choices: list[Choice]
    version: str  # at the first token
    version_last: str  # at the last token; another one than `version` = mixed, never trained on
    digest: str  # SHA-256 of the version's weights
    latency_ms: float
    end_user: str | None = None  # `user` of the request
    metadata: dict[str, str] = field(default_factory=dict)
    moderation: dict[str, Any] = field(
        default_factory=dict
    )  # {"prompt": scores, "choices": [scores]}
    prompt_of: str | None = None  # the completion whose prompt was sampled anew, to be ranked
    complete: bool = True  # false: the client left or the engine failed in mid-answer
    broken_by: str | None = None  # client | engine | moderation, where it is not complete
    first_token_ms: float | None = None  # of a stream: from the request to its first token
    # While a canary runs, of a request for `policy`: {canary, arm, share} as serving.canary.people drew it.
    drawn: dict[str, Any] | None = None
    trace_id: str | None = None  # of the request, where its spans were sent (OpenTelemetry), hex

    @property
    def is_mixed(self) -> bool:
        return self.version != self.version_last

    @property
    def is_imported(self) -> bool:
        """No token ids, no log-probabilities; training makes tokens of the texts."""
        return self.version == IMPORTED


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """One judgement of one person. `body` is the JSON of a feedback.judgements model."""

    kind: ClassVar[str] = "feedback"
    schema: ClassVar[int] = 2  # 2: source, key_id, assignment_id, replaces; retractions, skips

    id: str  # fbk_…
    created: float
    form: str  # ranking | comparison | rating | demonstration | comment | retraction | skip
    labeler: str  # who judged: see `source`
    tenant: str
    completion_ids: list[str]  # what it is about; empty for a demonstration without parent
    body: dict[str, Any]
    # labeler: a person with a record (feedback.labeling.labelers), by id. end_user: a visitor of the
    # playground, by id. key: whom an API key names, or the key itself.
    source: str = "key"
    key_id: str = (
        ""  # the API key that sent it; empty before schema 2, and where a person was logged in
    )
    assignment_id: str | None = None  # asg_…, where it was given to the labeler to judge
    replaces: str | None = None  # the same person's judgement before this one on the same


@dataclass(frozen=True, kw_only=True)
class Moderated:
    """A text that moderation refused, without the text: what was decided and why."""

    kind: ClassVar[str] = "moderation"
    schema: ClassVar[int] = 1

    id: str  # mod_…
    created: float
    key_id: str
    stage: str  # prompt | completion
    scores: dict[str, float]
    blocked: list[str]  # categories over their threshold


@dataclass(frozen=True, kw_only=True)
class RoundChanged:
    """A step of a round began, ended or failed; a version went live or was taken back."""

    kind: ClassVar[str] = "rounds"
    schema: ClassVar[int] = 1

    id: str
    created: float
    round_id: str
    what: str  # started | step_done | finished | refused | failed | cancelled
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Somebody with the admin scope changed something."""

    kind: ClassVar[str] = "audit"
    schema: ClassVar[int] = 1

    id: str
    created: float
    actor: str
    action: str
    detail: dict[str, Any] = field(default_factory=dict)


def audit(actor: str, action: str, **detail: Any) -> Audit:
    """The record of a change made now. `actor`: an API key's id, or `cli:<user>`."""
    now = time.time()
    return Audit(id=new_id("aud_"), created=now, actor=actor, action=action, detail=detail)


Event = Completion | Feedback | Moderated | RoundChanged | Audit

_TYPES: dict[str, type[Event]] = {
    cls.kind: cls for cls in (Completion, Feedback, Moderated, RoundChanged, Audit)
}


def encode(event: Event) -> bytes:
    """JSON of an event with its schema number."""
    # orjson reads nested dataclasses itself; `asdict` would copy every token id, 0.4 ms an answer.
    return orjson.dumps({"schema": event.schema, **vars(event)})


def decode(kind: str, data: bytes) -> Event:
    """An event from its JSON. Raises ValueError for a schema newer than this release."""
    fields = orjson.loads(data)
    cls = _TYPES[kind]
    schema = fields.pop("schema")
    if schema > cls.schema:
        raise ValueError(
            f"{kind} event of schema {schema}: written by a newer hone; upgrade this one"
        )
    if cls is Completion:
        fields["choices"] = [Choice(**choice) for choice in fields["choices"]]
    return cls(**fields)
