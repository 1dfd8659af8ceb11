from __future__ import annotations

import asyncio
import logging

import pytest

from feedback.errors import Unavailable
from serving.repeated import Repeated


class Looks:
    """Fails as it is told to, look by look."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.num_good = 0
        self.is_good = asyncio.Event()

    async def look(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.num_good += 1
        self.is_good.set()


async def test_it_goes_on_after_whatever_goes_wrong_and_says_what(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks = Looks(Unavailable("an engine is away"), KeyError("nobody expected this"))
    repeated = Repeated("the canary", looks.look, every_s=0.001)
    with caplog.at_level(logging.WARNING):
        repeated.start()
        await asyncio.wait_for(looks.is_good.wait(), timeout=100)
        await repeated.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "an engine is away" in caplog.text
    assert "the canary failed; it goes on" in caplog.text
    assert "KeyError: 'nobody expected this'" in caplog.text


async def test_once_closed_it_looks_no_more() -> None:
    looks = Looks()
    repeated = Repeated("the canary", looks.look, every_s=0.001)
    repeated.start()
    await asyncio.wait_for(looks.is_good.wait(), timeout=100)
    await repeated.close()
    before = looks.num_good
    await asyncio.sleep(0.05)
    assert looks.num_good == before


async def test_what_was_never_started_can_be_closed() -> None:
    await Repeated("the canary", Looks().look, every_s=1.0).close()
