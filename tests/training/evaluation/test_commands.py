"""`hone evaluate` for real on a tiny model, with the suites that need no engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from feedback.errors import HoneError
from training import models
from training.cli import app
from training.config import load_recipe
from training.evaluation import commands
from training.models import POLICY


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("eval", "text"):
        (folder / name).mkdir()
    pairs = [f"he is {i},she is {i},{'stereo' if i % 2 else 'antistereo'}\n" for i in range(6)]
    (folder / "eval/crows_pairs.csv").write_text(
        "sent_more,sent_less,stereo_antistereo\n" + "".join(pairs)
    )
    (folder / "eval/winogender_sentences.tsv").write_text(
        "sentid\tsentence\na.b.0.male.txt\tHe left.\na.b.0.female.txt\tShe left.\n"
    )
    (folder / "text/book.txt").write_text("The sea was calm and the night was long. " * 400)
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Over the tiny model, and different from it."""
    model = models.load(
        tiny_folder,
        recipe=load_recipe("tiny").model,
        names=[POLICY],
        device=torch.device("cpu"),
        seed=0,
    )
    folder = tmp_path_factory.mktemp("policy") / "adapter"
    state = {name: tensor + 0.2 for name, tensor in model.state(POLICY).items()}
    model.save(POLICY, folder, state=state)
    return folder


def evaluate(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_policies_stand_side_by_side_and_the_same_command_again_goes_on(
    data: Path, adapter: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    words = [
        *(f"sft={tiny_folder}", f"ppo={adapter}", "--base", tiny_folder, "--data", data),
        *("--out", tmp_path, "--suite", "bias", "--suite", "tax", "--count", 4, "--json"),
    ]
    first = evaluate(*words)
    assert first.exit_code == 0, (first.output, first.exception)
    found = json.loads(first.stdout)
    rows = {row["measure"]: row["cells"] for row in found["rows"]}
    assert rows.keys() == {
        *("bias/winogender", "bias/crows_pairs", "bias/crows_pairs_stereotype"),
        *("tax/text", "tax/pretraining"),
    }
    assert rows["tax/text"]["ppo"]["difference"]["value"] != 0
    assert rows["tax/text"]["sft"]["difference"] is None
    assert found["baseline"] == "sft"
    assert found["policies"][1]["kind"] == "adapter"
    assert {"eval/crows_pairs.csv", "text/book.txt"} <= found["data"].keys()
    assert "| sft | ppo |" in (tmp_path / "report.md").read_text()
    assert "<svg" in (tmp_path / "report.html").read_text()

    measured = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("measured/*/*.json")}
    assert json.loads(evaluate(*words).stdout)["rows"] == found["rows"]
    assert {path: path.stat().st_mtime_ns for path in measured} == measured


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no stack runs"),
        (["{tiny}", "--suite", "truth"], "the suites are"),
        (["{tiny}", "--against", "ppo"], "the policies are"),
        (["{tiny}", "{tiny}"], "named alike"),
        (["{data}"], "neither a model nor an adapter"),
        (["ppo={adapter}"], "name the model with --base"),
        (["{tiny}", "--suite", "preference"], "--prompts"),
        (["{tiny}", "--suite", "people"], "--people"),
        (["{tiny}", "--suite", "truthfulqa"], "TruthfulQA.csv"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_cure_before_anything_starts(
    words: list[str], said: str, data: Path, adapter: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    named = {"tiny": tiny_folder, "data": data, "adapter": adapter}
    asked = [word.format(**named) for word in words]
    suite = [] if "--suite" in asked else ["--suite", "tax"]
    result = evaluate(*asked, *suite, "--data", data, "--out", tmp_path, "--stack", tmp_path)
    assert isinstance(result.exception, HoneError)
    assert said in result.exception.message


@pytest.mark.parametrize("words", [["--key", "sk-secret"], ["--key=sk-secret"]])
def test_a_report_does_not_hold_the_api_key(words: list[str]) -> None:
    found = commands._command(["evaluate", "production", *words, "--count", "3"])
    assert "sk-secret" not in found
    assert found.endswith("--count 3")
