"""Heads that go on learning: from what people said of some texts, without unlearning all the others.

What a round of moderation runs where the texts of the first fit are not at hand. The networks go on from
their weights. On texts on board, and on what nobody spoke of, each is held to its own word of before
(Li and Hoiem 2017, "Learning without forgetting"); the regression stays as it is.
Shapes: N texts, C fitted categories.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from feedback.errors import Unprocessable
from moderation import dataset, network
from moderation.categories import FITTED
from moderation.classifier import Heads
from moderation.dataset import Row
from moderation.encoder import Encoder
from moderation.figures import threshold_for
from moderation.network import Network
from moderation.train import (
    BENIGN_RATE,
    BENIGN_SOURCES,
    Corpus,
    Floats,
    Progress,
    logits,
    own_texts,
    plain,
    read_corpus,
)

NUM_ANCHORS = 3000  # of the texts on board: enough to hold 6 categories, 20 s of one core
SHARE_SAID = 0.5  # of the weight of all texts: as much as the anchors have
MAX_WEIGHT = 20.0  # of one text: ten corrections must not weigh as much as all that was learnt


def adapt(
    heads: Heads,
    said: Sequence[Row],
    *,
    encoder: Encoder,
    model: str,
    ours: Sequence[Row] | None = None,
    say: Progress = lambda line: None,
) -> Heads:
    """The heads after the labels of `said`. `ours`: instead of the texts on board.

    Raises Unprocessable where `said` names no category that is fitted.
    """
    if not any(name in row.labels for row in said for name in FITTED):
        raise Unprocessable(
            f"nothing was said about {', '.join(FITTED)}: there is nothing to learn; "
            "say what a text is with `hone label correct`"
        )
    anchors = anchor_texts(own_texts() if ours is None else ours)
    rows = plain([*anchors, *said])
    corpus = read_corpus(rows, encoder=encoder, say=say)
    weights_N = _weights(num_anchors=len(anchors), num_said=len(said))
    networks = []
    for seed, one in enumerate(heads.networks):
        say(f"network {seed + 1} of {len(heads.networks)}")
        networks.append(
            network.fit(
                corpus.features_NF,
                _targets(one, corpus, num_anchors=len(anchors)),
                np.ones((len(rows), len(FITTED)), dtype=np.float32),
                weights_N=weights_N,
                seed=seed,
                start=one,
            )
        )
    adapted = replace(heads, model=model, networks=networks)
    benign = [i for i, row in enumerate(anchors) if row.source in BENIGN_SOURCES]
    limit_C = _limits(adapted, corpus.part(benign)) if benign else heads.limit_C
    return replace(adapted, limit_C=np.maximum(heads.limit_C, limit_C))


def anchor_texts(ours: Sequence[Row]) -> list[Row]:
    """Of the texts on board those that a fit may see, at most NUM_ANCHORS, always the same."""
    seen = [ours[i] for i in dataset.split(ours)["train"]]
    return random.Random(0).sample(seen, min(NUM_ANCHORS, len(seen)))


def _targets(one: Network, corpus: Corpus, *, num_anchors: int) -> Floats:
    """(N, C): what people said, and where they said nothing what the network says."""
    targets_NC: Floats = (0.5 * (1.0 + np.tanh(0.5 * one.logits(corpus.features_NF)))).astype(
        np.float32
    )
    said = zip(corpus.rows[num_anchors:], targets_NC[num_anchors:], strict=True)
    for row, target_C in said:
        for index, name in enumerate(FITTED):
            target_C[index] = row.labels.get(name, target_C[index])
    return targets_NC


def _weights(*, num_anchors: int, num_said: int) -> Floats:
    equal = SHARE_SAID / (1 - SHARE_SAID) * num_anchors / num_said
    weight = min(MAX_WEIGHT, max(1.0, equal))
    return np.array([1.0] * num_anchors + [weight] * num_said, dtype=np.float32)


def _limits(heads: Heads, benign: Corpus) -> Floats:
    """(C,) log-odds from which harmless texts on board are not flagged more often than they may be."""
    logits_NC = logits(heads, benign).astype(np.float64)
    limits = [threshold_for(column, false_positive_rate=BENIGN_RATE) for column in logits_NC.T]
    return np.nextafter(np.array(limits, dtype=np.float32), np.float32(np.inf))
