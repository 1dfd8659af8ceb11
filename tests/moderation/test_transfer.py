from __future__ import annotations

from pathlib import Path

import pytest

from moderation import dataset
from moderation.transfer import GROUPS

DATA = Path(__file__).parents[3] / "shared" / "data" / "moderation" / "train.jsonl.gz"


def test_no_source_is_in_two_groups() -> None:
    named = [source for group in GROUPS for source in group]
    assert len(named) == len(set(named))


@pytest.mark.skipif(not DATA.is_file(), reason="../shared/data is not on this machine")
def test_every_source_of_the_data_is_left_out_once() -> None:
    assert {row.source for row in dataset.read(DATA)} == {s for group in GROUPS for s in group}
