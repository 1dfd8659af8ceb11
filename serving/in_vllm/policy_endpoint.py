"""An ASGI middleware inside vLLM's own server: `GET/PUT /policy`, `DELETE /policy/{version}`.

`PUT /policy {version, path, digest}` is a local transaction:

1. Check the checkpoint before touching anything (serving.artifact, serving.in_vllm.weights).
2. Adapter: load it under its version name; nothing pauses, versions live side by side. An engine that
   runs full weights goes back to the base first, as below.
   Full weights: take no more requests, wait for what is in flight up to a deadline, pause (which
   freezes what is left), reload in place, reset the prefix cache, set the weight version, resume.
   `PUT /policy {version, sent}`: the same, from a trainer's memory (serving.in_vllm.transfer).
3. On any failure of a reload: load the last good weights again; if that fails too the process
   ends, and whoever watches it starts it anew on the base.

`GET /readyz`: 200 when it has what the gateways want (serving.in_vllm.readiness) and is not to end.
`POST /policy/drain {wait_s}`: no more requests; returns when those under way have ended.

Every request must carry the engine token, `/health` and `/readyz` excepted. Answers say which version made them,
at their first and last token; the caller says which version it means, and another one is refused.
vLLM's internals are used here and nowhere else; its dev-mode routes stay off.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from feedback.errors import BadRequest, HoneError, NotFound, Refused, Unauthorized
from serving import artifact
from serving.engines import VERSION_HEADER, WANTED_HEADER
from serving.in_vllm.asgi import header, json_body, reply
from serving.in_vllm.liveness import unless_dead
from serving.in_vllm.readiness import Readiness
from serving.in_vllm.tagging import tagged
from serving.in_vllm.traffic import Traffic
from serving.in_vllm.transfer import Transfer
from serving.registry import BASE
from serving.settings import ServingSettings

log = logging.getLogger("vllm.hone")  # under vLLM's logger, so that its handler prints it

_NOT_LOADED = "policy_not_loaded"
_TRANSFER = "/policy/transfer"
_DRAIN = "/policy/drain"
_GENERATION = ("/v1/chat/completions", "/v1/completions")


class Loaded(TypedDict):
    """One version that this engine can answer with."""

    version: str
    kind: str
    digest: str  # "" of weights that were sent: they are no files
    served_as: str  # `model` of a request to vLLM
    path: str  # "" of weights that were sent
    loaded_at: float  # unix seconds
    load_ms: float | None  # from the request to here; None of what the engine started with
    pause_ms: float | None  # of that, how long it made no tokens


Fill = Callable[[Any], Awaitable[None]]  # puts weights into a paused engine


class PolicyEndpoint:
    """State: what is loaded. Its only writer is the holder of the lock."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._settings = ServingSettings()
        self._lock = asyncio.Lock()
        self._traffic = Traffic()
        self._readiness = Readiness()
        base = str(self._settings.base_model)
        self._base_digest = artifact.base_digest(self._settings.base_model)
        self._weights = Loaded(
            version=BASE,
            kind="base",
            digest=self._base_digest,
            served_as=BASE,
            path=base,
            loaded_at=time.time(),
            load_ms=None,
            pause_ms=None,
        )
        self._adapters: dict[str, Loaded] = {}
        self._transfer = Transfer(self._settings.base_model, base_digest=self._base_digest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/readyz":
            await self._say_ready(scope, send)
            return
        try:
            self._authenticate(scope)
            if scope["path"] == "/policy" or scope["path"].startswith("/policy/"):
                await reply(send, 200, await self._control(scope, receive))
            elif scope["path"] in _GENERATION:
                await self._generate(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except HoneError as error:
            await reply(send, error.status, error.body())

    def _authenticate(self, scope: Scope) -> None:
        given = header(scope, "authorization") or ""
        wanted = f"Bearer {self._settings.engine_token}"
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Unauthorized("this engine answers its gateway only; send the engine token")

    async def _control(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        method, path, state = scope["method"], scope["path"], scope["app"].state
        engine = state.engine_client
        if (method, path) == ("GET", "/policy"):
            self._readiness.told(header(scope, WANTED_HEADER))
            return self._state(engine)
        body = await json_body(receive) if method in ("PUT", "POST") else {}
        if (method, path) == ("POST", _DRAIN):
            return await self._drain(engine, body)
        async with self._lock:
            if (method, path) == ("PUT", "/policy"):
                work = self._put(state, body)
            elif (method, path) == ("POST", _TRANSFER):
                work = self._transfer.join(engine, body)
            elif (method, path) == ("DELETE", _TRANSFER):
                work = self._transfer.leave(engine)
            elif method == "DELETE" and path.startswith("/policy/"):
                work = self._unload(state, path.removeprefix("/policy/"))
            else:
                raise NotFound(f"there is no {method} {path}")
            return await unless_dead(engine, work)

    async def _say_ready(self, scope: Scope, send: Send) -> None:
        lacks = self._readiness.lacks([self._weights["version"], *self._adapters])
        if self._traffic.is_closed:
            lacks = "it is about to end"
        if scope["app"].state.engine_client.errored:
            lacks = "the engine's core has died"
        await reply(send, 503 if lacks else 200, {"status": lacks or "ready"})

    async def _drain(self, engine: Any, body: dict[str, Any]) -> dict[str, Any]:
        wait_s = body.get("wait_s")
        if not isinstance(wait_s, (int, float)) or wait_s < 0:
            raise BadRequest("wait_s is a number of seconds, 0 or more", param="wait_s")
        return {"drained": await unless_dead(engine, self._traffic.close(wait_s=wait_s))}

    def _state(self, engine: Any) -> dict[str, Any]:
        return {
            "base": {"path": str(self._settings.base_model), "digest": self._base_digest},
            "weights": {"version": self._weights["version"], "digest": self._weights["digest"]},
            "loaded": [self._weights, *self._adapters.values()],
            "swapping": self._lock.locked(),
            "draining": self._traffic.is_closed,
            "transfer": self._transfer.state(engine),
        }

    async def _put(self, state: Any, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted.keys() == {"version", "sent"}:
            return await self._put_sent(state, str(wanted["version"]), wanted["sent"])
        try:
            version, folder, digest = wanted["version"], Path(wanted["path"]), wanted["digest"]
        except (KeyError, TypeError) as error:
            raise BadRequest(
                "PUT /policy takes version, path and digest, or version and sent"
            ) from error
        present = self._find(version)
        if present is not None:
            if present["digest"] != digest:
                raise Refused(
                    f"{version} is loaded with other weights; a version name is never reused"
                )
            return {"version": version, "digest": digest, "kind": present["kind"], "pause_ms": 0.0}
        started = time.perf_counter()
        if version == BASE and digest == self._base_digest:
            # Back from full weights. The folder is the one this engine started from.
            entry = self._entry(version, "base", digest, folder)
            pause_ms = await self._swap_weights(state, entry)
        else:
            manifest = await asyncio.to_thread(self._check, version, folder, digest)
            entry = self._entry(version, manifest.kind, manifest.digest, folder)
            if manifest.kind == "adapter":
                pause_ms = await self._load_adapter(state, entry)
            else:
                pause_ms = await self._swap_weights(state, entry)
        load_ms = (time.perf_counter() - started) * 1e3
        entry["load_ms"], entry["pause_ms"] = load_ms, pause_ms
        log.info("policy %s is loaded: %.0f ms, paused %.0f ms", version, load_ms, pause_ms)
        return {
            "version": version,
            "digest": digest,
            "kind": entry["kind"],
            "pause_ms": pause_ms,
            "load_ms": load_ms,
        }

    async def _put_sent(self, state: Any, version: str, body: Any) -> dict[str, Any]:
        if self._find(version) is not None:
            raise Refused(f"{version} is loaded; a version name is never reused")
        sent = await asyncio.to_thread(self._transfer.check, body)
        entry = self._entry(version, "full", "", None)
        pause_ms = await self._swap_weights(
            state, entry, fill=lambda engine: self._transfer.receive(engine, sent)
        )
        return {"version": version, "kind": "full", "pause_ms": pause_ms}

    def _check(self, version: str, folder: Path, digest: str) -> artifact.Manifest:
        # torch is in this process anyway, but not at import
        from serving.in_vllm.weights import check

        base = (self._settings.base_model, self._base_digest)
        return check(folder, version=version, digest=digest, base=base, settings=self._settings)

    async def _load_adapter(self, state: Any, entry: Loaded) -> float:
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        before, pause_ms = self._weights, 0.0
        if before["kind"] == "full":
            base = self._entry(BASE, "base", self._base_digest, self._settings.base_model)
            pause_ms = await self._swap_weights(state, base)
        request = LoadLoRAAdapterRequest(lora_name=entry["served_as"], lora_path=entry["path"])
        answer = await state.openai_serving_models.load_lora_adapter(request)
        if not isinstance(answer, str):
            if self._weights is not before and before["path"]:
                await self._swap_weights(state, before)
            raise Refused(f"vLLM refused {entry['version']}: {answer.error.message}")
        self._adapters[entry["version"]] = entry
        return pause_ms

    async def _swap_weights(self, state: Any, entry: Loaded, *, fill: Fill | None = None) -> float:
        engine = state.engine_client
        started = time.perf_counter()
        async with self._traffic.held(wait_s=self._settings.drain_s) as is_idle:
            log.info("waited %.0f ms for answers", (time.perf_counter() - started) * 1e3)
            for version in list(self._adapters):  # they were made over the weights that go
                await self._unload(state, version)
            await engine.pause_generation(mode="wait" if is_idle else "keep")
            return await self._reload_paused(engine, entry, fill or _from_path(entry))

    async def _reload_paused(self, engine: Any, entry: Loaded, fill: Fill) -> float:
        """Milliseconds until it goes on. Raises Refused; the old weights are there again then."""
        paused = time.perf_counter()
        try:
            await self._reload(engine, entry, fill)
        except (
            Exception
        ) as error:  # the core raises whatever the worker raised; all mean: not loaded
            log.exception("reload of %s failed", entry["version"])
            await self._restore(engine)
            raise Refused(f"vLLM could not load {entry['version']}: {error}") from error
        finally:
            await engine.resume_generation()
        return (time.perf_counter() - paused) * 1e3

    async def _reload(self, engine: Any, entry: Loaded, fill: Fill) -> None:
        await fill(engine)
        await engine.collective_rpc("repack_head")
        await engine.reset_prefix_cache()
        await engine.update_weight_version(entry["version"])
        self._weights = entry

    async def _restore(self, engine: Any) -> None:
        good = self._weights
        if not good["path"]:  # they were sent, and are nowhere else
            good = self._entry(BASE, "base", self._base_digest, self._settings.base_model)
        try:
            await self._reload(engine, good, _from_path(good))
        except Exception:  # the engine is of no use now, whatever the reason
            log.exception("the last good weights cannot be loaded either; the engine ends")
            os.kill(os.getpid(), signal.SIGTERM)

    async def _unload(self, state: Any, version: str) -> dict[str, Any]:
        from vllm.entrypoints.serve.lora.protocol import UnloadLoRAAdapterRequest

        entry = self._adapters.get(version)
        if entry is None:
            raise NotFound(f"{version} is not loaded here as an adapter")
        request = UnloadLoRAAdapterRequest(lora_name=entry["served_as"])
        answer = await state.openai_serving_models.unload_lora_adapter(request)
        if not isinstance(answer, str):
            raise Refused(f"vLLM could not unload {version}: {answer.error.message}")
        del self._adapters[version]
        return {"version": version, "unloaded": True}

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a generation on, and tag the answer with the version(s) that made it."""
        asked = header(scope, VERSION_HEADER)
        if self._traffic.is_closed:
            raise Refused("this engine is about to end", code=_NOT_LOADED)
        if self._traffic.is_held:
            raise Refused("other weights are on their way into this engine", code=_NOT_LOADED)
        if asked is not None and self._find(asked) is None:
            raise Refused(f"{asked} is not loaded on this engine", code=_NOT_LOADED)
        before = self._weights["version"]

        def tags() -> tuple[str, str]:
            now = self._weights["version"]
            first = asked or before
            return first, first if now == before else now

        with self._traffic.answering():
            await self._app(scope, receive, tagged(send, tags))

    def _find(self, version: str) -> Loaded | None:
        return self._weights if version == self._weights["version"] else self._adapters.get(version)

    def _entry(self, version: str, kind: str, digest: str, folder: Path | None) -> Loaded:
        return Loaded(
            version=version,
            kind=kind,
            digest=digest,
            served_as=version if kind == "adapter" else BASE,
            path="" if folder is None else str(folder),
            loaded_at=time.time(),
            load_ms=None,
            pause_ms=None,
        )


def _from_path(entry: Loaded) -> Fill:
    return lambda engine: engine.collective_rpc(
        "reload_weights", kwargs={"weights_path": entry["path"]}
    )
