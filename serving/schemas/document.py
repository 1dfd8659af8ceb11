"""/openapi.json: what FastAPI finds out by itself, and what it cannot know.

Routes answer with ready bytes, so the page's answers, errors and query parameters are named here, beside
them nothing. A test fails when a route is not named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.oversight import shapes as oversight
from serving.schemas import admin, canary, lineage
from serving.schemas import responses as shapes

_PREFIXES = ("/v1/", "/feedback", "/policy", "/admin/")  # the others ask for no key
_EVERYWHERE = (401, 403, 413, 429)


@dataclass(frozen=True, kw_only=True)
class Described:
    """One operation."""

    answer: type[BaseModel]
    errors: tuple[int, ...] = ()  # besides those of every operation
    parameters: tuple[dict[str, Any], ...] = ()  # beside those that FastAPI finds
    streams: bool = False
    is_idempotent: bool = False  # serving.idempotency replays it


def _query(name: str, schema: dict[str, Any], description: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description, **more}


_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_PAGING = (
    _query("after", _ID, "Id of the last one of the page before."),
    _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "How many."),
    _query("order", {"enum": ["asc", "desc"], "default": "asc"}, "By the time of their making."),
)
_FILTERS = (
    _query("model", _ID, "A version, or an alias: the version that it means now."),
    _query(
        "metadata",
        {
            "type": "object",
            "additionalProperties": {"type": "string", "maxLength": 512},
            "propertyNames": {"maxLength": 64},
            "maxProperties": 16,
        },
        "Pairs that it has, all of them: `metadata[key]=value`.",
        style="deepObject",
        explode=True,
    ),
)
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The same key and body again get the first answer, with `idempotent-replayed`.",
}
_EVENT = {
    "type": "object",
    "properties": {
        "data": {
            "type": "string",
            "description": "JSON of a chunk, or of an error that ends the stream; `[DONE]` at its end.",
        }
    },
    "required": ["data"],
}
_JUDGEMENT = Described(answer=shapes.FeedbackReceived, errors=(400, 404, 422, 503))
_CHAT = "/v1/chat/completions"

OPERATIONS: dict[tuple[str, str], Described] = {
    ("post", _CHAT): Described(
        answer=shapes.ChatCompletion, errors=(400, 404, 503), streams=True, is_idempotent=True
    ),
    ("get", _CHAT): Described(
        answer=shapes.ChatCompletionPage,
        errors=(400, 404, 503),
        parameters=(*_PAGING, *_FILTERS),
    ),
    ("get", f"{_CHAT}/{{completion_id}}"): Described(
        answer=shapes.ChatCompletion, errors=(400, 404, 503)
    ),
    ("post", f"{_CHAT}/{{completion_id}}"): Described(
        answer=shapes.ChatCompletion, errors=(400, 404, 503), is_idempotent=True
    ),
    ("delete", f"{_CHAT}/{{completion_id}}"): Described(
        answer=shapes.ChatCompletionDeleted, errors=(400, 404, 503)
    ),
    ("get", f"{_CHAT}/{{completion_id}}/messages"): Described(
        answer=shapes.StoredMessagePage, errors=(400, 404, 503), parameters=_PAGING
    ),
    ("post", "/v1/completions"): Described(
        answer=shapes.TextCompletion, errors=(400, 404, 503), streams=True, is_idempotent=True
    ),
    ("post", "/v1/completions/{completion_id}/candidates"): Described(
        answer=shapes.CandidateSet, errors=(400, 404, 503), is_idempotent=True
    ),
    ("get", "/v1/models"): Described(answer=shapes.ModelList),
    ("get", "/v1/models/{model}"): Described(answer=shapes.Model, errors=(404,)),
    ("post", "/v1/moderations"): Described(answer=shapes.Moderations, errors=(400, 404, 503)),
    ("post", "/v1/feedback/rankings"): _JUDGEMENT,
    ("post", "/v1/feedback/comparisons"): _JUDGEMENT,
    ("post", "/v1/feedback/ratings"): _JUDGEMENT,
    ("post", "/v1/feedback/demonstrations"): _JUDGEMENT,
    ("post", "/v1/feedback/corrections"): _JUDGEMENT,
    ("get", "/v1/feedback"): Described(answer=shapes.FeedbackPage, errors=(404, 422, 503)),
    ("get", "/v1/feedback/{feedback_id}"): Described(
        answer=shapes.FeedbackWithHistory, errors=(404, 503)
    ),
    ("post", "/feedback"): Described(answer=shapes.TensorZeroReceived, errors=(400, 404, 422, 503)),
    ("delete", "/v1/feedback/{feedback_id}"): Described(
        answer=shapes.FeedbackRetracted, errors=(404, 422, 503)
    ),
    ("get", "/v1/feedback/assignments/next"): Described(
        answer=shapes.AssignmentShown, errors=(422, 503)
    ),
    ("post", "/v1/feedback/assignments/{assignment_id}/renew"): Described(
        answer=shapes.LeaseRenewed, errors=(404, 409, 422, 503)
    ),
    ("post", "/v1/feedback/assignments/{assignment_id}/skip"): Described(
        answer=shapes.FeedbackReceived, errors=(400, 404, 422, 503)
    ),
    ("get", "/policy"): Described(answer=admin.LivePolicies),
    ("post", "/admin/policies/{version}/promote"): Described(
        answer=admin.Policy, errors=(400, 404, 409, 422, 503), is_idempotent=True
    ),
    ("post", "/admin/rollback"): Described(
        answer=admin.Policy, errors=(400, 404, 409, 422, 503), is_idempotent=True
    ),
    ("get", "/admin/lineage/{asked}"): Described(
        answer=lineage.LineageShown, errors=(400, 404, 422, 503)
    ),
    ("get", "/admin/canary"): Described(answer=canary.CanaryOverview, errors=(503,)),
    ("post", "/admin/policies/{version}/canary"): Described(
        answer=canary.CanaryShown, errors=(400, 404, 409, 422, 503), is_idempotent=True
    ),
    ("post", "/admin/canary/hold"): Described(
        answer=canary.CanaryShown, errors=(400, 409, 422, 503)
    ),
    ("post", "/admin/canary/abort"): Described(
        answer=canary.CanaryEnded, errors=(400, 404, 409, 422, 503)
    ),
    ("get", "/admin/moderation"): Described(answer=oversight.ModerationVersions, errors=(503,)),
    ("get", "/admin/moderation/{version}"): Described(
        answer=oversight.ModerationVersionWithGate, errors=(404, 503)
    ),
    ("post", "/admin/moderation/{version}/promote"): Described(
        answer=oversight.ModerationVersion, errors=(400, 404, 422, 503)
    ),
    ("post", "/admin/moderation/rollback"): Described(
        answer=oversight.ModerationVersion, errors=(400, 409, 422, 503)
    ),
    ("get", "/admin/keys"): Described(answer=admin.KeyList, errors=(503,)),
    ("post", "/admin/keys"): Described(answer=admin.MadeKey, errors=(400, 422, 503)),
    ("put", "/admin/keys/{key_id}/moderation"): Described(
        answer=admin.Key, errors=(400, 404, 422, 503)
    ),
    ("delete", "/admin/keys/{key_id}"): Described(answer=admin.KeyDeleted, errors=(404, 503)),
    ("post", "/admin/keys/{key_id}/rotate"): Described(
        answer=admin.MadeKey, errors=(400, 404, 422, 503)
    ),
    ("get", "/admin/webhooks"): Described(answer=admin.WebhookList, errors=(503,)),
    ("post", "/admin/webhooks"): Described(answer=admin.MadeWebhook, errors=(400, 409, 422, 503)),
    ("delete", "/admin/webhooks/{endpoint_id}"): Described(
        answer=admin.WebhookDeleted, errors=(404, 503)
    ),
    ("post", "/admin/webhooks/{endpoint_id}/rotate"): Described(
        answer=admin.MadeWebhook, errors=(400, 404, 422, 503)
    ),
    ("post", "/admin/webhooks/{endpoint_id}/test"): Described(
        answer=admin.WebhookTested, errors=(404, 503)
    ),
    ("delete", "/admin/users/{user_id}"): Described(answer=admin.ErasureShown, errors=(422, 503)),
    ("delete", "/admin/tenants/{tenant}"): Described(answer=admin.ErasureShown, errors=(422, 503)),
    ("get", "/admin/erasures/{erasure_id}"): Described(
        answer=admin.ErasureShown, errors=(404, 503)
    ),
    ("get", "/admin/overview"): Described(answer=oversight.Overview, errors=(503,)),
    ("get", "/admin/engines"): Described(answer=oversight.EngineList),
    ("get", "/admin/audit"): Described(answer=oversight.AuditPage, errors=(422, 503)),
    ("get", "/admin/settings"): Described(answer=oversight.SettingsShown),
    ("get", "/admin/policies"): Described(answer=oversight.PolicyPage, errors=(422,)),
    ("get", "/admin/policies/{version}"): Described(answer=oversight.PolicyWithGate, errors=(404,)),
    ("get", "/admin/rounds"): Described(answer=oversight.RoundPage, errors=(422, 503)),
    ("post", "/admin/rounds"): Described(
        answer=oversight.RoundRequested, errors=(400, 422, 503), is_idempotent=True
    ),
    ("get", "/admin/rounds/{round_id}"): Described(
        answer=oversight.RoundShown, errors=(404, 422, 503)
    ),
    ("get", "/admin/rounds/{round_id}/curves"): Described(
        answer=oversight.RoundCurves, errors=(404, 422, 503)
    ),
    ("get", "/admin/rounds/{round_id}/logs/{step}"): Described(
        answer=oversight.RoundLog, errors=(404, 422, 503)
    ),
    ("post", "/admin/rounds/{round_id}/cancel"): Described(
        answer=oversight.RoundState, errors=(400, 404, 409, 422, 503), is_idempotent=True
    ),
    ("post", "/admin/rounds/{round_id}/retry"): Described(
        answer=oversight.RoundState, errors=(400, 404, 409, 422, 503), is_idempotent=True
    ),
    ("post", "/admin/rounds/{round_id}/override"): Described(
        answer=oversight.RoundState, errors=(400, 404, 409, 422, 503), is_idempotent=True
    ),
    ("get", "/admin/learning"): Described(answer=oversight.Learning, errors=(503,)),
    ("post", "/admin/learning/pause"): Described(answer=oversight.Learning, errors=(400, 422, 503)),
    ("post", "/admin/learning/resume"): Described(
        answer=oversight.Learning, errors=(400, 422, 503)
    ),
}


def document(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """What `app.openapi` is to be: the document, made when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _make(app)
        return app.openapi_schema

    return openapi


def operations(paths: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The operations of a document that ask for a key, by method and path."""
    return {
        (method, path): operation
        for path, methods in paths.items()
        if path.startswith(_PREFIXES)
        for method, operation in methods.items()
    }


def _make(app: FastAPI) -> dict[str, Any]:
    made: dict[str, Any] = get_openapi(title=app.title, version=app.version, routes=app.routes)
    answers = (described.answer for described in OPERATIONS.values())
    models: list[type[BaseModel]] = [shapes.ErrorBody, *answers]
    ordered = sorted(set(models), key=_name)
    _, shared = models_json_schema(
        [(model, "serialization") for model in ordered],
        ref_template="#/components/schemas/{model}",
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= shared["$defs"]
    for fastapis in ("HTTPValidationError", "ValidationError"):  # edge answers in our shape
        schemas.pop(fastapis, None)
    components["securitySchemes"] = {"api_key": {"type": "http", "scheme": "bearer"}}
    for name, operation in operations(made["paths"]).items():
        operation["security"] = [{"api_key": []}]
        if (described := OPERATIONS.get(name)) is not None:
            _describe(operation, described)
    return made


def _describe(operation: dict[str, Any], described: Described) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's guess
    success = min(status for status in responses if status.startswith("2"))
    content: dict[str, Any] = {"application/json": {"schema": _ref(described.answer)}}
    if described.streams:
        content["text/event-stream"] = {"itemSchema": _EVENT}
    responses[success] = {"description": _first_line(described.answer), "content": content}
    replays = (409, 422) if described.is_idempotent else ()
    for status in sorted({*_EVERYWHERE, *described.errors, *replays}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": _ref(shapes.ErrorBody)}},
        }
    keyed = (_IDEMPOTENCY_KEY,) if described.is_idempotent else ()
    if parameters := [*described.parameters, *keyed]:
        operation.setdefault("parameters", []).extend(parameters)


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{_name(model)}"}


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").splitlines()[0]
