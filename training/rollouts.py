"""Answers sampled by the engines over HTTP: for PPO's episodes and for the gate's evidence.

The trainer never generates. A policy under training is exported as an adapter, loaded on every engine
under a name that is never used again (stale prefix blocks of a reused name are silent poison), sampled
at temperature 1 with a bounded number of answers in flight, and unloaded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from feedback.errors import NotFound, Refused, Unavailable
from serving.engines import Engine
from serving.registry import BASE
from training.batches import Group
from training.dispatch import AnswerLengths, Dispatch, Replica

log = logging.getLogger(__name__)
Result = TypeVar("Result")

_POLL_S = 1.0


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

    An engine that dies is waited for (`wait_s`) only if no other one answers: its supervisor restarts it,
    what was loaded here is loaded again, and it takes its share.
    """

    def __init__(
        self, urls: Sequence[str], *, token: str, concurrency: int, wait_s: float = 240.0
    ) -> None:
        """`concurrency` answers are in flight on each engine at most."""
        self._urls = urls
        self._token = token
        self._concurrency = concurrency
        self._wait_s = wait_s
        self._served: dict[str, Served] = {}
        self._sent: set[str] = set()  # versions that an engine which lost them cannot load again
        self._lengths = AnswerLengths()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine that needs `session`, such as a moderation call."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def session(self) -> aiohttp.ClientSession:
        return self._session

    def load(self, served: Served) -> None:
        """Load a version on every engine that answers; the others get it when they do. Raises Refused
        with the engine's reason, Unavailable when none answers."""
        self._served[served.version] = served
        try:
            self.run(self._load_where_possible())
        except Refused:
            del self._served[served.version]
            raise

    def note_sent(self, version: str) -> None:
        """Engines hold a version that did not come by `load` (training.transfer)."""
        self._sent.add(version)
        self.run(self._load_where_possible())

    @property
    def engines(self) -> list[Engine]:
        """For what is asked of them one by one, by `run`."""
        return [replica.engine for replica in self._replicas]

    def unload(self, version: str) -> None:
        """Forget a version that was loaded or sent."""
        self.forget(version)
        for replica in self._replicas:
            replica.names.pop(version, None)
            self.run(self._drop(replica, lambda loaded: loaded == version))

    def forget(self, version: str) -> None:
        """Whatever the engines hold, this one is not loaded again where it is gone."""
        self._served.pop(version, None)
        self._sent.discard(version)

    def unload_leftovers(self, prefix: str) -> None:
        """Unload what a killed process of the same round left on the engines."""
        for replica in self._replicas:
            self.run(self._drop(replica, lambda loaded: loaded.startswith(prefix)))

    def is_loaded(self, version: str) -> bool:
        """Every engine has it."""
        return all(
            version in {entry["version"] for entry in self.run(self._state(replica))["loaded"]}
            for replica in self._replicas
        )

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
        return self.begin(
            version,
            prompts,
            answers_per_prompt=answers_per_prompt,
            max_tokens=max_tokens,
            seed=seed,
        ).result()

    def begin(
        self,
        version: str,
        prompts: Sequence[tuple[int, ...]],
        *,
        answers_per_prompt: int,
        max_tokens: int,
        seed: int | None = None,
    ) -> Future[list[Rollout]]:
        """The same, while the caller goes on. The version must stay loaded until the answers are there."""
        bodies = [
            _request(prompt, num=answers_per_prompt, max_tokens=max_tokens)
            | ({} if seed is None else {"seed": seed + i * answers_per_prompt})
            for i, prompt in enumerate(prompts)
        ]
        sampling = self._sample_all(version, bodies, answers_per_prompt)
        return asyncio.run_coroutine_threadsafe(sampling, self._loop)

    async def _open(self) -> None:
        limit = 2 * self._concurrency * len(self._urls)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=limit))
        self._replicas = [
            Replica(engine=Engine(url, self._token, self._session)) for url in self._urls
        ]

    async def _close(self) -> None:
        """What is still under way ends: after an error nobody waits for it."""
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def _sample_all(
        self, version: str, bodies: Sequence[dict[str, Any]], answers_per_prompt: int
    ) -> list[Rollout]:
        prompts = [tuple(body["prompt"]) for body in bodies]
        dispatch = Dispatch(
            self._replicas,
            version=version,
            size=answers_per_prompt,
            concurrency=self._concurrency,
            look=self._look,
            wait_s=self._wait_s,
        )
        answers = await dispatch.run(bodies, order=self._lengths.longest_first(prompts))
        rollouts = [
            _rollout(prompt, answer, version=version)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        for rollout in rollouts:
            self._lengths.note(rollout.group.prompt_ids, [len(a) for a in rollout.group.answers])
        return rollouts

    async def _load_where_possible(self) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            found = await asyncio.gather(*map(self._look, self._replicas), return_exceptions=True)
            errors = [error for error in found if isinstance(error, BaseException)]
            for error in errors:
                if not isinstance(error, Unavailable) or time.monotonic() > deadline:
                    raise error
                log.warning("an engine is left out until it answers: %s", error)
            if len(errors) < len(found):
                return
            await asyncio.sleep(_POLL_S)

    async def _look(self, replica: Replica) -> None:
        """Load what the engine should hold, and note the names that it answers to."""
        replica.names.clear()
        loaded = (await replica.engine.policy())["loaded"]
        present = {entry["version"] for entry in loaded}
        if not self._sent <= present:
            raise Unavailable(f"{replica.url} has lost the weights that were sent to it")
        missing = [s for s in self._served.values() if s.version not in present]
        for served in missing:
            path = str(served.folder.resolve())
            await replica.engine.load(served.version, path, served.digest)
        if missing:
            loaded = (await replica.engine.policy())["loaded"]
        replica.names.update({entry["version"]: entry["served_as"] for entry in loaded})

    async def _state(self, replica: Replica) -> dict[str, Any]:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return await replica.engine.policy()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_POLL_S)

    async def _drop(self, replica: Replica, is_meant: Callable[[str], bool]) -> None:
        """Unload adapters; full weights give way to the base. An engine that is away is let be: it comes
        back without them, or the next process of the round finds them by their prefix."""
        try:
            state = await replica.engine.policy()
            for entry in state["loaded"]:
                if not is_meant(entry["version"]):
                    continue
                if entry["kind"] == "full":
                    await replica.engine.load(BASE, state["base"]["path"], state["base"]["digest"])
                else:
                    await replica.engine.unload(entry["version"])
        except (Unavailable, NotFound) as error:
            log.warning("%s was not cleaned: %s", replica.url, error)


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


def _rollout(prompt: tuple[int, ...], answer: dict[str, Any], *, version: str) -> Rollout:
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    return Rollout(
        group=Group(
            prompt_ids=prompt,
            answers=tuple(tuple(choice["token_ids"]) for choice in choices),
        ),
        logprobs=tuple(tuple(choice["logprobs"]["token_logprobs"]) for choice in choices),
        ended=tuple(choice["finish_reason"] != "length" for choice in choices),
        texts=tuple(choice["text"] for choice in choices),
        version=version,
    )
