"""The routes /admin/webhooks: endpoints made, listed, tested, removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from feedback.json_numbers import JSON_NUMBER
from serving.gateway import Gateway
from serving.webhooks.delivery import post_test
from serving.webhooks.store import Webhooks, revealed


class NewWebhook(BaseModel):
    """An endpoint to make."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    events: Annotated[tuple[str, ...], Field(max_length=32)] = ()  # empty: all


class Rotation(BaseModel):
    """How the secret is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_s: Annotated[float, Field(ge=0, le=30 * 86_400), JSON_NUMBER] = 86_400.0


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """For a gateway that exists by the time they are called."""
    router = APIRouter(prefix="/admin/webhooks", tags=["Operator"])

    def webhooks() -> Webhooks:
        return Webhooks(gateway().redis)

    @router.get("")
    async def list_webhooks(request: Request) -> dict[str, Any]:
        """All endpoints, without the secrets; what came of the last attempt, how many events wait."""
        await gateway().identify(request, "admin")
        shown = await asyncio.to_thread(
            lambda: [webhooks().show(endpoint) for endpoint in webhooks().list()]
        )
        return {"object": "list", "data": shown}

    @router.post("", status_code=201)
    async def add_webhook(wanted: NewWebhook, request: Request) -> dict[str, Any]:
        """Have events posted to an address. The answer is the only time that the secret is shown."""
        key = await gateway().identify(request, "admin")
        endpoint = await asyncio.to_thread(webhooks().add, wanted.url, events=wanted.events)
        await gateway().audit(key.id, "webhooks.create", webhook=endpoint.id)
        return revealed(endpoint)

    @router.post("/{endpoint_id}/rotate")
    async def rotate_webhook(
        endpoint_id: str, wanted: Rotation, request: Request
    ) -> dict[str, Any]:
        """A new secret, shown this once; until its grace is over events are signed with the old one
        as well. An endpoint that answered 410 is called again."""
        key = await gateway().identify(request, "admin")
        endpoint = await asyncio.to_thread(
            webhooks().rotate, endpoint_id, grace_s=wanted.grace_s, now=time.time()
        )
        await gateway().audit(key.id, "webhooks.rotate", webhook=endpoint.id)
        return revealed(endpoint)

    @router.delete("/{endpoint_id}")
    async def remove_webhook(endpoint_id: str, request: Request) -> dict[str, Any]:
        """Post nothing there any more; what still waits for it is dropped."""
        key = await gateway().identify(request, "admin")
        endpoint = await asyncio.to_thread(webhooks().remove, endpoint_id)
        await gateway().audit(key.id, "webhooks.remove", webhook=endpoint.id)
        return {"id": endpoint.id, "deleted": True}

    @router.post("/{endpoint_id}/test")
    async def test_webhook(endpoint_id: str, request: Request) -> dict[str, Any]:
        """Post a `webhook.test` event from the gateway, now and once."""
        await gateway().identify(request, "admin")
        outcome = await post_test(await asyncio.to_thread(webhooks().get, endpoint_id))
        return {"id": endpoint_id, "delivered": outcome.is_delivered, "outcome": outcome.says}

    return router
