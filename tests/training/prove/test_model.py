"""The marks of experiment D on figures given; the experiment itself takes a quarter of an hour."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest

from feedback.quality.intervals import Estimate
from training.demo import Story
from training.prove import plotting
from training.prove.answers import Judged
from training.prove.model import compare, draw, marks, ppo_figures, prompts_of

SWAP = {
    "streams": 230,
    "dropped": 0,
    "wrong_version": 0,
    "header_disagreed_with_policy": 0,
    "by_new_version": 100,
}
KL = Estimate(value=4.0, low=3.5, high=4.5, num_units=2)


def story(**changes: Any) -> Story:
    swap = SWAP | {name: changes.pop(name) for name in list(changes) if name in SWAP}
    ratio = changes.pop("perplexity_ratio", 0.98)
    figures: dict[str, Any] = {
        "swap": swap,
        "gold": {"standard_errors_above_zero": changes.pop("errors", 8.0)},
        "gate": {"checks": [{"name": "perplexity_ratio", "value": ratio}]},
    }
    return Story(old="policy-0000", new="policy-0001", status="finished", figures=figures)


def failed(found: Story, kl: Estimate = KL) -> list[str]:
    reference = Judged(gold=[[0.0, 1.0], [0.0, 1.0]], scores=[[0.0, 1.0], [1.0, 0.0]])
    few = compare(reference, reference, kl, sizes=(1, 2))
    return [mark.name for mark in marks(found, few) if not mark.passed]


def test_a_good_run_passes_every_mark() -> None:
    assert failed(story()) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"errors": 2.9}, "gold gain, standard errors"),
        ({"perplexity_ratio": 1.03}, "perplexity ratio"),
        ({"dropped": 1}, "streams dropped or broken by the swap"),
        ({"wrong_version": 1}, "streams of a wrong version"),
        ({"header_disagreed_with_policy": 1}, "streams of a wrong version"),
        ({"by_new_version": 0}, "streams of the new version"),
    ],
)
def test_a_run_that_misses_one_mark_fails_on_it(change: dict[str, Any], name: str) -> None:
    assert failed(story(**change)) == [name]


def test_a_kl_that_may_be_above_its_limit_fails() -> None:
    wide = Estimate(value=8.0, low=5.0, high=11.0, num_units=2)
    assert failed(story(), wide) == ["KL, nats per answer, upper end of its interval"]


def test_a_round_that_the_gate_refused_has_no_gain_and_no_swap() -> None:
    refused = story(by_new_version=0)
    refused.status, refused.new = "refused", refused.old
    del refused.figures["gold"]
    assert failed(refused) == ["gold gain, standard errors", "streams of the new version"]


def test_ppo_and_best_of_n_are_measured_against_the_same_answers() -> None:
    reference = Judged(gold=[[0.0, 2.0], [1.0, 3.0]], scores=[[0.0, 1.0], [1.0, 0.0]])
    candidate = Judged(gold=[[2.0], [4.0]], scores=[[5.0], [7.0]])
    found = compare(reference, candidate, KL, sizes=(1, 2))
    assert [point.gain for point in found.best_of_n.values()] == [
        0.0,
        0.0,
    ]  # 2 and 1: one right, one wrong
    assert (found.ppo.gain, found.ppo.score, found.ppo.kl_nats) == (1.5, 6.0, 4.0)
    assert found.ppo.standard_error == pytest.approx(math.sqrt(0.5) / math.sqrt(2))


def test_the_frontier_is_drawn(tmp_path: Path) -> None:
    reference = Judged(gold=[[0.0, 2.0], [1.0, 3.0]], scores=[[0.0, 1.0], [0.0, 1.0]])
    found = compare(reference, reference, KL, sizes=(1, 2))
    plotting.save(tmp_path / "model.png", lambda axes: draw(found, axes))
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


def test_prompts_of_a_snapshot_are_those_of_training_and_of_judging(tmp_path: Path) -> None:
    odd = "two\u2028lines, for Python's str, of one line of JSON"
    for name, text in (("prompts.jsonl", "one"), ("rankings.jsonl", odd)):
        (tmp_path / name).write_bytes(orjson.dumps({"prompt_text": text}) + b"\n")
    assert prompts_of(tmp_path) == {"one", odd}


def test_the_curve_of_ppo_is_told_by_its_ends_and_its_worst_gap() -> None:
    rows = [
        {
            "step": "ppo",
            "objective/scores": score,
            "objective/kl": score * 2,
            "ppo/sampler_gap_nats": gap,
            "time/rollout_s": 2.0,
            "time/score_s": 1.0,
            "time/train_s": 1.0,
        }
        for score, gap in ((0.0, 0.02), (0.5, 0.07), (1.0, 0.05))
    ]
    found = ppo_figures([{"step": "reward"}, *rows])
    assert found == {
        "iterations": 3,
        "score_first": 0.0,
        "score_last": 1.0,
        "kl_nats_last": 2.0,
        "trainer_from_vllm_rms_nats": 0.07,
        "seconds_an_iteration": 4.0,
    }
