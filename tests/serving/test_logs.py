from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from serving import logs


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(written: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.formatter())
    logger = logging.Logger("hone.test")
    logger.addHandler(handler)
    return logger


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


async def test_a_line_says_which_request_and_version_it_is_about(
    log: logging.Logger, written: io.StringIO
) -> None:
    async def request(name: str) -> None:
        logs.bind(request_id=name)
        await asyncio.sleep(0.01)
        logs.bind(version=f"policy-of-{name}")
        log.warning("redis is %s", "away", extra={"depth": 3})

    await asyncio.gather(request("a"), request("b"))
    log.info("of no request")
    first, second, third = lines(written)
    assert first["event"] == "redis is away"
    assert (first["level"], first["logger"], first["depth"]) == ("warning", "hone.test", 3)
    assert [line.get("request_id") for line in (first, second, third)] == ["a", "b", None]
    assert (first["version"], second["version"]) == ("policy-of-a", "policy-of-b")
    assert first["timestamp"].endswith("Z")


def test_a_traceback_is_one_line(log: logging.Logger, written: io.StringIO) -> None:
    try:
        raise ValueError("of\ntwo lines")
    except ValueError:
        log.exception("it failed")
    (line,) = lines(written)
    assert "ValueError: of\ntwo lines" in line["exception"]
