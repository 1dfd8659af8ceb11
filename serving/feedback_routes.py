"""Puts the routes of the feedback package into the gateway: who may judge, who may label."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request

from feedback import api, tensorzero
from feedback.callers import Caller
from feedback.labeling.pages.parts import Parts
from feedback.labeling.pages.router import build_router as build_pages
from feedback.labeling.sessions import Signer
from serving.auth import VISIT, ApiKey
from serving.direct import Endpoint
from serving.gateway import Gateway
from serving.settings import ServingSettings


def endpoints(gateway: Callable[[], Gateway]) -> dict[str, Endpoint]:
    """What takes judgements, by path."""
    return api.endpoints(intake=lambda: gateway().intake, identify=_judge(gateway))


def build_router(gateway: Callable[[], Gateway], settings: ServingSettings) -> APIRouter:
    """Routes /v1/feedback/*, /feedback and /label."""
    judge = _judge(gateway)

    async def labeler(request: Request) -> Caller:
        return _caller(await gateway().identify(request, "label"))

    async def log_in(secret: str) -> Caller:
        key = await gateway().authenticator.identify(secret)
        key.require("label")
        return _caller(key)

    def caller_of(key_id: str) -> Caller | None:
        key = gateway().authenticator.by_id(key_id)
        return _caller(key) if key is not None and "label" in key.scopes else None

    router = APIRouter()
    router.include_router(
        api.build_router(
            journal=lambda: gateway().journal,
            intake=lambda: gateway().intake,
            assignments=lambda: gateway().assignments,
            identify=judge,
            identify_labeler=labeler,
        )
    )
    router.include_router(tensorzero.build_router(intake=lambda: gateway().intake, identify=judge))
    router.include_router(
        build_pages(
            Parts(
                redis=lambda: gateway().journal.redis,
                intake=lambda: gateway().intake,
                assignments=lambda: gateway().assignments,
                labelers=lambda: gateway().labelers,
                # All gateways of a system share the engine token, so they know each other's sessions.
                signer=Signer(settings.engine_token),
                log_in=log_in,
                caller_of=caller_of,
            )
        )
    )
    return router


def _judge(gateway: Callable[[], Gateway]) -> api.Identify:
    async def judge(request: Request) -> Caller:
        return _caller(await gateway().identify(request, "infer", "label", VISIT))

    return judge


def _caller(key: ApiKey) -> Caller:
    return Caller(
        key_id=key.id,
        tenant=key.tenant,
        is_labeler="label" in key.scopes,
        source="key" if key.end_user is None else "end_user",
        person=key.end_user,
    )
