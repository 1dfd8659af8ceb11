"""From a round to the public, on a real stack with a tiny model: three rounds. What a good one taught is promoted
by people; poisoned judgements stop at the gate; what an open gate lets pass and turns out worse goes back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serving.canary.store import Canaries
from serving.registry import Registry
from tests.flows.conftest import OPEN, Stack, start_stack, stop_stack, write_recipe
from tests.flows.test_loop import start_round, wait_for_round
from training.demo_people import Person
from training.prove import voters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NUM_PROMPTS = 240  # fewer teach a random model nothing
AT_A_TIME = 40  # moderation answers 503 to more than it can do
VOTERS = 16  # nine who agree are enough (tests/serving/canary/test_evidence.py)


def a_share(text: str) -> float:
    """What the labelers of these tests like: plain letters."""
    return sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text))


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Stack]:
    """A stack where a round's version answers half of the people first."""
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    folder = tmp_path_factory.mktemp("public") / "data"
    environment = {
        "HONE_SERVING_CANARY_SHARE": "0.5",
        "HONE_SERVING_CANARY_MIN_S": "0",
        "HONE_SERVING_MAX_MODEL_LEN": "256",
        "HONE_TRAINING_MIN_NEW_JUDGEMENTS": "1000000",  # rounds start when the test says so
    }
    stack = start_stack(folder, tiny_model, **environment)
    yield stack
    stop_stack(stack)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Only the judge has to prove itself: a random model's answers become neither better nor worse."""
    quicker = {"learning_rate = 3e-3": "learning_rate = 1e-2"}
    limits = OPEN | {"min_reward_accuracy": 0.5}
    return write_recipe(tmp_path / "public.toml", rest=quicker, **limits)


async def round_of(
    stack: Stack,
    recipe: Path,
    *,
    name: str,
    prefer: Callable[[str], float],
    num_prompts: int = NUM_PROMPTS,
) -> tuple[str, dict[str, str]]:
    """People talk, labelers rank by `prefer`, a round learns from it."""
    prompts = [f"{name} {number}" for number in range(num_prompts)]
    for part in range(0, num_prompts, AT_A_TIME):
        await stack.rank_all(prompts=prompts[part : part + AT_A_TIME], prefer=prefer)
    round_id = start_round(stack, recipe)
    return round_id, await asyncio.to_thread(wait_for_round, stack, round_id)


async def vote(stack: Stack, *, for_canary: bool) -> None:
    """End users see answers of both versions to one prompt and say which is better, as often as counts."""
    async with aiohttp.ClientSession() as session:
        await voters.vote(
            Person(session, url=stack.url, key=stack.ready["api_key"]),
            voters=[f"v{number}" for number in range(VOTERS)],
            prompts=[f"compare {number}" for number in range(100)],
            prefer=lambda canary, production: for_canary,
            max_tokens=4,
            concurrency=VOTERS,
        )


def ended(stack: Stack, version: str, *, timeout_s: float = 180) -> Any:
    """The record of a version's canary, once it is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = [one for one in Canaries(stack.redis).history() if one.canary.version == version]
        if found:
            return found[0]
        assert time.monotonic() < deadline, (stack.log("gateway"), stack.log("train"))
        time.sleep(0.1)


async def test_three_rounds_meet_the_public(public: Stack, recipe: Path) -> None:
    registry = Registry(public.redis)

    good, state = await round_of(public, recipe, name="first question", prefer=a_share)
    assert state["status"] == "finished", state
    version = json.loads(state["detail"])["version"]
    live = registry.snapshot()
    assert live.canary is not None
    assert (live.canary.version, live.canary.round_id) == (version, good)
    assert live.aliases["production"] == "policy-0000"
    await vote(public, for_canary=True)
    record = ended(public, version)
    assert (record.outcome, record.actor) == ("promoted", "canary")
    assert registry.aliases()["production"] == version

    # As many again that say the opposite: what is held out says so too.
    _, state = await round_of(
        public, recipe, name="second question", prefer=lambda text: -a_share(text)
    )
    assert state["status"] == "refused", state
    assert json.loads(state["detail"])["failed_checks"] == ["reward_accuracy"]
    assert registry.snapshot().canary is None

    worse, state = await round_of(
        public,
        write_recipe(recipe.with_name("open.toml"), **OPEN),
        name="third question",
        prefer=a_share,
        num_prompts=AT_A_TIME,
    )
    assert state["status"] == "finished", state
    bad = json.loads(state["detail"])["version"]
    assert registry.aliases()["canary"] == bad
    await vote(public, for_canary=False)
    record = ended(public, bad)
    assert (record.outcome, record.actor, record.canary.round_id) == (
        "rolled_back",
        "canary",
        worse,
    )
    assert "prefer production" in record.reason
    assert registry.aliases().get("canary") is None
    assert registry.aliases()["production"] == version
