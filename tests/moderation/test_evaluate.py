from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from moderation import evaluate
from moderation.classifier import Classifier
from moderation.dataset import Row
from moderation.obfuscation import STYLES

COMMAND = [sys.executable, "-m", "training", "moderation", "evaluate"]

ROWS = [
    Row(text=text, source=source, labels={"hate": hate})
    for text, source, hate in [
        ("I hate those immigrants, they are vermin.", "hatecheck", 1),
        ("Women are stupid and should never vote.", "hatecheck", 1),
        ("My neighbor is a woman.", "hatecheck", 0),
        ("Immigrants opened the bakery.", "madlibs", 0),
        ("The bread is warm.", "other", 0),
    ]
]


def test_a_report_has_areas_identity_obfuscation_and_peers(classifier: Classifier) -> None:
    report = evaluate.evaluate(classifier, rows=ROWS)
    assert set(report["categories"]) == {"hate"}
    assert report["categories"]["hate"]["auroc"] == 1.0
    assert report["identity"]["madlibs"]["num_texts"] == 1
    assert set(report["obfuscation"]["hate"]) == {"plain", *STYLES}
    assert set(report["peers"]) == {"alt-profanity-check", "hatesonar"}


def test_benign_lines_are_counted_and_the_flagged_ones_shown(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("How do I bake bread?\n\nI am going to stab him to death tomorrow.\n")
    report = json.loads(subprocess.check_output([*COMMAND, str(file)]))
    assert report["num_texts"] == 2
    assert report["flagged_share"] == 0.5
    assert "violence" in report["flagged"]["I am going to stab him to death tomorrow."]


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    command = [*COMMAND, str(tmp_path / "absent.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "absent.txt" in result.stderr
    assert "Traceback" not in result.stderr
