"""The engines: what each has loaded, what it should load, and how an answer is opened on one.

Every second each engine is asked for its `GET /policy`; what production, canary and previous mean
and an engine lacks is loaded there. A request for a version that is being loaded waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from feedback.errors import BadRequest, HoneError, Refused, Unavailable
from serving.breaker import Breaker
from serving.engines import Engine
from serving.metrics import Metrics
from serving.registry import Live, PolicyRecord
from serving.repeated import Repeated
from serving.routing import Target, pick, ready_with, wanted_versions
from serving.tracing import Span
from serving.upstream import Upstream
from serving.waiting import WaitingRoom

log = logging.getLogger(__name__)

_POLL_EVERY_S = 1.0
_RELOAD_AFTER_S = 10.0  # pause before a version is tried again on an engine that refused it


@dataclass
class Member:
    """One engine, as last seen. Written by the fleet only."""

    engine: Engine
    url: str
    max_in_flight: int
    loaded: dict[str, dict[str, Any]] = field(default_factory=dict)  # version -> entry of /policy
    base: dict[str, str] = field(default_factory=dict)  # path, digest
    is_reachable: bool = False
    is_swapping: bool = False
    in_flight: int = 0
    error: str | None = None
    retry_at: dict[str, float] = field(default_factory=dict)  # version -> monotonic seconds
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one load at a time
    breaker: Breaker = field(default_factory=Breaker)

    def can_serve(self, version: str) -> bool:
        return (
            self.is_reachable and version in self.loaded and self.breaker.allows(time.monotonic())
        )

    def has_room(self) -> bool:
        return self.in_flight < self.max_in_flight

    def has_full(self) -> bool:
        return any(entry["kind"] == "full" for entry in self.loaded.values())

    def take_over(self, state: Mapping[str, Any]) -> None:
        self.loaded = {entry["version"]: entry for entry in state["loaded"]}
        self.base = state.get("base", {})
        self.is_swapping = state.get("swapping", False)
        self.is_reachable, self.error = True, None
        if state.get("draining"):  # answers under way end there; nothing new begins
            self.is_reachable, self.error = False, "it is about to end"

    def show(self) -> dict[str, Any]:
        """For GET /policy: no paths."""
        shown = ("version", "kind", "digest", "loaded_at")
        return {
            "url": self.url,
            "reachable": self.is_reachable,
            "swapping": self.is_swapping,
            "loaded": [{key: entry.get(key) for key in shown} for entry in self.loaded.values()],
            "in_flight": self.in_flight,
            "error": self.error,
        }


class Fleet:
    """One per gateway process."""

    def __init__(
        self,
        engines: Iterable[Engine],
        *,
        live: Callable[[], Live],
        metrics: Metrics,
        wait_s: float,
        max_in_flight: int,
        max_waiting: int,
        on_base: Callable[[dict[str, str]], Awaitable[None]],
    ) -> None:
        self.members = [
            Member(engine=engine, url=engine.url, max_in_flight=max_in_flight) for engine in engines
        ]
        self._room = WaitingRoom(max_waiting=max_waiting)
        metrics.queue.set_function(self.num_waiting)
        self._live = live
        self._metrics = metrics
        self._wait_s = wait_s
        self._on_base = on_base  # told path and digest of the base model that the engines run
        self._changed = asyncio.Event()
        self._loads: dict[str, asyncio.Task[None]] = {}  # by engine, what it lacks
        self._polling = Repeated("the engines", self._poll_and_load, every_s=_POLL_EVERY_S)

    async def start(self) -> None:
        await self.poll()
        self._load_what_lacks()
        self._polling.start()

    async def close(self) -> None:
        await self._polling.close()

    def has(self, version: str) -> bool:
        return any(member.can_serve(version) for member in self.members)

    def num_waiting(self) -> int:
        """Requests that wait for room on an engine."""
        return len(self._room)

    async def poll(self) -> None:
        """Look at every engine once."""
        await asyncio.gather(*(self._look(member) for member in self.members))
        base = next((member.base for member in self.members if member.base), None)
        if base is not None:
            await self._on_base(base)

    async def load_everywhere(self, record: PolicyRecord) -> None:
        """Have a version on every engine that can be reached, and see that it is there.

        Raises Refused with an engine's reason, Unavailable when no engine can be reached.
        """
        await self.poll()
        members = [member for member in self.members if member.is_reachable]
        if not members:
            raise Unavailable("no engine can be reached", retry_after_s=5)
        await asyncio.gather(*(self.load(member, record) for member in members))
        for member in members:
            if (entry := member.loaded.get(record.version)) is None:
                raise Refused(f"{member.url} does not have {record.version} after loading it")
            if entry["digest"] != record.digest:
                raise Refused(f"{member.url} has {record.version} with another digest")

    async def open(
        self,
        resolve: Callable[[], Target],
        path: str,
        body: Mapping[str, Any],
        *,
        session: bytes = b"",
    ) -> Upstream:
        """An answer of the version that `resolve` names, opened: its first bytes are here.

        One retry, on another engine or after a reload; an alias may mean another version by then.
        Raises Unavailable, or BadRequest with vLLM's reason.
        """
        avoid: list[str] = []
        while True:
            member, target = await self._choose(resolve, session, avoid)
            try:
                return await self._open_on(member, target, path, body)
            except (Unavailable, Refused) as error:
                if avoid:
                    raise Unavailable(error.message, retry_after_s=5) from error
                avoid.append(member.url)
                self._metrics.retries.labels(type(error).__name__).inc()
                await self._look(member)

    async def _open_on(
        self, member: Member, target: Target, path: str, body: Mapping[str, Any]
    ) -> Upstream:
        asked = dict(body)
        asked["model"] = member.loaded[target.version]["served_as"]
        asked["cache_salt"] = target.version
        data = orjson.dumps(asked)
        member.in_flight += 1
        member.breaker.begin(time.monotonic())
        span = member.engine.span()
        close = partial(self._left, member, span)
        try:
            response = await member.engine.open(
                path, data, version=target.version, headers=span.headers()
            )
        except BaseException as error:
            close(isinstance(error, Unavailable))
            raise
        span.answered(response.status)
        upstream = Upstream(response, target=target, on_close=close)
        try:
            await upstream.begin()
        except BaseException:
            upstream.close()
            raise
        member.breaker.succeeded()
        return upstream

    def _left(self, member: Member, span: Span, has_failed: bool) -> None:
        if has_failed:
            span.fail("Unavailable")
        span.end()
        member.in_flight -= 1
        if has_failed:
            member.breaker.failed(time.monotonic())
        self._room.wake()

    async def _choose(
        self, resolve: Callable[[], Target], session: bytes, avoid: list[str]
    ) -> tuple[Member, Target]:
        """An engine with the version, and room; waits for one that is loading it, or is full.

        Raises Unavailable.
        """
        deadline = time.monotonic() + self._wait_s
        while True:
            target = resolve()
            version = target.version
            rollout = self._live().rollout
            held = rollout.held if rollout is not None else ()
            member = pick(self.members, version, session=session, avoid=[*avoid, *held])
            if member is not None:
                return member, target
            left_s = deadline - time.monotonic()
            if any(member.can_serve(version) for member in self.members):
                await self._room.wait(left_s)
                continue
            if not any(member.is_reachable for member in self.members):
                raise Unavailable("no engine can be reached at the moment", retry_after_s=5)
            if version not in {record.version for record in wanted_versions(self._live())}:
                raise BadRequest(
                    f"{version} is not loaded; ask for 'policy', or have it promoted",
                    param="model",
                    code="model_not_loaded",
                )
            if left_s <= 0:
                raise Unavailable(f"{version} is not loaded yet", retry_after_s=5)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, 0.5)):
                    await self._changed.wait()

    async def _poll_and_load(self) -> None:
        await self.poll()
        self._load_what_lacks()

    def _load_what_lacks(self) -> None:
        for member in self.members:
            task = self._loads.get(member.url)
            if task is None or task.done():
                self._loads[member.url] = asyncio.create_task(self._reconcile(member))

    async def _look(self, member: Member) -> None:
        try:
            member.take_over(await member.engine.policy(wanted=ready_with(self._live())))
            self._leave_out_strangers(member)
        except HoneError as error:
            if member.is_reachable:
                log.warning("an engine is away: %s: %s", member.url, error.message)
            member.is_reachable, member.error = False, error.message
        self._metrics.engine_up.labels(member.url).set(member.is_reachable)
        self._changed.set()

    def _leave_out_strangers(self, member: Member) -> None:
        """A version counts by its weights: under its name alone another server would answer."""
        policies = self._live().policies
        for version, entry in list(member.loaded.items()):
            record = policies.get(version)
            if record is not None and record.digest != entry["digest"]:
                del member.loaded[version]
                member.error = f"its {version} has other weights than the registry's"

    async def _reconcile(self, member: Member) -> None:
        """Load what the aliases mean and this engine lacks."""
        if not member.is_reachable:
            return
        is_rolling_out = self._live().rollout is not None
        for record in wanted_versions(self._live()):
            if is_rolling_out and (record.kind != "adapter" or member.has_full()):
                continue  # who carries it out says which weights an engine is to have
            now = time.monotonic()
            if record.version in member.loaded or member.retry_at.get(record.version, 0) > now:
                continue
            try:
                await self.load(member, record)
            except HoneError as error:
                member.retry_at[record.version] = now + _RELOAD_AFTER_S
                member.error = f"{record.version}: {error.message}"
                log.error("an engine does not load a version: %s: %s", member.url, member.error)
            await self._look(member)

    async def load(self, member: Member, record: PolicyRecord) -> None:
        """Have a version on one engine. Raises Refused with its reason, Unavailable."""
        async with member.turn:
            if record.version in member.loaded:
                return
            await self._make_room(member, record)
            done = await member.engine.load(record.version, record.path, record.digest)
            pause_s = done.get("pause_ms", 0.0) / 1e3
            self._metrics.swap_pause.labels(record.kind).observe(pause_s)
        await self._look(member)

    async def _make_room(self, member: Member, record: PolicyRecord) -> None:
        """Unload published adapters that no alias means. Those of a round are not ours."""
        if record.kind != "adapter":
            return
        live = self._live()
        keep = {record.version, *live.aliases.values()}
        for version, entry in list(member.loaded.items()):
            if entry["kind"] == "adapter" and version in live.policies and version not in keep:
                with contextlib.suppress(HoneError):
                    await member.engine.unload(version)
