"""What the console shows and does, as JSON under /admin: reads for viewers, changes for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from feedback.errors import NotFound
from serving.auth import READERS, VIEWERS, ApiKey
from serving.gateway import Gateway
from serving.oversight import (
    audit,
    configuration,
    engines,
    gates,
    learning,
    overview,
    policies,
    rounds,
)
from serving.oversight.round_files import STEPS, STEPS_OF, RoundFiles
from serving.reasons import Reason, Why, WhyIndeed

_RoundId = Annotated[str, Path(pattern=r"^round-[0-9]{4,9}$")]
_Limit = Annotated[int, Query(ge=1, le=200)]
_Entry = Annotated[str | None, Query(pattern=r"^[1-9][0-9]{0,14}-[0-9]{1,15}$")]
_Version = Annotated[str | None, Query(pattern=r"^policy-[0-9]{4,9}$")]


class NewRound(BaseModel):
    """A round to start as soon as none is under way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["policy", "moderation"] = "policy"
    recipe: Annotated[str | None, Field(pattern=r"^[a-z0-9_-]{1,64}$")] = None
    reason: Reason = ""


def build_router(gateway: Callable[[], Gateway]) -> APIRouter:
    """Routes /admin/overview, policies, rounds, learning, engines, audit, settings."""
    router = APIRouter(prefix="/admin", tags=["Operator"])
    router.include_router(_state(gateway))
    router.include_router(_policies(gateway))
    router.include_router(_rounds(gateway))
    router.include_router(_learning(gateway))
    return router


def _state(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter()

    @router.get("/overview")
    async def show_overview(request: Request) -> dict[str, Any]:
        """What serves, what learns, what waits, and what is wrong."""
        await gateway().identify(request, *VIEWERS)
        return await overview.read(gateway())

    @router.get("/engines")
    async def list_engines(request: Request) -> dict[str, Any]:
        """What each engine has loaded, how fast it came, and how busy it is."""
        await gateway().identify(request, *VIEWERS)
        return engines.read(gateway())

    @router.get("/audit")
    async def list_audit(
        request: Request, before: _Entry = None, limit: _Limit = audit.PAGE
    ) -> dict[str, Any]:
        """Who changed what and why, newest first; `before`: the `entry` of the last one of a page."""
        await gateway().identify(request, *VIEWERS)
        return await audit.page(gateway(), before=before, limit=limit)

    @router.get("/settings")
    async def show_settings(request: Request) -> dict[str, Any]:
        """Settings of this gateway, secrets masked."""
        await gateway().identify(request, *VIEWERS)
        return configuration.read(gateway())

    return router


def _policies(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter(prefix="/policies")

    @router.get("")
    async def list_policies(
        request: Request, before: _Version = None, limit: _Limit = policies.PAGE
    ) -> dict[str, Any]:
        """Versions, newest first, each with its gate's verdict."""
        await gateway().identify(request, *VIEWERS)
        live, files = gateway().refresher.live, _files(gateway())
        return await asyncio.to_thread(policies.newest, live, files, before=before, limit=limit)

    @router.get("/{version}")
    async def show_policy(version: str, request: Request) -> dict[str, Any]:
        """One version, or what an alias means, with its gate report; people's texts in it are for keys
        of scope `admin` or `view_texts`."""
        key = await gateway().identify(request, *VIEWERS)
        live, files = gateway().refresher.live, _files(gateway())
        return await asyncio.to_thread(
            policies.one, live, files, version, with_texts=may_read_texts(key)
        )

    return router


def _rounds(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter(prefix="/rounds")

    @router.get("")
    async def list_rounds(
        request: Request,
        before: Annotated[int | None, Query(ge=1, le=10**9)] = None,
        limit: _Limit = rounds.PAGE,
    ) -> dict[str, Any]:
        """The newest rounds, or those before a number, as the workers last wrote them."""
        await gateway().identify(request, *VIEWERS)
        return await asyncio.to_thread(rounds.newest, gateway().redis, before=before, limit=limit)

    @router.post("", status_code=202)
    async def request_round(wanted: NewRound, request: Request) -> dict[str, Any]:
        """Ask for a round now; the control worker takes it up when none is under way."""
        key = await gateway().identify(request, "admin")
        return await rounds.request(gateway(), actor=key.id, **wanted.model_dump())

    @router.get("/{round_id}")
    async def show_round(round_id: _RoundId, request: Request) -> dict[str, Any]:
        """One round: where it is, what each step reported."""
        key = await gateway().identify(request, *VIEWERS)
        return await asyncio.to_thread(
            _show_round, gateway(), round_id, with_texts=may_read_texts(key)
        )

    @router.get("/{round_id}/curves")
    async def show_curves(round_id: _RoundId, request: Request) -> dict[str, Any]:
        """Every metric of every step, thinned out to what a drawing shows."""
        await gateway().identify(request, *VIEWERS)
        await asyncio.to_thread(rounds.read, gateway().redis, round_id)
        found = await asyncio.to_thread(_files(gateway()).curves, round_id)
        return {"object": "curves", "round_id": round_id, "steps": found}

    @router.get("/{round_id}/logs/{step}")
    async def show_log(round_id: _RoundId, step: str, request: Request) -> dict[str, Any]:
        """The end of a step's log: it may quote what people wrote."""
        await gateway().identify(request, *READERS)
        await asyncio.to_thread(rounds.read, gateway().redis, round_id)
        if step not in STEPS:
            raise NotFound(
                f"there is no step {step}; there are {', '.join(sorted(STEPS))}", param="step"
            )
        text = await asyncio.to_thread(_files(gateway()).log, round_id, step)
        return {"object": "log", "round_id": round_id, "step": step, "text": text}

    @router.post("/{round_id}/cancel", status_code=202)
    async def cancel_round(
        round_id: _RoundId, request: Request, wanted: Why | None = None
    ) -> dict[str, Any]:
        """End the round under way; what it has made stays on disk, nothing is published."""
        key = await gateway().identify(request, "admin")
        reason = wanted.reason if wanted is not None else ""
        return await rounds.cancel(gateway(), round_id, actor=key.id, reason=reason)

    @router.post("/{round_id}/retry", status_code=202)
    async def retry_round(
        round_id: _RoundId, request: Request, wanted: Why | None = None
    ) -> dict[str, Any]:
        """Go on with a round that failed or was cancelled, from its last checkpoint."""
        key = await gateway().identify(request, "admin")
        reason = wanted.reason if wanted is not None else ""
        return await rounds.retry(gateway(), round_id, actor=key.id, reason=reason)

    @router.post("/{round_id}/override", status_code=202)
    async def override_round(
        round_id: _RoundId, request: Request, wanted: WhyIndeed
    ) -> dict[str, Any]:
        """Publish what the gate refused, for a reason that stays with the version."""
        key = await gateway().identify(request, "admin")
        return await rounds.override(gateway(), round_id, actor=key.id, reason=wanted.reason)

    return router


def _learning(gateway: Callable[[], Gateway]) -> APIRouter:
    router = APIRouter(prefix="/learning")

    @router.get("")
    async def show_learning(request: Request) -> dict[str, Any]:
        """Whether rounds may start, and how many judgements are new."""
        await gateway().identify(request, *VIEWERS)
        return await asyncio.to_thread(learning.read, gateway().redis)

    @router.post("/pause")
    async def pause_learning(request: Request, wanted: Why | None = None) -> dict[str, Any]:
        """No round starts until `resume`; one under way goes on."""
        key = await gateway().identify(request, "admin")
        reason = wanted.reason if wanted is not None else ""
        return await learning.pause(gateway(), actor=key.id, reason=reason)

    @router.post("/resume")
    async def resume_learning(request: Request, wanted: Why | None = None) -> dict[str, Any]:
        """Let rounds start again."""
        key = await gateway().identify(request, "admin")
        reason = wanted.reason if wanted is not None else ""
        return await learning.resume(gateway(), actor=key.id, reason=reason)

    return router


def may_read_texts(key: ApiKey) -> bool:
    """Whether this key may see what end users wrote."""
    return bool(set(READERS) & set(key.scopes))


def _files(gateway: Gateway) -> RoundFiles:
    return RoundFiles(gateway.settings.data_dir)


def _show_round(gateway: Gateway, round_id: str, *, with_texts: bool) -> dict[str, Any]:
    files = _files(gateway)
    state = rounds.read(gateway.redis, round_id)
    if not with_texts:
        state.pop("error", None)  # a step's last words may quote somebody
    return {
        "object": "round",
        **state,
        "progress": rounds.progress(state),
        "steps": {step: files.ended(round_id, step) for step in STEPS_OF[rounds.kind(state)]},
        "reward_report": files.report(round_id, "reward"),
        "gate_report": gates.report(files, round_id, with_texts=with_texts),
    }
