"""The gateway: one FastAPI application, made by `create_app` and run by uvicorn."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from feedback.settings import FeedbackSettings
from moderation.settings import ModerationSettings
from serving import (
    admin,
    candidate_sets,
    edge,
    erasure_routes,
    feedback_routes,
    health,
    openai_api,
    otlp,
    stored_completions,
)
from serving.canary import routes as canary_routes
from serving.canary.watch import Watch
from serving.console import router as console
from serving.direct import Direct
from serving.exported.exporter import Exporter
from serving.gateway import Gateway, open_gateway
from serving.idempotency import Idempotent
from serving.lineage import routes as lineage_routes
from serving.oversight import moderation_routes
from serving.oversight import routes as oversight
from serving.playground import pages as playground
from serving.schemas import document as api_document
from serving.settings import ServingSettings
from serving.supply import Supply
from serving.webhooks import routes as webhook_routes


def create_app(
    settings: ServingSettings | None = None,
    feedback_settings: FeedbackSettings | None = None,
    moderation_settings: ModerationSettings | None = None,
) -> FastAPI:
    """Settings come from the environment unless given."""
    settings = settings or ServingSettings()
    feedback_settings = feedback_settings or FeedbackSettings()
    moderation_settings = moderation_settings or ModerationSettings()
    traces = otlp.from_environment()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = open_gateway(settings, feedback_settings, moderation_settings, traces)
        async with parts as app.state.gateway:
            # Modules and routes stay; going through them each time, full collections took 33-70 ms.
            gc.collect()
            gc.freeze()
            # Most of what a request makes dies with it; looking for cycles every 700 objects took a
            # quarter of the CPU time at 64 requests at a time.
            gc.set_threshold(20_000, 20, 20)
            opened = app.state.gateway
            async with Supply(opened), Watch(opened), Exporter(opened) as app.state.exporter:
                yield

    app = FastAPI(title="hone", version=_version(), lifespan=lifespan)

    def gateway() -> Gateway:
        opened: Gateway = app.state.gateway
        return opened

    edge.install(app)
    data_path = openai_api.endpoints(gateway)
    app.add_middleware(Direct, endpoints=data_path | feedback_routes.endpoints(gateway))
    app.add_middleware(Idempotent, gateway=gateway)
    app.add_middleware(edge.Edge, max_body_bytes=settings.max_body_bytes)
    if traces is not None:
        from serving.otel import Traced

        app.add_middleware(Traced, tracing=traces, paths=data_path)
    for module in (
        *(openai_api, stored_completions, candidate_sets, admin, erasure_routes),
        *(oversight, moderation_routes, canary_routes, lineage_routes, webhook_routes, health),
    ):
        app.include_router(module.build_router(gateway))
    app.include_router(feedback_routes.build_router(gateway, settings))
    app.include_router(console.build_router(gateway, settings))
    app.include_router(playground.build_router(gateway, settings))
    app.openapi = api_document.document(app)  # type: ignore[method-assign]
    return app


def _version() -> str:
    try:
        return version("hone-llm")
    except PackageNotFoundError:
        return "0+unknown"  # run from a checkout that is not installed
