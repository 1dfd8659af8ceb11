from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from feedback.errors import Unprocessable
from moderation.categories import SCORED
from moderation.classifier import Classifier
from moderation.scoring import scored_lines

ROWS = [
    {"id": 7, "text": "How do I bake bread?"},
    {"text": "I am going to stab him to death tomorrow. " * 20, "label": {"x": None}},
    {"text": "", "id": "é😀"},
]


def _lines() -> list[bytes]:
    return [json.dumps(row).encode() + b"\n" for row in ROWS]


def test_order_and_other_fields_are_kept(classifier: Classifier) -> None:
    found = [
        json.loads(line) for line in scored_lines([*_lines(), b"\n"], scorer=classifier, name="f")
    ]
    assert [{name: row[name] for name in row if name != "scores"} for row in found] == ROWS
    assert all(set(row["scores"]) == set(SCORED) for row in found)
    assert found[1]["scores"]["violence"] > 0.5 > found[0]["scores"]["violence"]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"text": 3}', b'{"id": 1}', b"\xff"])
def test_a_wrong_line_is_named(classifier: Classifier, line: bytes) -> None:
    with pytest.raises(Unprocessable, match="f, line 4"):
        list(scored_lines([*_lines(), line], scorer=classifier, name="f"))


def test_the_command_reads_a_file_or_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"".join(_lines()))
    command = [sys.executable, "-m", "training", "moderation", "score"]
    by_name = subprocess.run([*command, file], capture_output=True, check=True)
    by_input = subprocess.run(
        [*command, "-"], input=file.read_bytes(), capture_output=True, check=True
    )
    assert by_name.stdout == by_input.stdout
    assert by_name.stdout.count(b"\n") == len(ROWS)
    wrong = subprocess.run([*command, "-"], input=b"{", capture_output=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(b"error: -, line 1: not JSON")
