"""Where PPO's episodes come from: the engines, under a name that is new in every iteration."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from serving.registry import BASE
from training import parallel
from training.rollouts import EngineRollouts, Rollout, Served
from training.transfer import WeightTransfer

Export = Callable[[Path, str], str]  # (folder, version) -> digest; writes the policy as it is now


class Sampler(Protocol):
    """Where PPO's episodes come from."""

    def refresh(self, iteration: int) -> None:
        """Sample from the policy as it is now."""

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        """Answers of the current policy, one Rollout per prompt, in order."""

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        """The same, while the caller goes on. `refresh` comes after they are there."""

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        """The same from the base model: what the gap between engine and trainer is measured on."""


def at_once(rollouts: list[Rollout]) -> Future[list[Rollout]]:
    """What `begin` returns where answers are there already: a sampler in this process."""
    answers: Future[list[Rollout]] = Future()
    answers.set_result(rollouts)
    return answers


class _OnEngines:
    """The policy under training, on the engines, under a fresh name every iteration."""

    def __init__(self, engines: EngineRollouts, *, name: str) -> None:
        """`name` is the round's id and an attempt's nonce: a resumed run must not reuse its
        predecessor's names."""
        self._engines = engines
        self._name = name
        self._current: str | None = None

    def _version(self, iteration: int) -> str:
        return f"{self._name}-i{iteration:04d}"

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self.begin(
            prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens
        ).result()

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        if self._current is None:
            raise RuntimeError("refresh() comes before sample()")
        return self._engines.begin(
            self._current, prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens
        )

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self._engines.sample(
            BASE,
            prompts,
            answers_per_prompt=answers_per_prompt,
            max_tokens=max_tokens,
        )


class EngineSampler(_OnEngines):
    """By path: the weights are files that the engines load."""

    def __init__(self, engines: EngineRollouts, *, export: Export, folder: Path, name: str) -> None:
        super().__init__(engines, name=name)
        self._export = export
        self._folder = folder

    def refresh(self, iteration: int) -> None:
        version = self._version(iteration)
        folder = self._folder / version
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        digest = self._export(folder, version)
        self.close()  # before: an engine holds one set of full weights
        self._engines.load(Served(version=version, folder=folder, digest=digest))
        self._current = version

    def close(self) -> None:
        """Unload the version sampled last and remove its files."""
        if self._current is not None:
            self._engines.unload(self._current)
            shutil.rmtree(self._folder / self._current)
            self._current = None


class SendingSampler(_OnEngines):
    """From memory: the engines take full weights as the trainer broadcasts them."""

    def __init__(self, engines: EngineRollouts, *, transfer: WeightTransfer, name: str) -> None:
        super().__init__(engines, name=name)
        self._transfer = transfer

    def refresh(self, iteration: int) -> None:
        version = self._version(iteration)
        if self._current is not None:
            self._engines.forget(self._current)  # it gives way to the next, not to the base
            self._current = None
        self._transfer.send(version)
        self._engines.note_sent(version)
        self._current = version

    def close(self) -> None:
        """The engines go back to the base and leave the trainer's group."""
        if self._current is not None:
            self._engines.unload(self._current)
            self._current = None
        self._transfer.close()


class OneSampler:
    """Several processes train: the first one samples, and all get the answers."""

    def __init__(self, sampler: Sampler | None, *, take_part: Callable[[], object]) -> None:
        """`sampler` of the first process; the others `take_part` when it exports weights, which may be
        spread over all."""
        self._sampler = sampler
        self._take_part = take_part

    def refresh(self, iteration: int) -> None:
        if self._sampler is None:
            self._take_part()
        else:
            self._sampler.refresh(iteration)

    def sample(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        return self.begin(
            prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens
        ).result()

    def begin(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> Future[list[Rollout]]:
        if self._sampler is None:
            return _FromFirst(None)
        return _FromFirst(
            self._sampler.begin(
                prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens
            )
        )

    def sample_reference(
        self, prompts: Sequence[tuple[int, ...]], *, answers_per_prompt: int, max_tokens: int
    ) -> list[Rollout]:
        sampler = self._sampler
        return parallel.from_first(
            lambda: (
                []
                if sampler is None  # not the first one: nobody asks
                else sampler.sample_reference(
                    prompts, answers_per_prompt=answers_per_prompt, max_tokens=max_tokens
                )
            )
        )


class _FromFirst(Future[list[Rollout]]):
    """Done when the first process's answers are; `result` hands them to all, who must all ask."""

    def __init__(self, answers: Future[list[Rollout]] | None) -> None:
        super().__init__()
        self._answers = answers
        self._handed_out: list[Rollout] | None = None

    def add_done_callback(self, callback: Callable[[Future[list[Rollout]]], object]) -> None:
        if self._answers is not None:
            self._answers.add_done_callback(callback)
        else:
            super().add_done_callback(callback)

    def result(self, timeout: float | None = None) -> list[Rollout]:
        if self._handed_out is None:
            answers = self._answers
            self._handed_out = parallel.from_first(
                lambda: [] if answers is None else answers.result(timeout)
            )
            self.set_result(self._handed_out)
        return self._handed_out
