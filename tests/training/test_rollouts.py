from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from feedback.errors import Refused
from tests.serving.fake_engine import TOKEN, FakeEngine
from training.rollouts import EngineRollouts, Served
from training.samplers import EngineSampler

PROMPTS = [(5, 6), (7, 8, 9), (5,)]


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    served = FakeEngine()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def rollouts(engine: FakeEngine) -> Iterator[EngineRollouts]:
    with EngineRollouts([engine.url], token=TOKEN, concurrency=4, wait_s=5.0) as found:
        yield found


def a_version(folder: Path, version: str) -> Served:
    return Served(version=version, folder=folder, digest=hashlib.sha256(b"w").hexdigest())


def sample(
    rollouts: EngineRollouts, version: str, prompts: Sequence[tuple[int, ...]] = PROMPTS
) -> list[list[int]]:
    found = rollouts.sample(version, prompts, answers_per_prompt=2, max_tokens=8)
    return [list(rollout.group.prompt_ids) for rollout in found]


def test_answers_come_in_the_order_of_the_prompts_with_their_engine_logprobs(
    rollouts: EngineRollouts,
) -> None:
    found = rollouts.sample("policy-0000", PROMPTS, answers_per_prompt=2, max_tokens=8)
    assert [rollout.group.prompt_ids for rollout in found] == PROMPTS
    for rollout in found:
        assert len(rollout.group.answers) == len(rollout.ended) == len(rollout.texts) == 2
        for answer, logprobs in zip(rollout.group.answers, rollout.logprobs, strict=True):
            assert len(answer) == len(logprobs) > 0


def test_the_engine_is_asked_for_the_plain_distribution(
    engine: FakeEngine, rollouts: EngineRollouts
) -> None:
    sample(rollouts, "policy-0000")
    for body in engine.bodies:
        assert (body["temperature"], body["top_p"], body["top_k"]) == (1.0, 1.0, 0)
        assert (body["repetition_penalty"], body["min_p"]) == (1.0, 0.0)
        assert (body["logprobs"], body["return_token_ids"]) == (0, True)
        assert body["cache_salt"] == "policy-0000"
        assert "seed" not in body


def test_the_same_seeds_go_to_the_same_prompts_of_two_versions(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    rollouts.load(a_version(tmp_path, "other"))
    for version in ("policy-0000", "other"):
        rollouts.sample(version, PROMPTS, answers_per_prompt=2, max_tokens=8, seed=11)
    seeds = [{tuple(b["prompt"]): b["seed"] for b in engine.bodies[half]} for half in HALVES]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0].values())) == len(PROMPTS)


HALVES = (slice(0, 3), slice(3, 6))


def test_no_more_answers_are_in_flight_than_allowed(engine: FakeEngine) -> None:
    in_flight = []
    engine.answer_delay_s = 0.1
    with EngineRollouts([engine.url], token=TOKEN, concurrency=4) as rollouts:
        work = threading.Thread(target=sample, args=(rollouts, "policy-0000", PROMPTS * 3))
        work.start()
        started = time.monotonic()
        work.join()
        in_flight.append(time.monotonic() - started)
    # Nine prompts of two answers, two prompts at a time: five turns of 0.1 s and no fewer.
    assert in_flight[0] > 0.45


def test_an_engine_that_fails_is_asked_again(engine: FakeEngine, rollouts: EngineRollouts) -> None:
    engine.fail_next = 2
    assert sample(rollouts, "policy-0000") == [list(prompt) for prompt in PROMPTS]


def test_an_engine_that_came_back_empty_is_given_the_version_again(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    rollouts.load(a_version(tmp_path, "round-0001-abc-i0001"))
    del engine.loaded["round-0001-abc-i0001"]
    assert len(sample(rollouts, "round-0001-abc-i0001")) == len(PROMPTS)
    assert engine.calls.count("load round-0001-abc-i0001") == 2


def test_a_refused_version_is_an_error_with_the_engine_s_reason(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    engine.refuse["bad"] = "tensor x is missing"
    with pytest.raises(Refused, match="tensor x is missing"):
        rollouts.load(a_version(tmp_path, "bad"))


def test_leftovers_of_the_same_round_go_and_nothing_else(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    for version in ("round-0001-abc-i0001", "round-0002-abc-i0001", "policy-0001"):
        rollouts.load(a_version(tmp_path, version))
    rollouts.unload_leftovers("round-0001-")
    assert set(engine.loaded) == {"policy-0000", "round-0002-abc-i0001", "policy-0001"}


def test_every_iteration_has_its_own_name_and_leaves_nothing_behind(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    exported = []

    def export(folder: Path, version: str) -> str:
        exported.append(version)
        (folder / "weights").write_text(version)
        return "d"

    sampler = EngineSampler(rollouts, export=export, folder=tmp_path, name="round-0001-abc")
    for iteration in range(3):
        sampler.refresh(iteration)
        sampler.sample(PROMPTS, answers_per_prompt=1, max_tokens=4)
        assert set(engine.loaded) == {"policy-0000", exported[-1]}
    sampler.close()
    assert len(set(exported)) == 3
    assert set(engine.loaded) == {"policy-0000"}
    assert list(tmp_path.iterdir()) == []
    salts = {body["cache_salt"] for body in engine.bodies}
    assert salts == set(exported)
