"""A judgement from elsewhere, in hone's words, and the events that it becomes.

The answers of one judgement become a completion of the version `imported`: with texts, without token ids
(training cuts them into tokens) and without log-probabilities (no policy of ours sampled them). Ids come from
the content, so that importing the same again adds nothing.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from feedback.events import IMPORTED, Choice, Completion, Event, Feedback, id_of
from feedback.formats.rows import ORIGIN, ORIGIN_VERSION, PERSON
from feedback.judgements import (
    MAX_CANDIDATES,
    Comparison,
    Demonstration,
    Judgement,
    Ranking,
    Rating,
    body_of,
)

_FORMS: dict[str, type[Judgement]] = {
    kind.form: kind for kind in (Ranking, Comparison, Rating, Demonstration)
}
_OUR_ID = re.compile(r"fbk_[0-9A-Za-z_-]{1,64}")
_MAX_METADATA = 512  # characters of one value, as everywhere
_END_OF_TIME = 4_102_444_800.0  # 2100-01-01


class Bad(Exception):
    """A record that cannot be imported; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The file that judgements come from."""

    name: str
    digest: str  # SHA-256
    format: str
    tenant: str
    labeler: str | None = None  # who judged, where the file does not say


@dataclass(frozen=True, kw_only=True)
class Said:
    """One judgement of one person."""

    form: Literal["ranking", "comparison", "rating", "demonstration"]
    prompt: list[dict[str, str]]  # messages
    answers: list[str]  # the first is `a`; of a demonstration, what the person wrote
    body: Mapping[str, Any]  # fields of the judgement, without the answers
    endpoint: Literal["chat", "text"] = "chat"
    labeler: str | None = None
    person: str | None = None  # who asked
    id: str | None = None  # of a judgement that was exported from hone
    created: float | None = None  # unix seconds
    origins: list[str] = field(default_factory=list)  # of the answers, in the log they come from
    versions: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A judgement that is left out on purpose, and why."""

    reason: str


def events_of(said: Said, source: Source) -> list[Event]:
    """The answers, then what was said about them. Raises Bad."""
    if not all(answer.strip() for answer in said.answers):
        raise Bad("an answer is empty")
    if not said.prompt:
        raise Bad("there is no prompt")
    if len(said.answers) > MAX_CANDIDATES:
        raise Bad(f"{len(said.answers)} answers; {MAX_CANDIDATES} at most")
    if said.created is not None and not 0 <= said.created < _END_OF_TIME:
        raise Bad("`created` is no time in unix seconds")
    completion = _completion(said, source)
    return [completion, _feedback(said, source, completion)]


def _completion(said: Said, source: Source) -> Completion:
    """What was judged; of a demonstration the prompt alone."""
    answers = [] if said.form == "demonstration" else said.answers
    identity = [source.tenant, said.endpoint, said.prompt, answers, said.origins, said.person]
    prefix = "chatcmpl-" if said.endpoint == "chat" else "cmpl-"
    return Completion(
        id=_id(prefix, identity, created=said.created),
        created=said.created or time.time(),
        key_id="import",
        tenant=source.tenant,
        endpoint=said.endpoint,
        request=_request(said),
        prompt_ids=[],
        choices=[
            Choice(index=index, text=text, token_ids=[], logprobs=[], finish_reason="stop")
            for index, text in enumerate(answers)
        ],
        version=IMPORTED,
        version_last=IMPORTED,
        digest=source.digest,
        latency_ms=0.0,
        end_user=said.person or _conversation(said),
        metadata=_metadata(said, source),
    )


def _conversation(said: Said) -> str:
    """In a user's place where nobody knows who asked: all that begins with the same question is on the same
    side of train and held-out."""
    first = next((m["content"] for m in said.prompt if m["role"] == "user"), str(said.prompt))
    return "conversation:" + hashlib.sha256(first.encode()).hexdigest()[:16]


def _request(said: Said) -> dict[str, Any]:
    if said.endpoint == "text":
        return {"prompt": said.prompt[0]["content"]}
    return {"messages": said.prompt}


def _metadata(said: Said, source: Source) -> dict[str, str]:
    pairs = {
        "imported_from": source.name,
        "imported_as": source.format,
        ORIGIN: " ".join(said.origins),
        ORIGIN_VERSION: " ".join(said.versions),
        PERSON: said.person or "",
    }
    return {name: value for name, value in pairs.items() if 0 < len(value) <= _MAX_METADATA}


def _feedback(said: Said, source: Source, completion: Completion) -> Feedback:
    fields = {
        **said.body,
        **_about(said, completion.id),
        "labeler": said.labeler or source.labeler,
    }
    try:
        judgement = _FORMS[said.form].model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise Bad(f"{where}: {first['msg']}" if where else first["msg"]) from error
    body = body_of(judgement)
    labeler = judgement.labeler or f"import:{source.format}"
    identity = [source.tenant, said.form, labeler, said.prompt, said.answers, body]
    is_ours = said.id is not None and _OUR_ID.fullmatch(said.id)
    return Feedback(
        id=said.id if said.id and is_ours else _id("fbk_", identity, created=said.created),
        created=said.created or time.time(),
        form=said.form,
        labeler=labeler,
        tenant=source.tenant,
        completion_ids=[completion.id],
        body=body,
    )


def _about(said: Said, completion_id: str) -> dict[str, Any]:
    if said.form == "demonstration":
        return {"parent": completion_id, "completion": said.answers[0]}
    refs = [{"completion_id": completion_id, "index": i} for i in range(len(said.answers))]
    if said.form == "ranking":
        return {"candidates": refs}
    if said.form == "comparison":
        return dict(zip(("a", "b"), refs, strict=True))
    return refs[0]


def _id(prefix: str, identity: Any, *, created: float | None) -> str:
    """Sorts by time where the file says when; always the same for the same content."""
    digest = hashlib.sha256(orjson.dumps(identity)).digest()
    return id_of(prefix, (int((created or 0.0) * 1000) << 80) | int.from_bytes(digest[:10]))
