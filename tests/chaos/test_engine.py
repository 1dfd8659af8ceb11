"""A real vLLM, `kill -9` in mid-stream and in mid-swap, under load; `hone up` brings it back.

HONE_CHAOS_KILLS=20 kills so often; by default, once each. An engine takes half a minute to come back, and
one that is killed again and again waits longer each time before it is started: up to 30 s.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psutil
import pytest

from serving.registry import BASE, PRODUCTION, Registry
from tests.chaos.stack import ready
from tests.chaos.users import Users, assert_the_log_agrees
from tests.chaos.versions import publish
from tests.flows.conftest import Stack, start_stack, stop_stack
from tests.tiny_model import write_tiny_model
from training.demo_people import Failed, Person

KILLS = int(os.environ.get("HONE_CHAOS_KILLS", "1"))
RECOVERY_S = 180.0
NUM_TOKENS = 2_000  # of an answer whose engine is to be killed in its middle: several seconds
MID_STREAM = 7  # answers that the engine is at, at least, of the users' eight, half of them streams
FIRST_TOKEN: Any = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}

# The likeliest first tokens of an answer, those that are characters: which weights they are. Rounding
# changes one or two of them; other weights have others, though their log-probabilities look alike.
Mark = frozenset[str]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100 + 200 * KILLS)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    folder = tmp_path_factory.mktemp("engine")
    model = write_tiny_model(folder / "tiny", num_positions=4_096)
    running = start_stack(
        folder / "data",
        model,
        HONE_SERVING_MAX_MODEL_LEN="4096",
        # Moderation shares the engine's cores: an answer would wait for it so long that the engine has
        # made the rest of it meanwhile, and dies too late for a stream to break.
        HONE_SERVING_MODERATION_REQUIRED="false",
        HONE_SERVING_MODERATION_TIMEOUT_S="0.02",
    )
    yield running
    stop_stack(running)


@asynccontextmanager
async def load(stack: Stack, *, num_tokens: int) -> AsyncIterator[Users]:
    """Users until the end; then what they were told is held against the log."""
    key, length = stack.ready["api_key"], {"max_tokens": num_tokens, "min_tokens": num_tokens}
    users, is_over = Users(stack.url, key, pause_s=0.5, **length), asyncio.Event()
    asking = asyncio.create_task(users.ask_until(is_over))
    try:
        yield users
    finally:
        is_over.set()
        await asking
    await ready(stack.url)  # a busy disk may have kept Redis waiting, and events in the outbox
    with stack.redis as client:
        assert_the_log_agrees(client, users)
    assert [said for said in users.broken if not said.startswith('{"error"')] == []
    assert {status for status, _ in users.refused} <= {503}
    assert users.num_cut == 0


def kill_engine(stack: Stack, *, only_core: bool) -> None:
    """The API server; or its child that computes, which the server is to notice."""
    server = psutil.Process(stack.pid("engine"))
    core = [child for child in server.children(recursive=True) if "EngineCore" in title(child)]
    assert len(core) == 1, [title(child) for child in server.children(recursive=True)]
    os.kill(core[0].pid if only_core else server.pid, signal.SIGKILL)


def title(process: psutil.Process) -> str:
    return " ".join(process.cmdline()) or process.name()


async def agreed(stack: Stack, users: Users, *, since: float) -> tuple[str, Mark]:
    """Waits until registry, gateway, engine and answers name one version again. Returns it, and what
    its weights say."""
    num_answers, shown = len(users.answers), None
    async with aiohttp.ClientSession() as session:
        person = Person(session, url=stack.url, key=stack.ready["api_key"])
        while time.monotonic() < since + RECOVERY_S:
            await asyncio.sleep(0.2)
            live = Registry(stack.redis).snapshot()
            record = live.resolve(PRODUCTION)
            assert record is not None
            try:
                shown = await person.get("/policy")
                answer, headers = await person.ask("who are you", **FIRST_TOKEN)
            except (Failed, aiohttp.ClientError) as error:
                shown = error
                continue
            (engine,) = shown["engines"]
            loaded = {entry["version"]: entry["digest"] for entry in engine["loaded"]}
            if (
                live.rollout is None
                and engine["reachable"]
                and loaded.get(record.version) == record.digest
                and shown["production"]["version"] == record.version
                and answer["model"] == headers["x-policy-version"] == record.version
                and len(users.answers) > num_answers
            ):
                (token,) = answer["choices"][0]["logprobs"]["content"]
                likely = frozenset(each["token"] for each in token["top_logprobs"])
                return record.version, frozenset(filter(str.isascii, likely))
    raise AssertionError(f"no agreement: {shown}, {live}; {stack.log('gateway')}")


@asynccontextmanager
async def engine_of(stack: Stack) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A session that may ask the engine, and the engine's address."""
    token = json.loads((stack.folder / "secrets.json").read_text())["engine_token"]
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        gateway = Person(session, url=stack.url, key=stack.ready["api_key"])
        yield session, (await gateway.get("/policy"))["engines"][0]["url"]


async def until_generating(stack: Stack, num_answers: int) -> int:
    """Until the engine is at so many answers. Returns how many it is at."""
    async with engine_of(stack) as (session, url), asyncio.timeout(60):
        while True:
            async with session.get(f"{url}/metrics") as response:
                found = re.search(r"vllm:num_requests_running{.*?} (\S+)", await response.text())
            if found is not None and float(found[1]) >= num_answers:
                return int(float(found[1]))
            await asyncio.sleep(0.05)


async def until_swapping(stack: Stack, promoting: asyncio.Task[str]) -> None:
    """Until the engine changes what it has loaded, or has done so."""
    async with engine_of(stack) as (session, url):
        while not promoting.done():
            async with session.get(f"{url}/policy") as response:
                if (await response.json())["swapping"]:
                    return


async def test_an_engine_killed_in_mid_stream_comes_back_and_nothing_is_lost(stack: Stack) -> None:
    took_s: list[float] = []
    generating: list[int] = []
    broken: list[int] = []
    async with load(stack, num_tokens=NUM_TOKENS) as users:
        for number in range(KILLS):
            await asyncio.sleep(random.Random(number).uniform(0, 3))
            generating.append(await until_generating(stack, MID_STREAM))
            num_broken, began = len(users.broken), time.monotonic()
            kill_engine(stack, only_core=number % 2 == 1)
            assert (await agreed(stack, users, since=began))[0] == BASE
            took_s.append(time.monotonic() - began)
            broken.append(len(users.broken) - num_broken)
            assert broken[-1] > 0
    more = f"{sum(generating)} answers under way, {sum(broken)} streams said that they broke off"
    report("mid-stream", users, took_s, more)


async def test_an_engine_killed_in_mid_swap_comes_back_on_what_the_registry_says(
    stack: Stack,
) -> None:
    policies = stack.folder / "policies"
    versions = [
        publish(stack.redis, kind=kind, base=stack.model, policies=policies, seed=seed)
        for seed, kind in enumerate(("adapter", "full", "adapter", "full"))
    ]
    turns = itertools.cycle(versions)
    took_s: list[float] = []
    streaming: list[int] = []
    ended: list[str] = []
    async with load(stack, num_tokens=100) as users:
        live, mark = await agreed(stack, users, since=time.monotonic())
        marks = {live: mark}
        for number in range(KILLS):
            while True:
                before, version = live, next(turns)
                promoting = asyncio.create_task(promote(stack, version))
                await until_swapping(stack, promoting)
                await asyncio.sleep(random.Random(number).uniform(0, 0.1))
                if not promoting.done():
                    break
                assert await promoting == "200"  # it was too quick for us
                live = version
            streaming.append(users.num_streaming)
            began = time.monotonic()
            kill_engine(stack, only_core=number % 4 >= 2)
            outcome = await promoting
            live, mark = await agreed(stack, users, since=began)
            assert_the_weights_are(live, mark, marks)
            took_s.append(time.monotonic() - began)
            ended.append(outcome)
            assert live in ((version,) if outcome == "200" else (before, version))
            if live != version:  # the next one starts from it, so that each follows each
                assert await promote(stack, version) == "200"
                live, mark = await agreed(stack, users, since=time.monotonic())
                assert live == version
                assert_the_weights_are(live, mark, marks)
    outcomes = f"promotions ended with {ended}, {sum(streaming)} streams under way"
    report("mid-swap", users, took_s, outcomes)


def assert_the_weights_are(version: str, mark: Mark, marks: dict[str, Mark]) -> None:
    """The same as when this version was live before, and no other version's."""
    for each, other in marks.items():
        is_same = 2 * len(mark & other) > len(mark | other)
        assert is_same == (each == version), (version, mark, marks)
    marks[version] = mark


async def promote(stack: Stack, version: str) -> str:
    """The status it ended with."""
    async with aiohttp.ClientSession() as session:
        person = Person(session, url=stack.url, key=stack.ready["admin_key"])
        try:
            await person.post(f"/admin/policies/{version}/promote", {"override": "chaos"})
        except Failed as error:
            return str(error.status)
        return "200"


def report(what: str, users: Users, took_s: list[float], more: str) -> None:
    took = f"agreed after {statistics.median(took_s):.1f} s, at most {max(took_s):.1f} s"
    sys.stdout.write(f"{what}: {KILLS} kills, {users.figures()}; {took}; {more}\n")
