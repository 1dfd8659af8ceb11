from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from feedback.errors import Unprocessable
from moderation import dataset
from moderation.dataset import Row
from moderation.encoder import Encoder

LINE = b'{"text": "a", "source": "s", "labels": {"hate": 1}}\n'


def _rows(num: int, *, source: str) -> list[Row]:
    return [Row(text=f"{source} text {i}", source=source, labels={}) for i in range(num)]


def test_every_source_is_divided_in_the_same_shares() -> None:
    rows = _rows(100, source="a") + _rows(40, source="b")
    parts = dataset.split(rows)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(140))
    sizes = {
        name: [sum(rows[i].source == source for i in part) for source in "ab"]
        for name, part in parts.items()
    }
    assert sizes == {"train": [80, 32], "validation": [10, 4], "test": [10, 4]}


def test_a_text_keeps_its_split_whatever_the_order_of_the_rows() -> None:
    rows = _rows(50, source="a")
    turned = rows[::-1]
    one = {rows[i].text for i in dataset.split(rows)["test"]}
    assert one == {turned[i].text for i in dataset.split(turned)["test"]}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_are_read_gzipped_or_not(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(LINE) if name.endswith("gz") else LINE)
    assert dataset.read(file) == [Row(text="a", source="s", labels={"hate": 1})]


@pytest.mark.parametrize("line", [b"not json\n", b'{"text": "a"}\n'])
def test_a_wrong_line_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(LINE + line)
    with pytest.raises(Unprocessable, match="line 2"):
        dataset.read(file)


def test_vectors_are_kept_and_only_new_texts_are_done_again(tmp_path: Path) -> None:
    texts = ["long " * 400, "a text", "b text", "a text"]
    encoder = Encoder()
    seen: list[int] = []
    first = dataset.embed(texts, encoder=encoder, cache=tmp_path, progress=seen.append)
    assert seen == [1, 2, 3]  # a copy is not done twice
    again = dataset.embed(texts[1:], encoder=encoder, cache=tmp_path, progress=seen.append)
    dataset.embed([*texts, "c"], encoder=encoder, cache=tmp_path, progress=seen.append)
    assert seen == [1, 2, 3, 4]
    assert np.array_equal(first[1:], again)
    assert np.array_equal(first[1], first[3])
    assert [file.suffix for file in tmp_path.iterdir()] == [".npz"]
