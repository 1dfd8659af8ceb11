from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moderation import dataset
from moderation.categories import FITTED
from moderation.dataset import Row
from moderation.transfer import GROUPS, POOL_PER_SOURCE, mixed, sampled

DATA = Path(__file__).parents[3] / "shared" / "data" / "moderation" / "train.jsonl.gz"


def test_no_source_is_in_two_groups() -> None:
    named = [source for group in GROUPS for source in group]
    assert len(named) == len(set(named))


@pytest.mark.skipif(not DATA.is_file(), reason="../shared/data is not on this machine")
def test_every_source_of_the_data_is_left_out_once() -> None:
    assert {row.source for row in dataset.read(DATA)} == {s for group in GROUPS for s in group}


def test_no_source_fills_the_mixed_pool() -> None:
    rows = [Row(text=str(number), source="large", labels={}) for number in range(1000)]
    rows.append(Row(text="a", source="small", labels={}))
    chosen = sampled(rows, np.zeros((len(rows), len(FITTED)), dtype=np.float32))
    sources = [row.source for row, _ in chosen]
    assert sources.count("large") == POOL_PER_SOURCE
    assert sources.count("small") == 1


def test_a_text_of_another_category_is_a_negative_of_the_mixed_pool() -> None:
    def pool(of_bread: float) -> list[tuple[Row, dataset.Vectors]]:
        hateful = Row(text="they are vermin", source="a", labels={"hate": 1})
        harmless = Row(text="bread is warm", source="b", labels={"sexual": 0})
        ranks = ((hateful, 0.5), (harmless, of_bread))
        return [(row, np.full(len(FITTED), rank, dtype=np.float32)) for row, rank in ranks]

    # What nobody labelled: the text names no group and swears at nobody, so that it is no hate.
    assert mixed(pool(0.0))["hate"]["auroc"] == 1.0
    assert mixed(pool(1.0))["hate"]["auroc"] == 0.0
