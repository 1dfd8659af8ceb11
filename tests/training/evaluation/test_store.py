from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from feedback.errors import NotFound
from tests.training.evaluation.test_report import policy
from training.evaluation.store import Kept, Store

KEPT = Kept(values={"tax/text": [1.0, 2.0]}, samples=[{"prompt": "p", "answer": "a"}])


def test_what_was_measured_is_there_for_the_same_weights_and_data_alone(tmp_path: Path) -> None:
    store = Store(tmp_path, about=lambda part: {"seed": 0})
    sft = policy("sft")
    assert not store.has(sft, "tax")
    store.write(sft, "tax", KEPT)
    assert store.read(sft, "tax") == KEPT
    assert store.values(sft, ["tax"]) == KEPT.values
    assert not store.has(replace(sft, digest="other"), "tax")
    assert not store.has(replace(sft, is_prompted=True), "tax")
    assert not Store(tmp_path, about=lambda part: {"seed": 1}).has(sft, "tax")
    with pytest.raises(NotFound):
        store.read(sft, "bias")


def test_a_label_is_no_path(tmp_path: Path) -> None:
    store = Store(tmp_path / "measured", about=lambda part: {})
    store.write(policy("../../x"), "tax", KEPT)
    assert [file.name for file in tmp_path.rglob("*.json")] == ["tax.json"]
    assert not (tmp_path.parent / "x").exists()
