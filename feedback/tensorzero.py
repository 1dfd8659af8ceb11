"""POST /feedback in TensorZero's shape, so that its clients work.

Its clients take UUIDs only: the 128 bits behind an id's prefix are one, and answers carry theirs in the
header `x-inference-id`. An answer is an episode of its own, so `episode_id` may name it as well. TensorZero
has its metrics in a configuration file; here a metric is whatever the caller names, on the caller's scale:

comment        words about the answer
demonstration  the answer it should have been
ranking        {"tiers": [["b"], ["a", "c"]]}; `a` is the first answer of the inference
comparison     {"a": 0, "b": 1, "preference": -3…3}, answers by their index
thumb          true is up, false is down
likert         1 to 7
anything else  a number or a boolean, kept as a rating's metric
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from feedback.callers import Caller
from feedback.errors import BadRequest, NotFound, Unprocessable
from feedback.events import id_of, new_id, uuid_of
from feedback.intake import Intake
from feedback.journal import OnItsWay
from feedback.judgements import (
    Comment,
    Comparison,
    Demonstration,
    Judgement,
    Name,
    Ranking,
    Rating,
    Tags,
)

_PREFIXES = ("chatcmpl-", "cmpl-")  # a UUID does not say which endpoint answered

Id = Annotated[str, Field(min_length=1, max_length=128)]
Value = StrictBool | float | str | list[Any] | dict[str, Any]


class TensorZeroFeedback(BaseModel):
    """A judgement as TensorZero's clients send it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_name: Name
    value: Value
    inference_id: Id | None = Field(default=None, description="A UUID, or the completion's id.")
    episode_id: Id | None = Field(default=None, description="Here the same as `inference_id`.")
    tags: Tags | None = None
    dryrun: StrictBool | None = Field(default=None, description="Checked, but not kept.")
    internal: StrictBool | None = None  # its clients send it; it says nothing here

    @model_validator(mode="after")
    def _about_one(self) -> TensorZeroFeedback:
        if (self.inference_id is None) == (self.episode_id is None):
            raise ValueError("one of inference_id and episode_id is needed, and not both")
        return self

    @property
    def about(self) -> str:
        return self.inference_id or self.episode_id or ""


def build_router(
    *, intake: Callable[[], Intake], identify: Callable[[Request], Awaitable[Caller]]
) -> APIRouter:
    """`identify` raises where a request may not judge."""
    router = APIRouter(tags=["Feedback"])

    @router.post("/feedback")
    async def feedback(
        body: TensorZeroFeedback,
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> dict[str, Any]:
        """What people say about an answer, in TensorZero's shape."""
        caller = await identify(request)
        judgement = await _find(body, intake(), caller)
        if body.dryrun:
            return {"feedback_id": uuid_of(new_id("fbk_"))}
        receipt = await intake().accept(judgement, caller, idempotency_key=idempotency_key)
        return {"feedback_id": uuid_of(receipt.event.id)}

    return router


async def _find(body: TensorZeroFeedback, intake: Intake, caller: Caller) -> Judgement:
    """The judgement, about answers that are there. Raises NotFound, Unprocessable; Unavailable where an
    answer cannot be seen now."""
    unseen: list[OnItsWay] = []
    for completion_id in (ids := list(_ids(body.about))):
        judgement = judgement_of(body, completion_id)
        try:
            await intake.check(judgement, caller)
        except NotFound:
            continue
        except OnItsWay as error:
            unseen.append(error)
            continue
        return judgement
    if len(unseen) == len(ids):  # one that is known, if only to others, settles it
        raise unseen[0]
    raise NotFound(f"there is no inference {body.about}", param="inference_id")


def judgement_of(body: TensorZeroFeedback, completion_id: str) -> Judgement:
    """What a body says about a completion. Raises Unprocessable, naming the field."""
    kind, fields = _fields(body, completion_id)
    try:
        return kind.model_validate({**fields, "tags": body.tags or {}})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["value", *(str(step) for step in first["loc"])])
        raise Unprocessable(f"{where}: {first['msg']}", param=where) from error


def _fields(body: TensorZeroFeedback, completion_id: str) -> tuple[type[Judgement], dict[str, Any]]:
    name, value = body.metric_name, body.value
    one = {"completion_id": completion_id}
    if name == "comment":
        return Comment, {**one, "text": value}
    if name == "demonstration":
        return Demonstration, {"parent": completion_id, "completion": _text_of(value)}
    if name == "ranking":
        return Ranking, _ranking(_object(value), completion_id)
    if name == "comparison":
        said = _object(value)
        sides = {side: _candidate(said.get(side), completion_id) for side in ("a", "b")}
        return Comparison, {**said, **sides}
    if name == "likert":
        return Rating, {**one, "likert": value}
    if name == "thumb" and isinstance(value, bool):
        return Rating, {**one, "thumb": "up" if value else "down"}
    return Rating, {**one, "metrics": {name: value}}


def _ranking(said: dict[str, Any], completion_id: str) -> dict[str, Any]:
    tiers = said.get("tiers")
    is_listed = isinstance(tiers, list) and all(isinstance(tier, list) for tier in tiers)
    num_letters = sum(map(len, tiers)) if isinstance(tiers, list) and is_listed else 0
    answers = said.get("candidates", list(range(num_letters)))
    if not isinstance(answers, list):
        raise Unprocessable("value.candidates: a list of answers", param="value.candidates")
    return {**said, "candidates": [_candidate(answer, completion_id) for answer in answers]}


def _candidate(answer: Any, completion_id: str) -> Any:
    """An answer of this inference by its index; or in our own words, of any inference."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return {"completion_id": completion_id, "index": answer}
    return answer


def _text_of(value: Value) -> Any:
    """A demonstration is a text, or a list of TensorZero's content blocks."""
    if not isinstance(value, list):
        return value
    is_text = [isinstance(block, dict) and block.get("type") == "text" for block in value]
    if not all(is_text):
        raise Unprocessable("a demonstration here is text; tools are not called", param="value")
    return "".join(str(block.get("text", "")) for block in value)


def _object(value: Value) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unprocessable("value: an object is expected", param="value")
    return value


def _ids(given: str) -> list[str]:
    """The completions that may be meant. Raises BadRequest."""
    if given.startswith(_PREFIXES):
        return [given]
    try:
        value = UUID(given)
    except ValueError:
        raise BadRequest(
            "inference_id is a UUID (the header x-inference-id of an answer) or a completion's id",
            param="inference_id",
        ) from None
    return [id_of(prefix, value.int) for prefix in _PREFIXES]
