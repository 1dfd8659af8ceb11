"""From the button to the last answer of a bad version, under load: two real engines, and parts that die meanwhile.

Prints what it took. `pytest tests/chaos/test_rollback.py -s`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from feedback.connection import connect
from serving.registry import BASE, Registry
from serving.stack import parts
from tests.chaos.stack import ready
from tests.chaos.users import Users, assert_the_log_agrees
from tests.chaos.versions import publish
from tests.flows.two_engines import two_engines
from tests.tiny_model import write_tiny_model
from training.demo_people import Failed, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DYING = (None, "redis", "control", "engine-2")  # who is killed at the moment of the rollback
NUM_TOKENS = 16


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[parts.Plan]:
    model = write_tiny_model(tmp_path / "tiny")
    async with two_engines(tmp_path, model, num_public=2, more=("control",)) as (plan, _):
        yield plan


async def test_a_bad_version_is_gone_at_once_and_nobody_is_dropped_whoever_dies(
    stack: parts.Plan, tmp_path: Path
) -> None:
    bad = published(stack, tmp_path / "tiny")
    for dying in DYING:
        users, is_over = load(stack), asyncio.Event()
        asking = asyncio.create_task(users.ask_until(is_over))
        await promoted(stack, bad)
        await all_engines_have(stack, bad)
        await users.are_answered_by(bad, within_s=120)
        num_streaming, began = users.num_streaming, time.monotonic()
        rolling_back = asyncio.create_task(rolled_back(stack, bad))
        if dying is not None:
            kill(stack, dying)
        await rolling_back
        acknowledged = time.monotonic()
        await users.are_answered(within_s=120)
        is_over.set()
        await asking
        await ready(stack.url)

        theirs = [answer for answer in users.answers if bad in answer.versions]
        late = [answer for answer in theirs if answer.asked > acknowledged]
        assert late == []
        assert users.refused == []
        assert users.num_cut == 0
        if dying == "engine-2":  # what it was saying, nobody can say to its end
            assert len(users.broken) <= num_streaming + 8
        else:
            assert users.broken == []
        with connect(stack.redis_url) as client:
            assert_the_log_agrees(client, users)
            assert Registry(client).aliases()["production"] == BASE
        report(dying, users, theirs, began=began, acknowledged=acknowledged)


def report(
    dying: str | None, users: Users, theirs: list[Any], *, began: float, acknowledged: float
) -> None:
    asked = max(answer.asked for answer in theirs) - began
    ended = max(answer.ended for answer in theirs) - began
    said = (
        f"acknowledged after {acknowledged - began:.2f} s, last answer of the bad version asked for after "
        f"{max(0.0, asked):.2f} s and ended after {ended:.2f} s"
    )
    sys.stdout.write(f"rollback while {dying or 'nothing'} dies: {said}; {users.figures()}\n")


def published(stack: parts.Plan, model: Path) -> str:
    with connect(stack.redis_url) as client:
        policies = stack.data_dir / "policies"
        return publish(client, kind="adapter", base=model, policies=policies, seed=1)


def load(stack: parts.Plan) -> Users:
    length = {"max_tokens": NUM_TOKENS, "min_tokens": NUM_TOKENS}
    return Users(stack.url, stack.secrets.api_key, pause_s=0.2, **length)


async def promoted(stack: parts.Plan, version: str) -> None:
    why = {"override": "chaos"}
    await as_operator(stack, lambda person: person.post(f"/admin/policies/{version}/promote", why))


async def rolled_back(stack: parts.Plan, version: str) -> None:
    """A person who is told that it is not written down yet asks again."""
    body = {"production": version, "reason": "bad"}
    deadline = time.monotonic() + 120
    while True:
        try:
            await as_operator(stack, lambda person: person.post("/admin/rollback", body))
        except Failed as error:
            if error.status == 409:  # the first request was carried out after all
                return
            if error.status != 503 or time.monotonic() > deadline:
                raise
        else:
            return


async def as_operator(stack: parts.Plan, ask: Callable[[Person], Awaitable[Any]]) -> None:
    async with aiohttp.ClientSession() as session:
        await ask(Person(session, url=stack.url, key=stack.secrets.admin_key))


async def all_engines_have(stack: parts.Plan, version: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(180):
        person = Person(session, url=stack.url, key=stack.secrets.admin_key)
        while True:
            engines = (await person.get("/policy"))["engines"]
            loaded = [{entry["version"] for entry in engine["loaded"]} for engine in engines]
            if all(version in each for each in loaded) and all(e["reachable"] for e in engines):
                return
            await asyncio.sleep(0.2)


def kill(stack: parts.Plan, part: str) -> None:
    """The part, and for an engine all that it has started."""
    pid = json.loads((stack.data_dir / "ready.json").read_text())["pids"][part]
    family = psutil.Process(pid).children(recursive=True)
    for each in (pid, *(child.pid for child in family)):
        os.kill(each, signal.SIGKILL)
