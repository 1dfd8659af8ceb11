"""All routes of the console."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from serving.console import (
    actions,
    audit,
    canary,
    configuration,
    engines,
    labeling,
    lineage,
    moderation,
    overview,
    pages,
    policies,
    policy,
    rewards,
    runs,
    sessions,
)
from serving.console.sessions import Operators
from serving.gateway import Gateway
from serving.settings import ServingSettings


def build_router(gateway: Callable[[], Gateway], settings: ServingSettings) -> APIRouter:
    """Routes /console and /console/*."""
    # All gateways of a system share the engine token, so they know each other's sessions.
    operators = Operators(gateway, secret=settings.engine_token)
    router = APIRouter()
    router.include_router(sessions.build_router(operators))
    for screen in (
        *(overview, policies, policy, lineage, canary, moderation, rewards),
        *(labeling, runs, engines, audit, configuration, actions),
    ):
        router.include_router(screen.build_router(gateway, operators))
    router.include_router(pages.build_router())
    return router
