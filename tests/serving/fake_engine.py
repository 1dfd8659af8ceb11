"""Stand-ins for the processes behind the gateway: an engine here, a moderation server beside it.

Real servers on real ports, in a thread with its own event loop. The engine speaks vLLM 0.32's shapes
and our policy endpoint's; what it answers is the last user message, in capitals. Given tools, it calls the
first one with that text.
"""

from __future__ import annotations

import asyncio
import json
import threading
from abc import ABC, abstractmethod
from typing import Any

from aiohttp import web

TOKEN = "engine-token-of-the-tests"
BASE_DIGEST = "b" * 64


class Served(ABC):
    """An aiohttp application on a free port, in a thread."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=10_000_000)
        self.routes()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @abstractmethod
    def routes(self) -> None:
        """Add the routes to `self.app`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """Cut every connection."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()

    async def _serve(self) -> None:
        # A cancelled handler is how the tests see that a client has left.
        self._runner = web.AppRunner(self.app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._ready.set()


class FakeEngine(Served):
    def __init__(self, *, base_digest: str = BASE_DIGEST) -> None:
        super().__init__()
        self.base_digest = base_digest
        self.loaded: dict[str, dict[str, Any]] = {
            "policy-0000": _entry("policy-0000", "base", base_digest)
        }
        self.bodies: list[dict[str, Any]] = []  # generation requests, as they came
        self.headers: list[dict[str, str]] = []  # of each of them
        self.calls: list[str] = []  # changes of what is loaded
        self.refuse: dict[str, str] = {}  # version -> reason
        self.full: set[str] = set()  # versions that are full weights: they replace all others
        # What they answer then is a server's word for an error in its code, no JSON.
        self.is_broken = self.breaks_on_load = False  # GET /policy, PUT /policy
        self.load_delay_s = 0.0
        self.fail_next = 0  # generation requests to answer with a 500
        self.fails: set[str] = set()  # versions whose every request is a 500
        self.break_next = 0  # streams to cut after three chunks
        self.max_messages = 1_000  # what it has room for
        self.chunk_delay_s = 0.0
        self.answer_delay_s = 0.0
        self.num_cancelled = 0
        self.num_looks = 0  # GET /policy
        self.is_draining = False
        self.num_looks_draining = 0  # of those, while it was
        self.wanted: str | None = None  # what the last one said is wanted
        self.by_index: dict[int, str] = {}  # what a candidate answers instead (not streamed)
        self.says: str | None = None  # what it answers instead, to the letter
        self.piece_chars = 8  # of that, in a chunk
        self.vitals = {
            "vllm:kv_cache_usage_perc": 0.37,
            "vllm:num_requests_running": 2.0,
            "vllm:num_requests_waiting": 1.0,
            "vllm:generation_tokens_total": 1000.0,
            "vllm:prompt_tokens_total": 400.0,
            "vllm:prefix_cache_hits_total": 5.0,
        }
        self.last_version: str | None = None  # x-engine-version-last, where it differs

    def routes(self) -> None:
        self.app.router.add_get("/policy", self._policy)
        self.app.router.add_put("/policy", self._load)
        self.app.router.add_delete("/policy/{version}", self._unload)
        self.app.router.add_post("/v1/chat/completions", self._generate)
        self.app.router.add_post("/v1/completions", self._generate)
        self.app.router.add_get("/metrics", self._metrics)
        self.app.router.add_get("/fake", self._show)
        self.app.router.add_put("/fake", self._set)

    async def _show(self, request: web.Request) -> web.Response:
        """For tests in another language."""
        return web.json_response({"bodies": self.bodies, "num_cancelled": self.num_cancelled})

    async def _set(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        return web.json_response({})

    async def _policy(self, request: web.Request) -> web.Response:
        _authenticate(request)
        self.num_looks += 1
        self.num_looks_draining += self.is_draining
        self.wanted = request.headers.get("x-policy-wanted")
        if self.is_broken:
            return web.Response(status=500, text="Internal Server Error")
        weights = self.loaded.get("policy-0000") or next(iter(self.loaded.values()))
        return web.json_response(
            {
                "base": {"path": "/models/base", "digest": self.base_digest},
                "weights": {"version": weights["version"], "digest": weights["digest"]},
                "loaded": list(self.loaded.values()),
                "swapping": False,
                "draining": self.is_draining,
            }
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        """As vLLM 0.32 writes them, with more beside."""
        _authenticate(request)
        labels = '{engine="0",model_name="policy-0000"}'
        lines = [
            f"# TYPE {name} gauge\n{name}{labels} {value}" for name, value in self.vitals.items()
        ]
        return web.Response(text="\n".join(["python_info 1.0", *lines, ""]))

    async def _load(self, request: web.Request) -> web.Response:
        _authenticate(request)
        if self.breaks_on_load:
            return web.Response(status=500, text="Internal Server Error")
        wanted = await request.json()
        version = wanted["version"]
        self.calls.append(f"load {version}")
        await asyncio.sleep(self.load_delay_s)
        if version in self.refuse:
            return _error(409, self.refuse[version], code="policy_refused")
        if self.loaded.get(version, wanted)["digest"] != wanted["digest"]:
            return _error(409, f"{version} is loaded with other weights", code="policy_refused")
        kind = "full" if version in self.full else "adapter"
        has_full = not self.full.isdisjoint(self.loaded)
        if kind == "full" or version == "policy-0000" or has_full:
            self.loaded.clear()
        if kind == "adapter" and has_full:
            self.loaded["policy-0000"] = _entry("policy-0000", "base", self.base_digest)
        self.loaded[version] = _entry(version, kind, wanted["digest"])
        return web.json_response({"version": version, "digest": wanted["digest"]})

    async def _unload(self, request: web.Request) -> web.Response:
        _authenticate(request)
        version = request.match_info["version"]
        self.calls.append(f"unload {version}")
        del self.loaded[version]
        return web.json_response({"version": version, "unloaded": True})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        _authenticate(request)
        body = await request.json()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        version = request.headers["x-policy-version"]
        if version not in self.loaded:
            return _error(409, f"{version} is not loaded", code="policy_not_loaded")
        assert body["model"] == self.loaded[version]["served_as"]
        if self.fail_next or version in self.fails:
            self.fail_next = max(0, self.fail_next - 1)
            return _error(500, "EngineCore encountered an issue")
        if "too long" in _last_text(body) or len(body.get("messages", ())) > self.max_messages:
            return _error(400, "This model's maximum context length is 1024 tokens.", code=400)
        try:
            await asyncio.sleep(self.answer_delay_s)
            if body.get("stream"):
                return await self._stream(request, body, version)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        headers = {
            "x-engine-version-first": version,
            "x-engine-version-last": self.last_version or version,
        }
        return web.json_response(self._whole(request, body), headers=headers)

    def _whole(self, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
        is_chat = request.path.endswith("chat/completions")
        choices = []
        for i in range(body.get("n", 1)):
            choice: dict[str, Any] = {"index": i, "finish_reason": "stop", "stop_reason": None}
            words = (
                _words({"prompt": self.by_index[i]}) if i in self.by_index else self._words(body)
            )
            text = "".join(words)
            if is_chat:
                nothing = {"refusal": None, "annotations": None, "audio": None, "reasoning": None}
                choice["message"] = {"role": "assistant", "content": text, **nothing}
                if _calls_tool(body):
                    choice["message"] |= {"content": None, "tool_calls": [_tool_call(body)]}
                    choice["finish_reason"] = "tool_calls"
            else:
                choice |= {"text": text, "prompt_token_ids": [1, 2, 3], "prompt_logprobs": None}
            choice["token_ids"] = list(range(100, 100 + len(words)))
            choice["logprobs"] = _logprobs(words, is_chat=is_chat)
            choices.append(choice)
        answer = {
            "id": "chatcmpl-of-vllm",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": 1,
            "model": body["model"],
            "choices": choices,
            "usage": _usage(body, self._words(body)),
            "kv_transfer_params": None,
        }
        return answer | ({"prompt_token_ids": [1, 2, 3]} if is_chat else {})

    def _words(self, body: dict[str, Any]) -> list[str]:
        if self.says is None:
            return _words(body)
        size = self.piece_chars
        return [self.says[start : start + size] for start in range(0, len(self.says), size)]

    async def _stream(
        self, request: web.Request, body: dict[str, Any], version: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "x-engine-version-first": version}
        )
        await response.prepare(request)
        is_chat = request.path.endswith("chat/completions")
        words = self._words(body)
        num_sent = 0
        for chunk in _chunks(body, words, is_chat=is_chat):
            if self.break_next and num_sent == 3:
                self.break_next -= 1
                assert request.transport is not None
                request.transport.close()
                return response
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            num_sent += 1
            await asyncio.sleep(self.chunk_delay_s)
        last = self.last_version or version
        end = f"data: [DONE]\n\n: engine-version {version} {last}\n\n"
        await response.write(end.encode())
        return response


def _entry(version: str, kind: str, digest: str) -> dict[str, Any]:
    return {
        "version": version,
        "kind": kind,
        "digest": digest,
        "served_as": version,
        "path": f"/policies/{version}",
        "loaded_at": 1.0,
        "load_ms": None if kind == "base" else 412.0,
        "pause_ms": None if kind == "base" else 0.0,
    }


def _authenticate(request: web.Request) -> None:
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized


def _error(status: int, message: str, *, code: str | int | None = None) -> web.Response:
    kind = "BadRequestError"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return web.json_response(body, status=status)


def _last_text(body: dict[str, Any]) -> str:
    if "prompt" in body:
        return str(body["prompt"])
    content = body["messages"][-1].get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _words(body: dict[str, Any]) -> list[str]:
    words = _last_text(body).upper().split()
    return [word if i == 0 else f" {word}" for i, word in enumerate(words)]


def _calls_tool(body: dict[str, Any]) -> bool:
    return bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"


def _tool_call(body: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps({"text": "".join(_words(body))})
    function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function}


def _tool_deltas(body: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A tool call in `count` pieces, the name first."""
    call = _tool_call(body)
    arguments = call["function"]["arguments"]
    cuts = [len(arguments) * i // count for i in range(count + 1)]
    pieces: list[dict[str, Any]] = [
        {"index": 0, "function": {"arguments": arguments[start:end]}}
        for start, end in zip(cuts, cuts[1:], strict=False)
    ]
    pieces[0] |= {"id": call["id"], "type": "function"}
    pieces[0]["function"]["name"] = call["function"]["name"]
    return [{"tool_calls": [piece]} for piece in pieces]


def _logprobs(words: list[str], *, is_chat: bool) -> dict[str, Any]:
    values = [-0.5 - i for i in range(len(words))]
    if not is_chat:
        return {"tokens": words, "token_logprobs": values, "top_logprobs": None, "text_offset": []}
    return {
        "content": [
            {"token": word, "logprob": value, "bytes": None, "top_logprobs": []}
            for word, value in zip(words, values, strict=True)
        ]
    }


def _usage(body: dict[str, Any], words: list[str]) -> dict[str, int]:
    made = len(words) * body.get("n", 1)
    return {"prompt_tokens": 3, "completion_tokens": made, "total_tokens": 3 + made}


def _chunks(body: dict[str, Any], words: list[str], *, is_chat: bool) -> list[dict[str, Any]]:
    head = {
        "id": "chatcmpl-of-vllm",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": 1,
        "model": body["model"],
    }
    count = body.get("n", 1)
    chunks: list[dict[str, Any]] = []
    if is_chat:
        for i in range(count):
            delta = {"role": "assistant", "content": ""}
            choice = {"index": i, "delta": delta, "logprobs": None, "finish_reason": None}
            chunks.append({**head, "choices": [choice], "prompt_token_ids": [1, 2, 3]})
            chunks[-1]["prompt_text"] = None
    deltas: list[dict[str, Any]] = [{"content": word} for word in words]
    finish_reason = "stop"
    if is_chat and _calls_tool(body):
        words = words or [""]
        deltas, finish_reason = _tool_deltas(body, len(words)), "tool_calls"
    logprobs = _logprobs(words, is_chat=is_chat)
    for t, word in enumerate(words):
        for i in range(count):
            values = {key: v[t : t + 1] if v else v for key, v in logprobs.items()}
            choice = {
                "index": i,
                "logprobs": values,
                "finish_reason": finish_reason if t == len(words) - 1 else None,
                "token_ids": [100 + t],
            }
            choice |= {"delta": deltas[t]} if is_chat else {"text": word}
            if not is_chat and t == 0:
                choice["prompt_token_ids"] = [1, 2, 3]
            chunks.append({**head, "choices": [choice]})
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**head, "choices": [], "usage": _usage(body, words)})
    return chunks
