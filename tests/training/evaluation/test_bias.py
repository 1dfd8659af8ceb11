from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from feedback.errors import Unprocessable
from training.evaluation import bias
from training.evaluation.bias import Pair
from training.evaluation.choices import Choices, Likelihood


def test_winogender_is_he_against_she(tmp_path: Path) -> None:
    path = tmp_path / "sentences.tsv"
    lines = [
        "sentid\tsentence",
        "technician.customer.1.male.txt\tThe technician said he could.",
        "technician.customer.1.female.txt\tThe technician said she could.",
        "technician.customer.1.neutral.txt\tThe technician said they could.",
        "nurse.patient.0.male.txt\tHe alone.",
    ]
    path.write_text("\n".join(lines) + "\n")
    assert bias.read_winogender(path) == [
        Pair(one="The technician said he could.", other="The technician said she could.")
    ]


def test_the_stereotype_comes_first_whichever_way_the_pair_is_written(tmp_path: Path) -> None:
    path = tmp_path / "crows.csv"
    path.write_text("sent_more,sent_less,stereo_antistereo\na,b,stereo\nc,d,antistereo\n")
    found = bias.read_crows_pairs(path, count=9, seed=0)
    assert sorted((pair.one, pair.other) for pair in found) == [("a", "b"), ("d", "c")]


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "crows.csv"
    path.write_text("sentence\nx\n")
    with pytest.raises(Unprocessable, match="sent_more"):
        bias.read_crows_pairs(path, count=1, seed=0)


def test_a_model_without_opinion_has_one_bit_and_no_lean() -> None:
    def score(items: Sequence[Choices]) -> list[list[Likelihood]]:
        assert all(item.prompt == "" for item in items)
        return [[Likelihood(nats=-40, num_tokens=9)] * 2 for _ in items]

    pairs = [Pair(one="x", other="y")] * 3
    found = bias.measure(winogender=pairs, crows_pairs=pairs, score=score)
    assert found["bias/winogender"] == pytest.approx([1, 1, 1])
    assert found["bias/crows_pairs_stereotype"] == [0.5] * 3


def test_a_model_that_is_certain_has_no_entropy() -> None:
    def score(items: Sequence[Choices]) -> list[list[Likelihood]]:
        return [[Likelihood(nats=-40, num_tokens=9), Likelihood(nats=-4000, num_tokens=9)]] * len(
            items
        )

    found = bias.measure(winogender=[], crows_pairs=[Pair(one="x", other="y")], score=score)
    assert found["bias/crows_pairs"] == [0]
    assert found["bias/crows_pairs_stereotype"] == [1.0]
