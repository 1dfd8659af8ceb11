from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from moderation.categories import SCORED
from moderation.classifier import load
from moderation.settings import ModerationSettings

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


def _write(file: Path, *, leave_out: str = "") -> None:
    lines: list[str] = []
    for topic, text in TOPICS.items():
        for word in WORDS * 2:
            labels = {name: int(name == topic) for name in SCORED if topic != leave_out}
            number = len(lines)
            row = {"text": f"{text.format(word)}, {number}", "source": topic, "labels": labels}
            lines.append(json.dumps(row))
    file.write_text("\n".join(lines) + "\n")


def _train(data: Path, *, out: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moderation.train", "--data", data, "--out", out, "--cache", cache],
        capture_output=True,
        text=True,
        check=False,
    )


def test_fitted_heads_find_their_topics_and_two_fits_are_the_same(tmp_path: Path) -> None:
    data, out, again = tmp_path / "rows.jsonl", tmp_path / "heads.json", tmp_path / "again.json"
    _write(data)
    result = _train(data, out=out, cache=tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)["categories"]
    assert all(figures["test"]["auc"] > 0.95 for figures in report.values())
    scores = load(ModerationSettings(heads=out)).score("the pink violin concerto of the orchestra")
    assert scores["hate"] > 0.5 > max(scores[name] for name in SCORED if name != "hate")
    assert _train(data, out=again, cache=tmp_path / "cache").returncode == 0
    assert out.read_bytes() == again.read_bytes()
    _judge(data, heads=out)


def _judge(data: Path, *, heads: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "moderation.evaluate", data],
        env={"HONE_MODERATION_HEADS": str(heads)},
        capture_output=True,
        text=True,
        check=True,
    )
    figures = json.loads(result.stdout)["categories"]
    kept = json.loads(heads.read_bytes())["report"]["categories"]
    assert set(figures) == set(SCORED)
    # The same split without our own texts: the same positives, judged by the shipped path.
    for name in SCORED:
        assert figures[name]["positives"] == kept[name]["test"]["positives"]
        assert figures[name]["recall"] == kept[name]["test"]["recall"]


def test_a_category_without_positives_is_refused_by_name(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    _write(data, leave_out="sexual")
    result = _train(data, out=tmp_path / "heads.json", cache=tmp_path / "cache")
    assert result.returncode == 1
    assert result.stderr.startswith("sexual: the train split needs")
    assert not (tmp_path / "heads.json").exists()
