from __future__ import annotations

import numpy as np
import pytest

from feedback.errors import Unprocessable
from moderation import adapt as adapt_module
from moderation.adapt import adapt
from moderation.categories import FITTED
from moderation.classifier import HEADS, Classifier, Heads, read_heads
from moderation.dataset import Row
from moderation.train import everyday
from tests.training.moderation.said import NEW, said


@pytest.fixture(scope="module")
def heads() -> Heads:
    return read_heads(HEADS)


def test_it_learns_what_was_said_and_keeps_what_it_knew(
    heads: Heads, classifier: Classifier
) -> None:
    texts = said()
    ours = everyday()[:400]
    adapted = adapt(
        heads, texts[::2], encoder=classifier.encoder, model="moderation-0001", ours=ours
    )
    after = Classifier(classifier.encoder, heads=adapted)
    assert after.model == "moderation-0001"
    gained = [
        (after.score(row.text)["hate"] - classifier.score(row.text)["hate"])
        * (1 if row.labels["hate"] else -1)
        for row in texts[1::2]
    ]
    assert np.mean(gained) > 0.2
    bread = "How do I bake a good loaf of bread?"
    assert max(after.score(bread).values()) < 0.5


def test_nothing_is_learnt_of_categories_that_are_not_fitted(
    heads: Heads, classifier: Classifier
) -> None:
    row = Row(text="a text", source="corrections", labels={"illicit": 1})
    with pytest.raises(Unprocessable, match="there is nothing to learn"):
        adapt(heads, [row], encoder=classifier.encoder, model="m", ours=everyday()[:50])


def test_two_adaptations_are_the_same(heads: Heads, classifier: Classifier) -> None:
    ours = everyday()[:60]
    one, other = (
        adapt(heads, said()[:10], encoder=classifier.encoder, model="m", ours=ours)
        for _ in range(2)
    )
    for network, same in zip(one.networks, other.networks, strict=True):
        assert all(
            np.array_equal(network.weights[name], same.weights[name]) for name in same.weights
        )
    assert np.array_equal(one.limit_C, other.limit_C)


def test_thresholds_only_rise(heads: Heads, classifier: Classifier) -> None:
    adapted = adapt(heads, said()[:10], encoder=classifier.encoder, model="m", ours=everyday()[:60])
    assert (adapted.limit_C >= heads.limit_C).all()
    assert len(adapted.limit_C) == len(FITTED)


def test_one_word_weighs_no_more_than_it_may() -> None:
    weights_N = adapt_module._weights(num_anchors=3000, num_said=2)
    assert weights_N[-1] == adapt_module.MAX_WEIGHT
    assert adapt_module._weights(num_anchors=10, num_said=1000)[-1] == 1.0


def test_the_new_word_is_new(classifier: Classifier) -> None:
    """Else the tests above would show nothing."""
    assert classifier.score(NEW[0].format("plumbers"))["hate"] < 0.9
