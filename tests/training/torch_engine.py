"""The tests' engine over HTTP: the policy endpoint and `/v1/completions` over a real tiny model.

It loads the adapters that a step exports, samples from them, and says their log-probabilities: what a
step cannot get from canned answers, because it checks that engine and trainer agree.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from aiohttp import web

from serving import artifact
from tests.serving.fake_engine import TOKEN, Served
from tests.training.local_sampler import LocalSampler
from training import models
from training.config import AdapterRecipe, FullRecipe
from training.models import POLICY

BASE = "policy-0000"
_EOS = 2


class TorchEngine(Served):
    def __init__(self, base_model: Path, *, recipe: AdapterRecipe | FullRecipe) -> None:
        super().__init__()
        self._base_model = base_model
        self._model = models.load(
            base_model, recipe=recipe, names=[POLICY], device=torch.device("cpu"), seed=0
        )
        self._sampler = LocalSampler(self._model)
        self._one_at_a_time = threading.Lock()
        self.loaded: dict[str, dict[str, Any]] = {BASE: _entry(BASE, "base", "b", base_model)}
        self.seen: list[str] = []  # every version that was ever loaded

    def routes(self) -> None:
        self.app.router.add_get("/policy", self._policy)
        self.app.router.add_put("/policy", self._load)
        self.app.router.add_delete("/policy/{version}", self._unload)
        self.app.router.add_post("/v1/completions", self._complete)

    async def _policy(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        base = {"path": str(self._base_model), "digest": "b"}
        loaded = list(self.loaded.values())
        return web.json_response({"loaded": loaded, "base": base, "swapping": False})

    async def _load(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        version, folder = wanted["version"], Path(wanted["path"])
        if version == BASE:  # back from full weights
            self.loaded = {BASE: _entry(BASE, "base", wanted["digest"], self._base_model)}
            return web.json_response({"version": version})
        manifest = artifact.verify(folder, digest=wanted["digest"], base_model=self._base_model)
        assert manifest.version == version
        if manifest.kind == "full":
            self.loaded.clear()  # an engine holds one set of full weights
        self.loaded[version] = _entry(version, manifest.kind, wanted["digest"], folder)
        self.seen.append(version)
        return web.json_response({"version": version})

    async def _unload(self, request: web.Request) -> web.Response:
        entry = self.loaded.get(request.match_info["version"], {})
        if entry.get("kind") != "adapter":
            return web.json_response({"error": {"message": "no adapter"}}, status=404)
        del self.loaded[entry["version"]]
        return web.json_response({"unloaded": True})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        folder = Path(self.loaded[request.headers["x-policy-version"]]["path"])
        with self._one_at_a_time:
            sample = self._sampler.sample_reference
            if folder != self._base_model:
                self._model.load(POLICY, folder)
                sample = self._sampler.sample
            (rollout,) = sample(
                [tuple(body["prompt"])],
                answers_per_prompt=body["n"],
                max_tokens=body["max_tokens"],
            )
        pairs = zip(rollout.group.answers, rollout.logprobs, strict=True)
        choices = [_choice(i, ids, logprobs) for i, (ids, logprobs) in enumerate(pairs)]
        return web.json_response({"choices": choices})


def _choice(index: int, ids: tuple[int, ...], logprobs: tuple[float, ...]) -> dict[str, Any]:
    ended = _EOS in ids
    length = ids.index(_EOS) + 1 if ended else len(ids)
    return {
        "index": index,
        "text": " ".join(map(str, ids[:length])),
        "token_ids": list(ids[:length]),
        "logprobs": {"token_logprobs": list(logprobs[:length])},
        "finish_reason": "stop" if ended else "length",
    }


def _entry(version: str, kind: str, digest: str, folder: Path) -> dict[str, Any]:
    return {
        "version": version,
        "kind": kind,
        "digest": digest,
        "served_as": version,
        "path": str(folder),
    }
