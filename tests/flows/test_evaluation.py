"""`hone evaluate` through a real vLLM: an engine of its own, and a gateway that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.flows.conftest import Stack
from tests.tiny_model import write_tiny_model
from training import models
from training.config import load_recipe
from training.models import POLICY

pytestmark = pytest.mark.slow

TOXICITY = {"toxicity/respectful_flagged", "toxicity/biased_score"}
TRUTHFULQA = {"truthfulqa/truthful", "truthfulqa/mc2"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("eval", "moderation"):
        (folder / name).mkdir()
    questions = [f"What is {i}?,It is {i},It is {i}; {i},It is not; No\n" for i in range(6)]
    (folder / "eval/truthfulqa.csv").write_text(
        "Question,Best Answer,Correct Answers,Incorrect Answers\n" + "".join(questions)
    )
    rows = [{"prompt": {"text": f"So number {i} went to"}} for i in range(6)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"prompt": f"Say {i}."} for i in range(6)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def evaluated(data: Path, out: Path, *words: object) -> dict[str, Any]:
    """The report."""
    command = [sys.executable, "-m", "training", "evaluate", *map(str, words)]
    command += ["--data", str(data), "--toxicity-prompts", str(data / "prompts.jsonl")]
    command += ["--suite", "toxicity", "--count", "4", "--json"]
    run = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=400, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def measured(report: dict[str, Any], label: str) -> set[str]:
    return {row["measure"] for row in report["rows"] if label in row["cells"]}


def test_a_model_and_an_adapter_over_it_answer_on_one_engine(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    pytest.importorskip("onnxruntime", reason="no extra `moderation`")
    tiny_model = write_tiny_model(tmp_path / "tiny", num_positions=2048)  # a token is a byte
    model = models.load(
        tiny_model,
        recipe=load_recipe("tiny").model,
        names=[POLICY],
        device=torch.device("cpu"),
        seed=0,
    )
    state = {name: tensor + 0.3 for name, tensor in model.state(POLICY).items()}
    model.save(POLICY, tmp_path / "adapter", state=state)
    out = tmp_path / "out"
    words = [
        f"base={tiny_model}",
        f"ppo={tmp_path / 'adapter'}",
        "--base",
        tiny_model,
        "--prompted",
    ]
    words += ["--suite", "truthfulqa", "--suite", "preference", "--prompts", data / "asked.jsonl"]
    report = evaluated(data, out, *words)
    for label in ("base", "base+prompt", "ppo"):
        assert measured(report, label) >= TOXICITY | TRUTHFULQA
        kept = json.loads((out / "measured" / label / "preference.json").read_text())
        assert [len(sample["answers"]) for sample in kept["samples"]] == [4] * 4
    said = [
        json.loads((out / "measured" / label / "truthfulqa.json").read_text())["samples"]
        for label in ("base", "ppo")
    ]
    assert [one["prompt"] for one in said[0]] == [one["prompt"] for one in said[1]]
    assert said[0] != said[1]  # the adapter answered, not its base
    assert not any("\n" in one["answer"] for each in said for one in each)


def test_an_alias_answers_through_the_gateway(data: Path, stack: Stack, tmp_path: Path) -> None:
    report = evaluated(
        data, tmp_path / "out", "production", "--url", stack.url, "--stack", stack.folder
    )
    assert measured(report, "policy-0000") >= TOXICITY
    assert report["policies"][0]["version"] == "policy-0000"
    assert any("through the gateway" in note for note in report["notes"])
