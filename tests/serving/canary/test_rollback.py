"""From the button to the last answer of a bad version, under load, while Redis or an engine dies. The same with real
engines is tests/chaos/test_rollback.py."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from serving.registry import Registry
from tests.chaos.users import Users, assert_the_log_agrees
from tests.conftest import RedisServer
from tests.serving.canary.versions import NEW, begin, call, publish
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

Start = Callable[..., Running]


@pytest.fixture
def other_engine() -> FakeEngine:
    """That may die."""
    return FakeEngine()


@pytest.mark.parametrize("is_canary", [True, False])
@pytest.mark.parametrize("dying", [None, "redis", "engine"])
async def test_a_bad_version_is_gone_at_once_and_nobody_is_dropped_whoever_dies(
    start_gateway: Start,
    redis_server: RedisServer,
    engine: FakeEngine,
    other_engine: FakeEngine,
    dying: str | None,
    is_canary: bool,
) -> None:
    other_engine.start()
    engines = (engine, other_engine)
    gateway = start_gateway(redis_server.url, *engines, default_requests_per_minute=10**6)
    publish(gateway)
    if is_canary:
        await asyncio.to_thread(begin, gateway, share=0.99)
    else:
        await asyncio.to_thread(call, gateway, "POST", f"/admin/policies/{NEW}/promote")
    for each in engines:
        each.chunk_delay_s = each.answer_delay_s = 0.02
    users, is_over = Users(gateway.url, gateway.secret, user="ann"), asyncio.Event()
    asking = asyncio.create_task(users.ask_until(is_over))
    await users.are_answered()
    assert users.answers[-1].versions == {NEW}

    num_streaming, began = users.num_streaming, time.monotonic()
    rolling_back = asyncio.create_task(
        asyncio.to_thread(call, gateway, "POST", "/admin/rollback", {"reason": "bad"})
    )
    if dying == "redis":
        await asyncio.to_thread(redis_server.stop, kill=True)
        await asyncio.sleep(1.0)
        redis_server.start()
    elif dying == "engine":
        await asyncio.to_thread(other_engine.stop)
    answer = await rolling_back
    acknowledged = time.monotonic()
    assert answer.status_code == 200
    await users.are_answered()
    is_over.set()
    await asking
    if dying != "engine":
        await asyncio.to_thread(other_engine.stop)

    theirs = [answer for answer in users.answers if NEW in answer.versions]
    assert [answer for answer in theirs if answer.asked > acknowledged] == []
    assert (users.refused, users.num_cut) == ([], 0)
    # What a dead engine was saying nobody can say to its end; all else is answered by the other.
    assert len(users.broken) <= (num_streaming + 8 if dying == "engine" else 0)
    deadline = time.monotonic() + 20
    while gateway.app.state.gateway.journal.depth():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert_the_log_agrees(gateway.redis, users)
    live = Registry(gateway.redis).snapshot()
    assert (live.aliases["production"], live.canary) == ("policy-0000", None)
    asked, ended = (
        max(getattr(answer, what) for answer in theirs) - began for what in ("asked", "ended")
    )
    sys.stdout.write(
        f"rollback of {'a canary' if is_canary else 'production'} while {dying or 'nothing'} dies: "
        f"acknowledged after {acknowledged - began:.2f} s, last bad answer asked for after "
        f"{max(0.0, asked):.2f} s, ended after {ended:.2f} s; {users.figures()}\n"
    )
