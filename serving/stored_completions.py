"""The routes of stored chat completions, as the OpenAI client calls them.

What a key's tenant stored can be listed, looked up, labelled with metadata, and deleted for good. A
choice that moderation withheld stays withheld. While Redis is away these routes answer 503.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback import stored
from feedback.errors import BadRequest
from feedback.events import Choice, Completion
from serving import field_checks as checks
from serving.gateway import Gateway
from serving.request_fields import json_object
from serving.routing import MODEL, resolve
from serving.schemas.requests import UPDATE_SCHEMA

_DEFAULT_LIMIT = 20
_MAX_LIMIT = 100
_ORDERS = ("asc", "desc")
_PAGING = ("after", "limit", "order")
_FINISHED = ("stop", "length", "tool_calls", "content_filter", "function_call")


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes below /v1/chat/completions, for a gateway that exists by the time they are called."""
    router = APIRouter(prefix="/v1/chat/completions", tags=["OpenAI"])

    @router.get("")
    async def list_completions(request: Request) -> Response:
        """The stored chat completions of this key's tenant."""
        tenant = await _tenant(gateway(), request)
        query = _query(gateway(), request)
        page = await stored.page(gateway().journal, query, tenant=tenant)
        data = [_show(completion) for completion in page.completions]
        return _json(_list(data, has_more=page.has_more, cursor=page.cursor))

    @router.get("/{completion_id}")
    async def retrieve_completion(completion_id: str, request: Request) -> Response:
        """One of them."""
        tenant = await _tenant(gateway(), request)
        _params(request, ())
        return _json(_show(await stored.get(gateway().journal, completion_id, tenant=tenant)))

    @router.post("/{completion_id}", openapi_extra=UPDATE_SCHEMA)
    async def update_completion(completion_id: str, request: Request) -> Response:
        """Replace its metadata; nothing else of it can change."""
        tenant = await _tenant(gateway(), request)
        _params(request, ())
        metadata = _new_metadata(await request.body())
        changed = await stored.replace_metadata(
            gateway().journal, completion_id, metadata, tenant=tenant
        )
        return _json(_show(changed))

    @router.delete("/{completion_id}")
    async def delete_completion(completion_id: str, request: Request) -> Response:
        """Erase its text for good; it will train nothing."""
        tenant = await _tenant(gateway(), request)
        _params(request, ())
        await stored.erase(gateway().journal, completion_id, tenant=tenant)
        return _json({"id": completion_id, "object": "chat.completion.deleted", "deleted": True})

    @router.get("/{completion_id}/messages")
    async def list_messages(completion_id: str, request: Request) -> Response:
        """The messages that it answers."""
        tenant = await _tenant(gateway(), request)
        params = _params(request, _PAGING)
        limit, is_newest_first = _limit(params), _is_newest_first(params)
        completion = await stored.get(gateway().journal, completion_id, tenant=tenant)
        messages = _messages(completion)
        if is_newest_first:
            messages.reverse()
        if "after" in params:
            ids = [message["id"] for message in messages]
            if params["after"] not in ids:
                raise BadRequest("after is the id of one of these messages", param="after")
            messages = messages[ids.index(params["after"]) + 1 :]
        return _json(_list(messages[:limit], has_more=len(messages) > limit, cursor=None))

    return router


async def _tenant(gateway: Gateway, request: Request) -> str:
    return (await gateway.identify(request, "infer")).tenant


def _query(gateway: Gateway, request: Request) -> stored.Query:
    params = _params(request, (*_PAGING, "model"), has_metadata=True)
    metadata = {
        name[len("metadata[") : -1]: value
        for name, value in params.items()
        if name.startswith("metadata[")
    }
    model = checks.text(128)("model", params["model"]) if "model" in params else None
    if model is not None and model.partition("@")[0] == MODEL:
        model = resolve(model, gateway.refresher.live).version  # the version it means now
    return stored.Query(
        limit=_limit(params),
        after=checks.text(128)("after", params["after"]) if "after" in params else None,
        is_newest_first=_is_newest_first(params),
        model=model,
        metadata=checks.metadata("metadata", metadata),
    )


def _params(
    request: Request, known: Collection[str], *, has_metadata: bool = False
) -> dict[str, str]:
    """The query, each name once. A misspelt filter that is silently dropped would list everything."""
    params: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        is_metadata = name.startswith("metadata[") and name.endswith("]")
        if name not in known and not (has_metadata and is_metadata):
            named = [*known, "metadata[key]"] if has_metadata else known
            cure = f"; this route knows {', '.join(named)}" if named else ""
            raise BadRequest(
                f"unknown query parameter '{name}'{cure}", param=name, code="unknown_field"
            )
        if name in params:
            raise BadRequest(f"'{name}' is given twice", param=name)
        params[name] = value
    return params


def _limit(params: dict[str, str]) -> int:
    given = params.get("limit", str(_DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= _MAX_LIMIT:
        raise BadRequest(f"limit is a whole number from 1 to {_MAX_LIMIT}", param="limit")
    return int(given)


def _is_newest_first(params: dict[str, str]) -> bool:
    order = params.get("order", _ORDERS[0])
    if order not in _ORDERS:
        raise BadRequest(f"order is {' or '.join(_ORDERS)}", param="order")
    return order == "desc"


def _new_metadata(body: bytes) -> dict[str, str]:
    fields = json_object(body)
    for name in sorted(fields.keys() - {"metadata"}):
        raise BadRequest(
            f"'{name}' cannot be changed, only metadata can", param=name, code="unknown_field"
        )
    if "metadata" not in fields:
        raise BadRequest("'metadata' is missing", param="metadata", code="missing_field")
    given = fields["metadata"]
    return {} if given is None else checks.metadata("metadata", given)


def _show(completion: Completion) -> dict[str, Any]:
    """OpenAI's ChatCompletion."""
    num_prompt = len(completion.prompt_ids)
    num_made = sum(len(choice.token_ids) for choice in completion.choices)
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": int(completion.created),
        "model": completion.version,
        "system_fingerprint": f"{completion.version}-{completion.digest[:8]}",
        "choices": [_choice(choice) for choice in completion.choices],
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_made,
            "total_tokens": num_prompt + num_made,
        },
        "metadata": completion.metadata,
    }


def _choice(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    # A broken-off answer has no reason; of those that OpenAI's type knows, `length` says "not whole".
    reason = choice.finish_reason if choice.finish_reason in _FINISHED else "length"
    if choice.blocked:
        message["content"], reason = "", "content_filter"
    elif choice.message is not None:
        message |= choice.message
    # The log has no token texts, so log-probabilities cannot be shown as OpenAI does.
    return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": reason}


def _messages(completion: Completion) -> list[dict[str, Any]]:
    """OpenAI's ChatCompletionStoreMessage, the first one first."""
    shown = []
    for position, message in enumerate(completion.request["messages"]):
        content = message.get("content")
        parts = content if isinstance(content, list) else None
        shown.append(
            {
                **dict.fromkeys(("name", "refusal")),
                **message,
                "id": f"{completion.id}-{position}",
                "content": "\n".join(part["text"] for part in parts) if parts else content,
                "content_parts": parts,
            }
        )
    return shown


def _list(data: list[dict[str, Any]], *, has_more: bool, cursor: str | None) -> dict[str, Any]:
    """OpenAI's list. A page may hold nothing and have more: then the next goes on after `last_id`."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else (cursor if has_more else None),
        "has_more": has_more,
    }


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
