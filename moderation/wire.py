"""OpenAI's moderation request and answer, as they are on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from feedback.errors import BadRequest, TooLarge
from feedback.events import new_id
from moderation.categories import CATEGORIES, SCORED


class TextPart(BaseModel):
    """A text of OpenAI's multi-modal input; all parts of a list are one input."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    text: str = ""


class ModerationRequest(BaseModel):
    """Body of POST /v1/moderations. `model` is not used: there is one, named in the answer."""

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
    """The texts to score, one per result. Raises BadRequest or TooLarge."""
    found = _inputs(request)
    if not found:
        raise BadRequest("`input` is empty: send one text or more.", param="input")
    if len(found) > max_inputs:
        raise TooLarge(f"{len(found)} texts: send at most {max_inputs} at once.", param="input")
    num_chars = sum(len(text) for text in found)
    if num_chars > max_chars:
        raise TooLarge(
            f"{num_chars} characters: send at most {max_chars} at once, in several requests.",
            param="input",
        )
    return found


def answer(
    scored: Sequence[Mapping[str, float]], *, flagged: Sequence[Sequence[str]], model: str
) -> dict[str, Any]:
    """OpenAI's response object; `scored` and `flagged` have one item per text."""
    return {
        "id": new_id("modr-"),
        "model": model,
        "results": [
            _result(scores, flagged=names) for scores, names in zip(scored, flagged, strict=True)
        ],
    }


def _inputs(request: ModerationRequest) -> list[str]:
    given = request.input
    if isinstance(given, str):
        return [given]
    found = [item for item in given if isinstance(item, str)]
    parts = [item for item in given if isinstance(item, TextPart)]
    if not parts:
        return found
    for part in parts:
        if part.type != "text":
            raise BadRequest(f"{part.type!r} cannot be scored: send text only.", param="input")
    return ["\n".join(part.text for part in parts)]


def _result(scores: Mapping[str, float], *, flagged: Sequence[str]) -> dict[str, Any]:
    return {
        "flagged": bool(flagged),
        "categories": {name: name in flagged for name in CATEGORIES},
        "category_scores": {name: scores[name] for name in CATEGORIES},
        # OpenAI's own way to say that a category was not applied to an input.
        "category_applied_input_types": {
            name: ["text"] if name in SCORED else [] for name in CATEGORIES
        },
    }
