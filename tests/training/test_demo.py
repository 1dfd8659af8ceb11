from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from serving.bench.load import Answer
from training.demo_people import gold, noisy_order
from training.demo_prompts import prompts
from training.demo_report import compare, draw, read_metrics
from training.demo_traffic import STREAM_TOKENS, Stream, summary


def test_gold_is_what_the_labelers_say_they_like() -> None:
    warm, cold = "You did great, I am happy for you!", "You did badly, that is a sad failure."
    assert gold(warm) > gold(cold)
    assert gold(warm) > gold(warm + " The next train leaves at the usual hour of the day.")


def test_labelers_agree_with_gold_often_but_not_always() -> None:
    rng = random.Random(0)
    scores = [0.0, 0.3, 0.6, 0.9]
    pairs = agreed = 0
    for _ in range(400):
        order = noisy_order(scores, rng=rng)
        for better in range(4):
            for worse in range(better + 1, 4):
                pairs += 1
                agreed += order[better] > order[worse]
    assert 0.85 < agreed / pairs < 0.99
    assert noisy_order([0.0, 100.0, 50.0], rng=rng) == [1, 2, 0]


def test_prompts_differ_and_stay_the_same_for_a_seed() -> None:
    assert len(set(prompts(num=640, seed=1))) == 640
    assert prompts(num=10, seed=1) == prompts(num=10, seed=1) != prompts(num=10, seed=2)
    with pytest.raises(ValueError, match="there are"):
        prompts(num=641, seed=1)


def test_the_gain_is_paired_by_prompt_and_its_error_is_over_prompts() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=(200, 1))  # prompts differ far more than versions do
    old = level + rng.normal(scale=0.1, size=(200, 4))
    new = level + 0.5 + rng.normal(scale=0.1, size=(200, 4))
    result = compare(old.tolist(), new.tolist())
    assert result["gain"] == pytest.approx(0.5, abs=0.03)
    assert result["standard_error"] == pytest.approx(0.1 * np.sqrt(2 / 4) / np.sqrt(200), rel=0.2)
    low, high = result["interval_95"]
    assert low < result["gain"] < high


def test_equal_versions_are_not_called_better() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 4)).tolist()
    assert compare(scores, scores)["standard_errors_above_zero"] == 0.0


def test_a_half_written_last_line_of_metrics_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"objective/kl": 1.0}) + '\n{"objective/k')
    assert read_metrics(path) == [{"objective/kl": 1.0}]


@pytest.mark.parametrize("status", ["finished", "refused"])
def test_a_picture_is_drawn_at_any_outcome(tmp_path: Path, status: str) -> None:
    gold_of = compare([[0.1, 0.2]] * 3, [[0.3, 0.5]] * 3) if status == "finished" else None
    story = {
        "status": status,
        "old": "policy-0000",
        "new": "policy-0001",
        "preference": "p",
        "figures": {"gold": gold_of} if gold_of else {},
    }
    metrics = [{"objective/kl": float(i), "objective/scores": float(i)} for i in range(3)]
    draw(story, metrics, tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def stream(
    version: str,
    *,
    began: float,
    ended: float,
    num_tokens: int = STREAM_TOKENS,
    said: str = "",
    error: str = "",
) -> Stream:
    answer = Answer(
        began=began,
        ended=ended,
        num_tokens=num_tokens,
        version=version,
        said={said or version},
        error=error,
    )
    return Stream(answer=answer, allowed=("old", "new"))


def test_streams_that_were_refused_or_came_short_count_as_dropped() -> None:
    found = summary(
        [
            stream("old", began=0, ended=1),
            stream("old", began=0, ended=1, num_tokens=STREAM_TOKENS - 1),
            stream("", began=0, ended=1, error="503: busy"),
        ],
        new="new",
    )
    assert (found["streams"], found["dropped"], found["errors"]) == (3, 2, ["503: busy"])
    assert found["by_new_version"] == 0


def test_streams_of_the_old_version_that_outlive_the_swap_are_counted() -> None:
    found = summary(
        [
            stream("old", began=0, ended=1),
            stream("old", began=1, ended=3),
            stream("new", began=2, ended=3),
            stream("old", began=2, ended=4, said="new"),
        ],
        new="new",
    )
    assert found["by_new_version"] == 1
    assert found["by_old_version_after_the_swap"] == 2
    assert found["wrong_version"] == 1
    assert found["header_disagreed_with_policy"] == 0
    assert found["dropped"] == 0


def test_an_answer_that_policy_never_named_is_a_disagreement() -> None:
    assert (
        summary([stream("older", began=0, ended=1)], new="new")["header_disagreed_with_policy"] == 1
    )
