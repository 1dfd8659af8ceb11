"""Two real engines behind one gateway: versions change on both under streams, and nobody notices."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from feedback.connection import connect
from serving.bench import swap
from serving.registry import BASE, Registry
from serving.stack import parts
from tests.chaos.versions import publish
from tests.flows.two_engines import two_engines

SWAPS = 6

pytestmark = pytest.mark.slow


@pytest.fixture
async def stack(tmp_path: Path, tiny_model: Path) -> AsyncIterator[parts.Plan]:
    async with two_engines(tmp_path, tiny_model, num_public=2) as (plan, _):
        yield plan


async def test_full_weights_change_on_both_under_streams(
    stack: parts.Plan, tiny_model: Path
) -> None:
    """The weights go from one engine to the other; the one that does not reload answers."""
    with connect(stack.redis_url) as client:
        for seed in (1, 2):
            publish(
                client,
                kind="full",
                base=tiny_model,
                policies=stack.data_dir / "policies",
                seed=seed,
            )
        report = await swap.run(
            client,
            data_dir=stack.data_dir,
            kind="full",
            num_swaps=SWAPS,
            num_streams=6,
            num_tokens=100,
            prompt="Tell me a long story.",
            say=lambda line: None,
        )
        assert Registry(client).aliases()["production"] == BASE
    wrong = ("dropped", "wrong_version", "mixed_versions", "not_in_log")
    assert {name: report[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert report["fewest_streams_across_a_swap"] >= 1
    assert report["streams"] > 3 * SWAPS
    shown = ("streams", "swap_ms", "silence_ms", "silence_as_long_before_ms")
    sys.stdout.write(f"two engines: { {name: report[name] for name in shown} }\n")
