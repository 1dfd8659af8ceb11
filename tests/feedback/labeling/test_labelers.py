from __future__ import annotations

import asyncio
import time

import pytest
import redis

from feedback.errors import (
    Conflict,
    Forbidden,
    HoneError,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unprocessable,
)
from feedback.journal import Journal
from feedback.labeling.labelers import Labeler, Labelers

PASSWORD = "correct horse battery"


async def join(labelers: Labelers, name: str = "Ann", *, is_trusted: bool = False) -> Labeler:
    token = await labelers.invite(by="op", is_trusted=is_trusted)
    return await labelers.join(token, name=name, password=PASSWORD)


async def test_an_invitation_makes_one_labeler_and_no_second(journal: Journal) -> None:
    labelers = Labelers(journal.redis)
    token = await labelers.invite(by="op", is_heldout=True)
    joins = (labelers.join(token, name=name, password=PASSWORD) for name in ("Ann", "Bob"))
    made = await asyncio.gather(*joins, return_exceptions=True)
    (labeler,) = (one for one in made if isinstance(one, Labeler))
    (error,) = (one for one in made if isinstance(one, HoneError))
    assert isinstance(error, NotFound)
    assert (labeler.status, labeler.is_heldout) == ("screening", True)
    assert await labelers.all() == [labeler]
    other = "Bob" if labeler.name == "Ann" else "Ann"
    assert (await join(labelers, other)).name == other  # the name of who was too late is free


async def test_an_invitation_ends(journal: Journal) -> None:
    labelers = Labelers(journal.redis)
    token = await labelers.invite(by="op", valid_s=-1)
    with pytest.raises(NotFound):
        await labelers.join(token, name="Ann", password=PASSWORD)


async def test_the_right_password_logs_in_and_nothing_else(journal: Journal) -> None:
    labelers = Labelers(journal.redis)
    ann = await join(labelers)
    assert (await labelers.log_in(name=" ANN ", password=PASSWORD)).id == ann.id
    for name, password in (
        ("Ann", PASSWORD + "!"),
        ("Bob", PASSWORD),
        ("", ""),
        ("Ann", "x" * 5_000),
    ):
        with pytest.raises(Unauthorized):
            await labelers.log_in(name=name, password=password)
    await labelers.set_status(ann.id, "blocked")
    with pytest.raises(Forbidden):
        await labelers.log_in(name="Ann", password=PASSWORD)


async def test_guessing_passwords_is_stopped(journal: Journal, redis_url: str) -> None:
    labelers = Labelers(journal.redis)
    await join(labelers)
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await labelers.log_in(name="Ann", password="wrong guess")
    with pytest.raises(TooManyRequests) as refused:
        await labelers.log_in(name="ann", password=PASSWORD)
    assert refused.value.retry_after_s
    with redis.Redis.from_url(redis_url) as client:
        (counter,) = client.keys("hone:login_tries:*")
        assert 0 < client.ttl(counter) <= 600


async def test_names_are_of_one_person_and_passwords_are_long(journal: Journal) -> None:
    labelers = Labelers(journal.redis)
    await join(labelers, "Ann  Lee")
    with pytest.raises(Conflict):
        await join(labelers, "ann lee")
    token = await labelers.invite(by="op")
    for name, password in (("", PASSWORD), ("x" * 65, PASSWORD), ("Bob", "short")):
        with pytest.raises(Unprocessable):
            await labelers.join(token, name=name, password=password)
    assert (await labelers.join(token, name="Bob", password=PASSWORD)).name == "Bob"


async def test_the_password_is_nowhere_in_redis_and_checking_it_takes_its_time(
    journal: Journal, redis_url: str
) -> None:
    labelers = Labelers(journal.redis)
    await join(labelers)
    with redis.Redis.from_url(redis_url) as client:
        stored = b"".join(client.hvals("hone:labelers")).decode()
    assert PASSWORD not in stored
    assert "$argon2id$" in stored
    times_s = []
    for name in ("Ann", "nobody of this name"):
        began = time.thread_time(), time.perf_counter()
        with pytest.raises(Unauthorized):
            await labelers.log_in(name=name, password="wrong guess")
        times_s.append(time.perf_counter() - began[1])
    assert min(times_s) > 0.005  # also for a name that is not there


@pytest.mark.parametrize(("agreed", "status"), [(5.0, "active"), (4.5, "active"), (4.0, "failed")])
async def test_screening_ends_after_six_known_answers(
    journal: Journal, agreed: float, status: str
) -> None:
    labelers = Labelers(journal.redis)
    ann = await join(labelers)
    for _ in range(5):
        ann = await labelers.record_screened(ann.id, agreed=agreed, pairs=6)
        assert ann.status == "screening"
    ann = await labelers.record_screened(ann.id, agreed=agreed, pairs=6)
    assert ann.status == status
    assert ann.screen_agreement == pytest.approx(agreed / 6)
    assert (await labelers.record_screened(ann.id, agreed=0, pairs=6)) == ann  # decided is decided
    again = await labelers.set_status(ann.id, "screening")
    assert (again.num_screened, again.screen_agreement) == (0, None)


async def test_a_trusted_one_needs_no_screening(journal: Journal) -> None:
    assert (await join(Labelers(journal.redis), is_trusted=True)).status == "active"
