"""Puts the routes of the feedback package into the gateway: who may judge, who may label."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request

from feedback import api, pages
from feedback.intake import Caller
from feedback.sessions import Signer
from serving.auth import ApiKey
from serving.gateway import Gateway
from serving.settings import ServingSettings


def build_router(gateway: Callable[[], Gateway], settings: ServingSettings) -> APIRouter:
    """Routes /v1/feedback/*, /label and /."""

    async def judge(request: Request) -> Caller:
        return _caller(await gateway().identify(request, "infer", "label"))

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
            intake=lambda: gateway().intake,
            assignments=lambda: gateway().assignments,
            identify=judge,
            identify_labeler=labeler,
        )
    )
    router.include_router(
        pages.build_router(
            intake=lambda: gateway().intake,
            assignments=lambda: gateway().assignments,
            # All gateways of a system share the engine token, so they know each other's sessions.
            signer=Signer(settings.engine_token),
            log_in=log_in,
            caller_of=caller_of,
        )
    )
    return router


def _caller(key: ApiKey) -> Caller:
    return Caller(key_id=key.id, tenant=key.tenant, is_labeler="label" in key.scopes)
