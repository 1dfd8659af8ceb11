from __future__ import annotations

from pathlib import Path

import pytest

from feedback.errors import Unprocessable
from moderation.categories import FITTED
from moderation.classifier import load, write_heads
from moderation.dataset import Row
from moderation.settings import ModerationSettings
from moderation.train import train

# Topics in the categories' places: the fit has to find them, whatever they are called.
TOPICS = {
    "harassment": "the football match in the {} stadium",
    "hate": "the {} violin concerto of the orchestra",
    "hate/threatening": "a {} telescope to watch the planets",
    "self-harm": "the interest rate of a {} savings account",
    "sexual": "how to water a {} cactus",
    "violence": "the engine of a {} motorcycle",
}
WORDS = "old new red blue big small loud calm cheap fine first last local famous long short".split()


def _rows(*, leave_out: str = "") -> list[Row]:
    return [
        Row(
            text=f"{text.format(word)}, {number}",
            source=topic,
            labels={name: int(name == topic) for name in FITTED if topic != leave_out},
        )
        for topic, text in TOPICS.items()
        for number, word in enumerate(WORDS * 5)
    ]


def test_fitted_heads_find_their_topics_and_two_fits_are_the_same(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    heads, report = train(_rows(), cache=cache, model="topics", ours=[])
    assert all(figures["auroc"] > 0.95 for figures in report["test"].values())
    write_heads(tmp_path / "heads.npz", heads)
    again, _ = train(_rows(), cache=cache, model="topics", ours=[])
    write_heads(tmp_path / "again.npz", again)
    assert (tmp_path / "heads.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    classifier = load(ModerationSettings(heads=tmp_path / "heads.npz"))
    assert classifier.model == "topics"
    scores = classifier.score("the pink violin concerto of the orchestra")
    assert max(FITTED, key=lambda name: scores[name]) == "hate"


def test_a_category_without_positives_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="^sexual: the train split needs"):
        train(_rows(leave_out="sexual"), cache=tmp_path, model="topics", ours=[])
