"""Steps as the worker runs them: processes of their own, killed and started again."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.labeling.known_answers import KnownAnswer
from feedback.labeling.labelers import Labeler
from serving import artifact
from tests.feedback.snapshots import log
from tests.serving.fake_engine import TOKEN
from tests.serving.fake_moderation import FakeModeration
from tests.training.given_round import with_full_weights, write_round, write_rows
from tests.training.torch_engine import TorchEngine
from training.config import RECIPES, load_recipe
from training.contest import INSTRUCTIONS
from training.worker import EXIT_FINAL, step_command

TINY = load_recipe("tiny")


@pytest.fixture
def engine(tiny_folder: Path) -> Iterator[TorchEngine]:
    served = TorchEngine(tiny_folder, recipe=TINY.model)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def moderation() -> Iterator[FakeModeration]:
    served = FakeModeration()
    served.start()
    yield served
    served.stop()


@pytest.fixture
def round_dir(tmp_path: Path, tiny_folder: Path) -> Path:
    recipe = tmp_path / "short.toml"
    text = (RECIPES / "tiny.toml").read_text()
    recipe.write_text(text.replace("learning_rate = 3e-3", "learning_rate = 1e-2"))
    return write_round(tmp_path / "round-0001", base_model=tiny_folder, recipe=recipe)


def start(
    step: str, round_dir: Path, *, num_processes: int = 1, **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        step_command(step, round_dir, num_processes=num_processes),
        env=os.environ
        | {"HONE_SERVING_ENGINE_TOKEN": TOKEN, "HONE_TRAINING_DEVICE": "cpu"}
        | {"HONE_TRAINING_THREADS": "1"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(child: subprocess.Popen[str]) -> int:
    output, _ = child.communicate(timeout=400)
    print(output)  # noqa: T201 (shown when the test fails)
    return child.returncode


def kill_after(child: subprocess.Popen[str], round_dir: Path, *, step: str, iteration: int) -> None:
    """kill -9 as soon as the curve has a line of that iteration."""
    deadline = time.monotonic() + 60
    while not any(i >= iteration for i in iterations(round_dir, step)):
        assert child.poll() is None, finish(child)
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()


def iterations(round_dir: Path, step: str) -> list[int]:
    path = round_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row["iteration"] for row in rows if row["step"] == step]


def test_a_reward_model_killed_half_way_is_finished_by_the_next_process(round_dir: Path) -> None:
    kill_after(start("reward", round_dir), round_dir, step="reward", iteration=3)
    assert not (round_dir / "reward" / "DONE").exists()
    assert finish(start("reward", round_dir)) == 0
    assert (round_dir / "reward" / "DONE").exists()
    assert set(Counter(iterations(round_dir, "reward")).values()) == {1}
    report = json.loads((round_dir / "reward" / "report.json").read_text())
    assert report["accuracy"]["value"] > 0.8
    assert (report["train_rankings"], report["heldout_comparisons"]) == (48, 24 * 6)
    saved = json.loads((round_dir / "recipe.json").read_text())
    assert saved["reward"]["learning_rate"] == 1e-2


def test_ppo_is_killed_and_goes_on_and_the_gate_judges_what_it_made(
    round_dir: Path, engine: TorchEngine, moderation: FakeModeration, redis_url: str
) -> None:
    plan = json.loads((round_dir / "round.json").read_text())
    (round_dir / "round.json").write_text(json.dumps(plan | {"engine_urls": [engine.url]}))
    recipe = Path(plan["recipe"])
    recipe.write_text(recipe.read_text().replace("reward = false", "reward = true"))
    environment = {
        "HONE_SERVING_MODERATION_URL": moderation.url,
        "HONE_FEEDBACK_REDIS_URL": redis_url,
    }
    assert finish(start("reward", round_dir)) == 0

    kill_after(start("ppo", round_dir, **environment), round_dir, step="ppo", iteration=0)
    assert len(engine.loaded) > 1  # what the killed process left on the engine
    assert finish(start("ppo", round_dir, **environment)) == 0
    assert iterations(round_dir, "ppo") == list(range(TINY.ppo.iterations))
    assert set(engine.loaded) == {"policy-0000"}
    assert len(set(engine.seen)) == len(engine.seen)  # no name twice, not after a kill either

    candidate = artifact.verify(
        round_dir / "ppo" / "candidate", digest=None, base_model=Path(plan["base_model"])
    )
    code = finish(start("gate", round_dir, **environment))
    report = json.loads((round_dir / "gate" / "report.json").read_text())
    assert report["digest"] == candidate.digest
    assert code == (0 if report["passed"] else 3)
    assert (round_dir / "gate" / "DONE").exists() == report["passed"]
    assert len(report["samples"]) == TINY.gate.num_shown
    num_asked = TINY.gate.num_prompts + len(INSTRUCTIONS) * TINY.gate.instructed_prompts
    assert len(moderation.inputs) == 2 * num_asked * TINY.gate.samples_per_prompt
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["engine_gap_nats"]["value"] < 1e-3  # the engine answered with what was trained
    assert (
        checks["kl_incumbent_nats"]["value"] == checks["kl_nats"]["value"]
    )  # the base answers now
    assert set(engine.loaded) == {"policy-0000"}
    check_figures_again(round_dir, {name: check["value"] for name, check in checks.items()})
    for check in checks.values():
        assert (round_dir / check["evidence"]).is_file(), check


def check_figures_again(round_dir: Path, figures: dict[str, float]) -> None:
    """What the gate was told follows from the files that its checks name."""
    rows = read_rows(round_dir / "gate" / "answers.jsonl")
    assert len(rows) == 2 * TINY.gate.samples_per_prompt * (
        TINY.gate.num_prompts + len(INSTRUCTIONS) * TINY.gate.instructed_prompts
    )
    ours, theirs = (
        [r for r in rows if (r["policy"], r["instruction"]) == (policy, "plain")]
        for policy in ("candidate", "incumbent")
    )

    def won(column: str) -> float:
        pairs = [(a, b) for a in ours for b in theirs if a["prompt_id"] == b["prompt_id"]]
        wins = [(a[column] > b[column]) + 0.5 * (a[column] == b[column]) for a, b in pairs]
        return sum(wins) / len(wins)

    assert figures["win_rate"] == pytest.approx(won("score"))
    assert figures["independent_win_rate"] == pytest.approx(won("independent_score"))
    assert figures["proxy_gap"] == pytest.approx(won("score") - won("independent_score"))
    kl = [row["policy_nats"] - row["reference_nats"] for row in ours]
    assert figures["kl_nats"] == pytest.approx(sum(kl) / len(kl))
    texts = read_rows(round_dir / "gate" / "pretraining.jsonl")
    nats = sum(row["candidate_nats"] - row["reference_nats"] for row in texts)
    ratio = math.exp(nats / sum(row["tokens"] for row in texts))
    assert figures["perplexity_ratio"] == pytest.approx(ratio)
    for name, path in (
        ("reward_accuracy", "reward/heldout.jsonl"),
        ("independent_accuracy", "independent/judged.jsonl"),
    ):
        judged = read_rows(round_dir / path)
        assert figures[name] == pytest.approx(share_right(judged))


def share_right(judged: list[dict[str, Any]]) -> float:
    right = [
        (row["scores"][a] > row["scores"][b]) + 0.5 * (row["scores"][a] == row["scores"][b])
        for row in judged
        for a, b in permutations(range(len(row["ranks"])), 2)
        if row["ranks"][a] < row["ranks"][b]
    ]
    return sum(right) / len(right)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_full_weights_train_in_two_processes_and_the_gate_judges_a_whole_model(
    round_dir: Path, tiny_folder: Path, moderation: FakeModeration, redis_url: str
) -> None:
    plan = json.loads((round_dir / "round.json").read_text())
    recipe = Path(plan["recipe"])
    recipe.write_text(with_full_weights(recipe.read_text()))
    engine = TorchEngine(tiny_folder, recipe=load_recipe(str(recipe)).model)
    engine.start()
    environment = {
        "HONE_SERVING_MODERATION_URL": moderation.url,
        "HONE_FEEDBACK_REDIS_URL": redis_url,
        "HONE_TRAINING_ROLLOUT_ENGINE_URLS": json.dumps([engine.url]),
    }
    try:
        assert finish(start("reward", round_dir, num_processes=2)) == 0
        assert finish(start("ppo", round_dir, num_processes=2, **environment)) == 0
        assert iterations(round_dir, "ppo") == list(range(TINY.ppo.iterations))
        code = finish(start("gate", round_dir, **environment))
    finally:
        engine.stop()
    candidate = round_dir / "ppo" / "candidate"
    assert artifact.verify(candidate, digest=None, base_model=tiny_folder).kind == "full"
    assert not torch.equal(*(embedding(folder) for folder in (candidate, tiny_folder)))
    report = json.loads((round_dir / "gate" / "report.json").read_text())
    assert code == (0 if report["passed"] else 3)


def embedding(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")["model.embed_tokens.weight"]


def test_a_step_that_is_done_exits_at_once(round_dir: Path) -> None:
    (round_dir / "reward").mkdir()
    (round_dir / "reward" / "DONE").write_text("")
    assert finish(start("reward", round_dir)) == 0
    assert not (round_dir / "reward" / "report.json").exists()


def test_a_snapshot_weighs_labelers_by_what_they_prove_to_know(
    round_dir: Path, redis_url: str
) -> None:
    shutil.rmtree(round_dir / "snapshot")
    client = connect(redis_url)
    for name in ("lab_anna", "lab_carl"):
        record = Labeler(
            id=name, name=name, tenant="t", status="active", is_heldout=False, created=0.0
        )
        client.hset(keys.LABELERS, name, orjson.dumps(asdict(record)))
    for number in range(1, 31):
        eventlog.append(client, log.completion(number))
        known = KnownAnswer(
            completion_id=f"chatcmpl-{number}",
            tenant="t",
            tiers=[[0], [1], [2]],
            added=0.0,
            by="op",
        )
        if number > 1:
            client.hset(keys.KNOWN_ANSWERS, known.completion_id, orjson.dumps(asdict(known)))
        right, wrong = (["a"], ["b"], ["c"]), (["c"], ["b"], ["a"])
        for name, tiers in (("lab_anna", right), ("lab_carl", wrong)):
            eventlog.append(client, log.ranking(number, *tiers, labeler=name, source="labeler"))
    assert finish(start("snapshot", round_dir, HONE_FEEDBACK_REDIS_URL=redis_url)) == 0
    rows = log.rows(round_dir / "snapshot", "rankings")
    assert [(row["labeler"], row["weight"]) for row in rows] == [("lab_anna", 1.0)]


def test_a_snapshot_without_a_winner_fails_with_one_clear_line(round_dir: Path) -> None:
    write_rows(round_dir / "snapshot" / "rankings.jsonl", [])
    child = start("reward", round_dir)
    output, _ = child.communicate(timeout=400)
    assert child.returncode == EXIT_FINAL  # once more would be the same
    assert "collect more judgements" in output.splitlines()[-1]


def test_a_step_dies_with_the_worker_that_started_it(round_dir: Path) -> None:
    command = [sys.executable, "-m", "training.step", "reward", "--round-dir", str(round_dir)]
    worker = (
        "import subprocess, sys, time; child = subprocess.Popen(sys.argv[1:]);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", worker, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    deadline = time.monotonic() + 30
    while not (round_dir / "recipe.json").exists():  # the child is past its first lines
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while Path(f"/proc/{pid}/stat").exists() and not _is_zombie(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not (round_dir / "reward" / "DONE").exists()  # killed, not finished


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
