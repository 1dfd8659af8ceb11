"""Answers sampled by the engines over HTTP: for PPO's episodes and for the gate's evidence.

The trainer never generates. A policy under training is exported as an adapter, loaded on every engine
under a name that is never used again (stale prefix blocks of a reused name are silent poison), sampled
at temperature 1 with a bounded number of answers in flight, and unloaded.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from feedback.errors import NotFound, Refused, Unavailable
from serving.engines import Engine
from training.batches import Group

log = logging.getLogger(__name__)
Result = TypeVar("Result")

_POLL_S = 1.0
_NOT_LOADED = (
    "policy_not_loaded"  # the engine was restarted since; anything else it refuses stays so
)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Answers of one version to one prompt, as the engine tokenised and scored them."""

    group: Group
    logprobs: tuple[tuple[float, ...], ...]  # nats, per answer and token, before any truncation
    ended: tuple[bool, ...]  # False: cut at max_tokens
    texts: tuple[str, ...]
    version: str


@dataclass(frozen=True, kw_only=True)
class Served:
    """A version that a step put on the engines itself."""

    version: str
    folder: Path
    digest: str


class EngineRollouts:
    """A synchronous face of several engines. Use as a context manager.

    An engine that dies is waited for (`wait_s`): its supervisor restarts it, and what was loaded here
    is loaded again.
    """

    def __init__(
        self, urls: Sequence[str], *, token: str, concurrency: int, wait_s: float = 240.0
    ) -> None:
        self._urls = urls
        self._token = token
        self._concurrency = concurrency
        self._wait_s = wait_s
        self._served: dict[str, Served] = {}

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._runner.run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine that needs `session`, such as a moderation call."""
        return self._runner.run(work)

    @property
    def session(self) -> aiohttp.ClientSession:
        return self._session

    def load(self, served: Served) -> None:
        """Load a version on every engine. Raises Refused with the engine's reason."""
        self._served[served.version] = served
        try:
            self.run(self._recover())
        except Refused:
            del self._served[served.version]
            raise

    def unload(self, version: str) -> None:
        """Forget a version that `load` brought."""
        del self._served[version]
        self.run(self._unload(version))

    def unload_leftovers(self, prefix: str) -> None:
        """Unload what a killed process of the same round left on the engines."""
        for engine in self._engines:
            for entry in self.run(self._loaded(engine)):
                if entry["version"].startswith(prefix):
                    self.run(engine.unload(entry["version"]))

    def is_loaded(self, version: str) -> bool:
        """Every engine has it."""
        return all(
            version in {entry["version"] for entry in self.run(self._loaded(engine))}
            for engine in self._engines
        )

    @property
    def base_version(self) -> str:
        """What the engines call the base model."""
        loaded = self.run(self._loaded(self._engines[0]))
        return next(entry["version"] for entry in loaded if entry["kind"] == "base")

    def sample(
        self,
        version: str,
        prompts: Sequence[tuple[int, ...]],
        *,
        answers_per_prompt: int,
        max_tokens: int,
        seed: int | None = None,
    ) -> list[Rollout]:
        """Answers at temperature 1; with a seed, prompt i is sampled with seed + i."""
        bodies = [
            _request(prompt, num=answers_per_prompt, max_tokens=max_tokens)
            | ({} if seed is None else {"seed": seed + i * answers_per_prompt})
            for i, prompt in enumerate(prompts)
        ]
        return self.run(self._sample_all(version, bodies, answers_per_prompt))

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2 * self._concurrency)
        )
        self._engines = [Engine(url, self._token, self._session) for url in self._urls]
        self._recovering = asyncio.Lock()

    async def _sample_all(
        self, version: str, bodies: Sequence[dict[str, Any]], answers_per_prompt: int
    ) -> list[Rollout]:
        slots = asyncio.Semaphore(max(1, self._concurrency // answers_per_prompt))
        engines = itertools.cycle(self._engines)

        async def one(body: dict[str, Any], engine: Engine) -> Rollout:
            async with slots:
                return await self._sample(engine, version, body)

        return await asyncio.gather(*(one(body, next(engines)) for body in bodies))

    async def _sample(self, engine: Engine, version: str, body: dict[str, Any]) -> Rollout:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                name = await self._served_as(engine, version)
                answer = await engine.completions(
                    body | {"model": name, "cache_salt": version}, version=version
                )
                return _rollout(body["prompt"], answer, version=version)
            except (Unavailable, Refused, NotFound) as error:
                is_lasting = isinstance(error, Refused) and error.error_code != _NOT_LOADED
                if is_lasting or time.monotonic() > deadline:
                    raise
                log.warning("sampling is tried again: %s", error)
                await asyncio.sleep(_POLL_S)
                await self._recover()

    async def _served_as(self, engine: Engine, version: str) -> str:
        for entry in await self._loaded(engine):
            if entry["version"] == version:
                return str(entry["served_as"])
        raise NotFound(f"{version} is not loaded on {engine.url}")

    async def _recover(self) -> None:
        """Wait for every engine, and load what it should hold."""
        async with self._recovering:
            for engine in self._engines:
                present = {entry["version"] for entry in await self._loaded(engine)}
                for served in self._served.values():
                    if served.version not in present:
                        path = str(served.folder.resolve())
                        await engine.load(served.version, path, served.digest)

    async def _loaded(self, engine: Engine) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return list((await engine.policy())["loaded"])
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_POLL_S)

    async def _unload(self, version: str) -> None:
        for engine in self._engines:
            try:
                await engine.unload(version)
            except NotFound:
                continue  # the engine was restarted meanwhile


def _request(prompt: tuple[int, ...], *, num: int, max_tokens: int) -> dict[str, Any]:
    # Everything that shapes the distribution is said: a model's generation_config.json would
    # otherwise fill in its own top_k or penalty, and the log-probs would be of another policy.
    return {
        "prompt": list(prompt),
        "n": num,
        "max_tokens": max_tokens,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "logprobs": 0,
        "return_token_ids": True,
    }


def _rollout(prompt: list[int], answer: dict[str, Any], *, version: str) -> Rollout:
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    return Rollout(
        group=Group(
            prompt_ids=tuple(prompt),
            answers=tuple(tuple(choice["token_ids"]) for choice in choices),
        ),
        logprobs=tuple(tuple(choice["logprobs"]["token_logprobs"]) for choice in choices),
        ended=tuple(choice["finish_reason"] != "length" for choice in choices),
        texts=tuple(choice["text"] for choice in choices),
        version=version,
    )
