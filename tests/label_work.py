"""Work for labelers, put into a gateway's Redis: sets with given answers, known ones, invitations."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import redis
import redis.asyncio

from feedback import eventlog
from feedback.events import Choice, Completion, Feedback, new_id
from feedback.labeling.known_answers import KnownAnswers
from feedback.labeling.labelers import Labelers
from feedback.labeling.queues import Queues, Task

Result = TypeVar("Result")


class LabelWork:
    """What an operator and the users of a gateway leave for labelers."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url

    def offer(
        self, question: str, answers: Sequence[str], *, task: Task = "rank", system: str = ""
    ) -> Completion:
        """A candidate set that waits to be judged."""
        completion = self.keep(question, answers, system=system)

        async def queue(client: redis.asyncio.Redis) -> object:
            return await Queues(client, lease_s=900).offer(
                task, completion.id, tenant=completion.tenant
            )

        self.run(queue)
        return completion

    def know(
        self, question: str, answers: Sequence[str], tiers: Sequence[Sequence[int]]
    ) -> Completion:
        """A set whose right order is known."""
        completion = self.keep(question, answers)

        async def add(client: redis.asyncio.Redis) -> object:
            return await KnownAnswers(client).add(completion, tiers, by="test")

        self.run(add)
        return completion

    def invite(self, **options: Any) -> str:
        """The token of an invitation."""

        async def make(client: redis.asyncio.Redis) -> str:
            return await Labelers(client).invite(by="test", **options)

        return self.run(make)

    def keep(self, question: str, answers: Sequence[str], *, system: str = "") -> Completion:
        messages = [{"role": "system", "content": system}] if system else []
        choices = [
            Choice(index=i, text=answer, token_ids=[1], logprobs=[-1.0], finish_reason="stop")
            for i, answer in enumerate(answers)
        ]
        completion = Completion(
            id=new_id("chatcmpl-"),
            created=time.time(),
            key_id="key_of_an_app",
            tenant="default",
            endpoint="chat",
            request={"messages": [*messages, {"role": "user", "content": question}]},
            prompt_ids=[ord(letter) for letter in question],
            choices=choices,
            version="policy-0000",
            version_last="policy-0000",
            digest="b" * 64,
            latency_ms=1.0,
        )
        with redis.Redis.from_url(self._url) as client:
            eventlog.append(client, completion)
        return completion

    def said(self) -> list[Feedback]:
        """All judgements, oldest first."""
        with redis.Redis.from_url(self._url) as client:
            return [cast(Feedback, event) for _, event in eventlog.read(client, "feedback")]

    def run(self, work: Callable[[redis.asyncio.Redis], Awaitable[Result]]) -> Result:
        """In a thread: while Playwright is open the main one has a loop of its own."""
        results: list[Result] = []

        async def with_client() -> None:
            async with redis.asyncio.Redis.from_url(self._url) as client:
                results.append(await work(client))

        thread = threading.Thread(target=lambda: asyncio.run(with_client()))
        thread.start()
        thread.join()
        return results[0]
