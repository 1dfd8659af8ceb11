"""POST /v1/completions/{id}/candidates: several answers to the prompt of a stored completion, for people
to rank. They are sampled, moderated and logged as any answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback import stored
from feedback.errors import BadRequest
from feedback.events import Completion
from serving import field_checks as checks
from serving.candidates import CHAT, TEXT
from serving.field_checks import Check
from serving.gateway import Gateway
from serving.openai_api import complete
from serving.request_fields import MAX_CHOICES, Asked, json_object
from serving.routing import MODEL
from serving.schemas.requests import CANDIDATES_SCHEMA

# What differs from the stored request unless asked for: labelers compare what is live, and at
# temperature 0, or from one seed, all candidates would be the same.
_DEFAULTS: dict[str, Any] = {"model": MODEL, "n": 4, "temperature": 1.0}

_FIELDS: dict[str, Check] = {
    "n": checks.integer(2, MAX_CHOICES),
    "model": checks.text(128),
    "max_tokens": checks.integer(1, 10**6),
    "temperature": checks.number(0, 2),
    "top_p": checks.number(0, 1),
    "seed": checks.integer(-(2**63), 2**63 - 1),
    "metadata": checks.metadata,
}


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """For a gateway that exists by the time it is called."""
    router = APIRouter(prefix="/v1", tags=["Feedback"])

    @router.post("/completions/{completion_id}/candidates", openapi_extra=CANDIDATES_SCHEMA)
    async def sample_candidates(completion_id: str, request: Request) -> Response:
        """Sample several answers to the prompt of a stored completion, chat or text. They come back as
        the choices of a new completion, which is stored and offered to labelers."""
        key = await gateway().identify(request, "infer", "label")
        wanted = _wanted(await request.body())
        origin = await stored.find(gateway().journal, completion_id, tenant=key.tenant)
        shape = CHAT if origin.endpoint == CHAT.name else TEXT
        asked = again(origin, wanted, max_tokens=gateway().settings.max_model_len)
        return await complete(gateway(), shape, asked, key, request)

    return router


def _wanted(body: bytes) -> dict[str, Any]:
    """Raises BadRequest."""
    wanted: dict[str, Any] = {}
    for name, value in json_object(body or b"{}").items():
        if (check := _FIELDS.get(name)) is None:
            raise BadRequest(f"unknown field '{name}'", param=name, code="unknown_field")
        if value is not None:
            wanted[name] = check(name, value)
    return wanted


def again(origin: Completion, wanted: Mapping[str, Any], *, max_tokens: int) -> Asked:
    """The stored request with what is wanted otherwise. The end user stays: their prompts are kept
    together in training or in the held-out part. Raises BadRequest."""
    request = {name: value for name, value in origin.request.items() if name != "seed"}
    if "max_tokens" in wanted:
        request.pop("max_completion_tokens", None)
        request.pop("min_tokens", None)
    body = {**request, **_DEFAULTS, **wanted, "user": origin.end_user, "store": True}
    shape = CHAT if origin.endpoint == CHAT.name else TEXT
    return replace(shape.parse(orjson.dumps(body), max_tokens=max_tokens), prompt_of=origin.id)
