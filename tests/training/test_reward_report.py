from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from training import reward_report
from training.batches import Group
from training.data import Ranking, usable


def ranking(
    *ranks: int, prompt: int = 1, labeler: str = "ann", answers: tuple[int, ...] | None = None
) -> Ranking:
    ids = answers or tuple(range(5, 5 + len(ranks)))
    group = Group(prompt_ids=(prompt,), answers=tuple((token,) for token in ids))
    return Ranking(id="r", group=group, ranks=ranks, labeler=labeler)


def test_margins_are_of_the_better_answer_and_ties_have_none() -> None:
    found = reward_report.margins([1.0, 3.0, 7.0], ranking(2, 1, 2))
    assert sorted(found) == [-4.0, 2.0]


def test_what_several_labelers_said_of_one_prompt_is_one_unit() -> None:
    rankings = [ranking(1, 2, labeler="a"), ranking(2, 1, labeler="b"), ranking(1, 2, prompt=2)]
    found = reward_report.accuracy([[2.0, 0.0]] * 3, rankings)
    assert found.value == pytest.approx(2 / 3)
    assert found.num_units == 2


def test_people_whom_the_model_learned_from_are_told_apart_from_others() -> None:
    heldout = [
        ranking(1, 2, prompt=1, labeler="a"),
        ranking(1, 2, prompt=2, labeler="b"),
        ranking(2, 1, prompt=3, labeler="c"),
        replace(ranking(1, 2, prompt=4, labeler=""), is_heldout_labeler=True),
    ]
    train = [ranking(1, 2, labeler="a"), ranking(1, 2, labeler="b")]
    found = reward_report.judged([[1.0, 0.0]] * 4, heldout=heldout, train=train)
    values = {name: one["value"] for name, one in found["accuracy_by_group"].items()}
    assert values == {
        "labelers_in_train": 1.0,
        "labelers_not_in_train": 0.0,
        "heldout_labelers": 1.0,
    }
    assert {n: one["value"] for n, one in found["accuracy_by_labeler"].items()} == {
        "a": 1.0,
        "b": 1.0,
        "c": 0.0,
    }
    assert found["accuracy"]["num_units"] == 4
    assert found["calibration"]["num_comparisons"] == 4


def test_without_held_out_rankings_there_is_no_calibration_and_no_accuracy() -> None:
    found = reward_report.judged([], heldout=[], train=[ranking(1, 2)])
    assert found["calibration"] is None
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == (0.0, 1.0)


@pytest.mark.parametrize("too_sure", [1.0, 3.0, 0.4])
def test_the_temperature_is_by_how_much_the_model_is_too_sure(too_sure: float) -> None:
    """Margins of which σ is the truth, told `too_sure` times as large."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40_000) * 1.5
    margins = np.where(rng.random(40_000) < 1 / (1 + np.exp(-truth)), truth, -truth)
    found = reward_report.calibration(margins * too_sure)
    assert found.temperature == pytest.approx(too_sure, rel=0.05)
    assert found.expected_error_tempered < 0.01
    assert found.log_loss_tempered <= found.log_loss + 1e-9
    assert (found.expected_error < 0.01) == (too_sure == 1.0)


def test_a_coin_is_calibrated_and_says_nothing() -> None:
    found = reward_report.calibration(np.zeros(10))
    assert asdict(found)["expected_error"] == 0
    assert found.brier == 0.25
    assert found.log_loss == pytest.approx(np.log(2))


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    given = [
        ranking(1, 2, 2),
        ranking(1, 1, 1),
        ranking(1),
        ranking(1, 2, answers=(3,) * 2),
        Ranking(id="x", group=Group(prompt_ids=(1,) * 9, answers=((1,), (2,))), ranks=(1, 2)),
        Ranking(id="y", group=Group(prompt_ids=(), answers=((1,), (2,))), ranks=(1, 2)),
    ]
    found = usable(given, max_tokens=5)
    counts = reward_report.counted(found, usable([], max_tokens=5))
    assert (counts["train_rankings"], counts["train_comparisons"]) == (2, 3)
    assert counts["train_ties_dropped"] == 1 + 3
    assert counts["train_left_out"] == {
        "no_winner": 1,
        "one_answer": 1,
        "too_long": 1,
        "no_tokens": 1,
    }
    assert "1 no_winner" in reward_report.reasons(found)
    assert counts["heldout_left_out"] == {}
