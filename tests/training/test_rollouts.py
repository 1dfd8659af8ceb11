from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from feedback.errors import Refused, Unavailable
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


def test_an_engine_is_asked_what_it_holds_once_and_not_with_every_request(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    rollouts.load(a_version(tmp_path, "v1"))
    after_load = engine.num_looks
    for _ in range(3):
        sample(rollouts, "v1")
    assert engine.num_looks == after_load


def test_what_runs_on_a_dead_engine_goes_to_the_other_and_it_is_taken_back_when_it_answers(
    engine: FakeEngine, tmp_path: Path
) -> None:
    mortal = FakeEngine()
    mortal.start()
    mortal.answer_delay_s = 60.0  # what it was given is in flight when it dies
    urls = [mortal.url, engine.url]
    with EngineRollouts(urls, token=TOKEN, concurrency=4, wait_s=30.0) as rollouts:
        rollouts.load(a_version(tmp_path, "v1"))
        assert set(mortal.loaded) == set(engine.loaded) == {"policy-0000", "v1"}
        sampling = rollouts.begin("v1", PROMPTS * 4, answers_per_prompt=2, max_tokens=8)
        until(lambda: len(mortal.bodies) == 2)  # its bound, and no more
        mortal.stop()
        found = sampling.result(timeout=30)
        assert [rollout.group.prompt_ids for rollout in found] == PROMPTS * 4
        assert len(engine.bodies) == len(PROMPTS) * 4

        again = FakeEngine()
        again.port = mortal.port
        again.start()
        rollouts.load(a_version(tmp_path, "v2"))
        assert set(again.loaded) == {"policy-0000", "v1", "v2"}
        sample(rollouts, "v2", PROMPTS * 4)
        assert again.bodies
        again.stop()


def test_an_engine_that_is_away_at_the_load_joins_in_when_it_answers(
    engine: FakeEngine, tmp_path: Path
) -> None:
    late = FakeEngine()
    late.start()
    late.stop()
    again = FakeEngine()
    again.port = late.port
    with EngineRollouts([engine.url, late.url], token=TOKEN, concurrency=2) as rollouts:
        rollouts.load(a_version(tmp_path, "v1"))
        engine.answer_delay_s = 0.1
        again.start()
        while not again.bodies:  # each batch looks for it anew
            sample(rollouts, "v1", PROMPTS * 4)
        assert "v1" in again.loaded
    again.stop()


def test_no_engine_at_all_is_said_after_the_wait(tmp_path: Path) -> None:
    gone = FakeEngine()
    gone.start()
    gone.stop()
    with EngineRollouts([gone.url], token=TOKEN, concurrency=4, wait_s=0.3) as rollouts:
        with pytest.raises(Unavailable, match="no engine answers"):
            sample(rollouts, "policy-0000")
        with pytest.raises(Unavailable, match="no engine answers"):
            rollouts.load(a_version(tmp_path, "v1"))


def test_an_error_ends_what_is_still_under_way(engine: FakeEngine) -> None:
    engine.answer_delay_s = 60.0
    with EngineRollouts([engine.url], token=TOKEN, concurrency=4) as rollouts:
        rollouts.begin("policy-0000", PROMPTS, answers_per_prompt=2, max_tokens=8)
        until(lambda: len(engine.bodies) == 2)
    until(lambda: engine.num_cancelled == 2)


def test_the_answers_expected_to_be_longest_are_asked_for_first(engine: FakeEngine) -> None:
    """The fake answers with the prompt's own words: the longer the prompt, the longer its answer."""
    with EngineRollouts([engine.url], token=TOKEN, concurrency=1) as rollouts:
        prompts = [(5,), (7, 8, 9), (5, 6)]
        rollouts.sample("policy-0000", prompts, answers_per_prompt=1, max_tokens=8)
        rollouts.sample("policy-0000", prompts, answers_per_prompt=1, max_tokens=8)
    asked = [tuple(body["prompt"]) for body in engine.bodies]
    assert asked == [(7, 8, 9), (5, 6), (5,)] * 2


def test_full_weights_of_a_killed_process_give_way_to_the_base(
    engine: FakeEngine, rollouts: EngineRollouts, tmp_path: Path
) -> None:
    engine.full.add("round-0001-abc-i0001")
    rollouts.load(a_version(tmp_path, "round-0001-abc-i0001"))
    assert set(engine.loaded) == {"round-0001-abc-i0001"}
    rollouts.unload_leftovers("round-0001-")
    assert set(engine.loaded) == {"policy-0000"}


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
