"""The routes that an OpenAI client calls.

A request for completions:

1. Who: key, scope, limit.
2. What: known fields within their bounds; which version the model name means.
3. Moderation reads the prompt.
4. An engine that has the version answers; one retry.
5. Moderation reads the answers.
6. The exchange goes into the log, and is durable there.
7. The client gets the answer, with the version that made it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from feedback.errors import BadRequest, HoneError, NotFound, Unavailable
from serving import logs, tracing
from serving.auth import VISIT, ApiKey
from serving.candidates import CHAT, TEXT, Shape
from serving.direct import Endpoint
from serving.edge import add_headers
from serving.exchange import Exchange, person_of
from serving.gateway import Gateway
from serving.registry import CANARY, PRODUCTION, Live, PolicyRecord
from serving.request_fields import Asked, json_object
from serving.routing import ALIASES, MODEL, Target, resolve
from serving.schemas.requests import CHAT_SCHEMA, MODERATION_SCHEMA, TEXT_SCHEMA
from serving.streaming import EventStream, Relay, until_disconnect
from serving.upstream import Upstream

log = logging.getLogger(__name__)

_JSON = "application/json"

Which = Callable[[], Target]  # the version that a model name means at the moment


def endpoints(gateway: Callable[[], Gateway]) -> dict[str, Endpoint]:
    """The data path, by path."""
    return {
        shape.path: partial(_complete_at, gateway=gateway, shape=shape) for shape in (CHAT, TEXT)
    }


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /v1/…, for a gateway that exists by the time they are called."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.post("/chat/completions", openapi_extra=CHAT_SCHEMA)
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation. Streams with `stream: true`."""
        return await _complete(gateway(), CHAT, request)

    @router.post("/completions", openapi_extra=TEXT_SCHEMA)
    async def completions(request: Request) -> Response:
        """Continue a text. Streams with `stream: true`."""
        return await _complete(gateway(), TEXT, request)

    @router.get("/models")
    async def models(request: Request) -> dict[str, Any]:
        """The aliases and versions that `model` may name."""
        await gateway().identify(request, "infer", VISIT)
        return {"object": "list", "data": await _models(gateway())}

    @router.get("/models/{model}")
    async def model(model: str, request: Request) -> dict[str, Any]:
        """One of them."""
        await gateway().identify(request, "infer")
        for entry in await _models(gateway()):
            if entry["id"] == model:
                return entry
        raise NotFound(f"there is no model '{model}' here", param="model", code="model_not_found")

    @router.post("/moderations", openapi_extra=MODERATION_SCHEMA)
    async def moderations(request: Request) -> dict[str, Any]:
        """Score texts by OpenAI's moderation categories."""
        await gateway().identify(request, "infer")
        body = json_object(await request.body())
        for name in body.keys() - {"input", "model"}:
            raise BadRequest(f"unknown field '{name}'", param=name, code="unknown_field")
        return await gateway().moderation.moderate(body)

    return router


async def _complete_at(
    request: Request, *, gateway: Callable[[], Gateway], shape: Shape
) -> Response:
    return await _complete(gateway(), shape, request)


async def _complete(gateway: Gateway, shape: Shape, request: Request) -> Response:
    try:
        key = await gateway.identify(request, "infer", VISIT)
        asked = shape.parse(await request.body(), max_tokens=gateway.settings.max_model_len)
    except HoneError as error:
        _count_refused(gateway, shape, "", error)
        raise
    return await complete(gateway, shape, asked, key, request)


async def complete(
    gateway: Gateway, shape: Shape, asked: Asked, key: ApiKey, request: Request
) -> Response:
    """The answer to a valid request of a known key. Raises HoneError."""
    version = ""
    try:
        which = _which(gateway, asked, key)
        exchange = Exchange(
            shape=shape,
            asked=asked,
            target=which(),
            key=key,
            journal=gateway.journal,
            queues=gateway.assignments.queues,
            screen=gateway.screen,
            metrics=gateway.metrics,
        )
        version = exchange.target.version
        logs.bind(version=version, completion_id=exchange.id, key_id=key.id)
        work = _open_stream if asked.is_stream else _answer
        with ExitStack() as ending:
            allowance = gateway.begin(key)
            ending.callback(lambda: gateway.end(key, tokens=exchange.num_tokens))
            ending.callback(exchange.describe)
            add_headers(request.scope, allowance.headers())
            response = await until_disconnect(
                request.receive, work(gateway, exchange, which, ending)
            )
    except HoneError as error:
        _count_refused(gateway, shape, version, error)
        raise
    status = 200 if response is not None else 499  # nginx's "client closed request"
    if response is None:
        tracing.current().fail("broken_by_client", is_fault=False)
    gateway.metrics.requests.labels(shape.name, version, str(status)).inc()
    log.info("answering" if asked.is_stream else "answered", extra={"status": status})
    return response or Response(status_code=status)


def _count_refused(gateway: Gateway, shape: Shape, version: str, error: HoneError) -> None:
    gateway.metrics.requests.labels(shape.name, version, str(error.status)).inc()
    log.info("refused", extra={"status": error.status, "reason": error.message})
    tracing.current().fail(type(error).__name__, is_fault=error.status >= 500)


def _which(gateway: Gateway, asked: Asked, key: ApiKey) -> Which:
    def which() -> Target:
        live = gateway.refresher.live
        person = person_of(asked, key) if live.canary is not None else None
        return resolve(asked.model, live, person=person, has=gateway.fleet.has)

    return which


async def _open(gateway: Gateway, exchange: Exchange, which: Which) -> Upstream:
    await exchange.screen_prompt()
    try:
        upstream = await _ask_engine(gateway, exchange, which)
    except Unavailable:
        await exchange.log_failure()
        if exchange.target.drawn is None or exchange.target.alias != CANARY:
            raise
        # Who is drawn for a canary is not to suffer from it.
        upstream = await _ask_engine(
            gateway, exchange, lambda: resolve(f"{MODEL}@{PRODUCTION}", gateway.refresher.live)
        )
    exchange.target = upstream.target  # an alias may have moved while we waited
    return upstream


async def _ask_engine(gateway: Gateway, exchange: Exchange, which: Which) -> Upstream:
    asked = exchange.asked
    return await gateway.fleet.open(
        which, exchange.shape.path, asked.upstream, session=asked.session
    )


async def _open_stream(
    gateway: Gateway, exchange: Exchange, which: Which, ending: ExitStack
) -> Response:
    upstream = await _open(gateway, exchange, which)
    # The answer is under way until the stream has ended.
    return EventStream(
        Relay(exchange, upstream, window=gateway.window).run,
        headers=exchange.headers(),
        on_end=ending.pop_all().close,
    )


async def _answer(
    gateway: Gateway, exchange: Exchange, which: Which, ending: ExitStack
) -> Response:
    body = await answer(gateway, exchange, which)
    return Response(orjson.dumps(body), media_type=_JSON, headers=exchange.headers())


async def answer(gateway: Gateway, exchange: Exchange, which: Which) -> dict[str, Any]:
    """Steps 3 to 6 for an answer that is not streamed. Raises HoneError."""
    upstream = await _open(gateway, exchange, which)
    try:
        answer = upstream.json()
    finally:
        upstream.close()
    shape, drafts = exchange.shape, exchange.drafts
    exchange.prompt_ids = shape.prompt_ids(answer)
    for choice in answer["choices"]:
        shape.take(drafts[choice["index"]], choice)
    await exchange.screen_answers(drafts, [draft.text for draft in drafts])
    await exchange.log(upstream)
    exchange.count_usage(answer.get("usage"))
    exchange.count_latency()
    body = {
        "object": answer["object"],
        "choices": [_choice(exchange, choice) for choice in answer["choices"]],
        "usage": answer.get("usage"),
    }
    if (moderation := exchange.moderation()) is not None:
        body["moderation"] = moderation
    return exchange.stamp(body)


def _choice(exchange: Exchange, choice: dict[str, Any]) -> dict[str, Any]:
    draft = exchange.drafts[choice["index"]]
    if draft.is_blocked:
        return exchange.shape.withheld(draft, choice)
    return exchange.shape.for_client(choice, wants_logprobs=exchange.asked.wants_logprobs)


async def _models(gateway: Gateway) -> list[dict[str, Any]]:
    """OpenAI's list: aliases first, then versions, the newest first; the moderation model at the end."""
    about = await gateway.moderation.about()
    shown = _policies(gateway.refresher.live)
    return shown if about is None else [*shown, _moderation_model(about)]


def _moderation_model(about: dict[str, Any]) -> dict[str, Any]:
    categories = {
        item["id"]: {"scored": item["scored"], "threshold": item["threshold"]}
        for item in about["data"]
    }
    return {
        "id": about["model"],
        "object": "model",
        "created": 0,  # nobody says when
        "owned_by": "hone",
        "moderation": {"categories": categories},
    }


def _policies(live: Live) -> list[dict[str, Any]]:
    named = [(MODEL, live.aliases.get(ALIASES[0]))]
    named += [(f"{MODEL}@{alias}", live.aliases.get(alias)) for alias in ALIASES]
    there = (version for version, record in live.policies.items() if record.removed is None)
    named += [(version, version) for version in sorted(there, reverse=True)]
    return [
        _model(name, live.policies[version])
        for name, version in named
        if version is not None and version in live.policies
    ]


def _model(name: str, record: PolicyRecord) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(record.created),
        "owned_by": "hone",
        "policy": {"version": record.version, "digest": record.digest, "parent": record.parent},
    }
