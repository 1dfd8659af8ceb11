"""OpenAI's moderation request and answer, as they are on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from feedback.errors import BadRequest, NotFound
from feedback.events import new_id
from moderation.categories import CATEGORIES

Shape = tuple[str, ...]  # the categories of an answer

_SINCE_001: Shape = (
    *("hate", "hate/threatening", "self-harm", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)
_SINCE_005: Shape = tuple(name for name in CATEGORIES if not name.startswith("illicit"))

# Every name that OpenAI's documentation gives means the one classifier there is; the older ones also mean
# the categories that their time had.
SHAPES: Mapping[str, Shape] = {
    "omni-moderation-latest": CATEGORIES,
    "omni-moderation-2024-09-26": CATEGORIES,
    "text-moderation-latest": _SINCE_005,
    "text-moderation-stable": _SINCE_005,
    "text-moderation-007": _SINCE_005,
    "text-moderation-001": _SINCE_001,
}


class TextPart(BaseModel):
    """A text of OpenAI's multi-modal input; all parts of a list are one input."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    text: str | None = None


class ModerationRequest(BaseModel):
    """Body of POST /v1/moderations."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input: str | list[str] | list[TextPart]
    model: str | None = None


def parse(body: bytes) -> ModerationRequest:
    """The request in a body. Raises BadRequest naming the field."""
    try:
        return ModerationRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        param = str(first["loc"][0]) if first["loc"] else None
        raise BadRequest(
            f'{first["msg"]}: send {{"input": "a text"}} or {{"input": ["one", "two"]}} as JSON.',
            param=param,
        ) from error


def texts(request: ModerationRequest, *, max_inputs: int, max_chars: int) -> list[str]:
    """The texts to score, one per result. Raises BadRequest."""
    found = _inputs(request)
    if not found:
        raise BadRequest("`input` is empty: send one text or more.", param="input")
    if len(found) > max_inputs:
        raise BadRequest(
            f"{len(found)} texts: send at most {max_inputs} at once, in several requests.",
            param="input",
            code="too_many_inputs",
        )
    num_chars = sum(len(text) for text in found)
    if num_chars > max_chars:
        raise BadRequest(
            f"{num_chars} characters: send at most {max_chars} at once, in several requests.",
            param="input",
            code="input_too_long",
        )
    return found


def shape(model: str | None, *, own: str, param: str = "model") -> Shape:
    """The categories of an answer, by the model that was asked for. Raises NotFound."""
    if model is None or model == own:
        return CATEGORIES
    if model not in SHAPES:
        raise NotFound(
            f"there is no moderation model {model!r} here; use {own!r}, or one of {', '.join(SHAPES)}",
            param=param,
            code="model_not_found",
        )
    return SHAPES[model]


def answer(results: Sequence[Mapping[str, Any]], *, model: str) -> dict[str, Any]:
    """OpenAI's response object, with one result per text."""
    return {"id": new_id("modr-"), "model": model, "results": list(results)}


def result(
    scores: Mapping[str, float], *, flagged: Sequence[str], shape: Shape = CATEGORIES
) -> dict[str, Any]:
    """One text's; a category that is not in `scores` was not judged: 0 and false."""
    return {
        "flagged": any(name in shape for name in flagged),
        "categories": {name: name in flagged for name in shape},
        "category_scores": {name: scores.get(name, 0.0) for name in shape},
        # OpenAI's own way to say that a category was not applied to an input.
        "category_applied_input_types": {
            name: ["text"] if name in scores else [] for name in shape
        },
    }


def _inputs(request: ModerationRequest) -> list[str]:
    given = request.input
    if isinstance(given, str):
        return [given]
    found = [item for item in given if isinstance(item, str)]
    parts = [item for item in given if isinstance(item, TextPart)]
    if not parts:
        return found
    for number, part in enumerate(parts):
        if part.type == "image_url":
            raise BadRequest(
                f"input[{number}] is an image, and only texts are judged here: send the parts of type "
                "'text' alone.",
                param="input",
                code="image_not_supported",
            )
        if part.type != "text" or part.text is None:
            raise BadRequest(
                f"input[{number}] is no part of type 'text' with a `text`: send text only.",
                param="input",
            )
    return ["\n".join(part.text or "" for part in parts)]
