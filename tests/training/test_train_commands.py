"""`hone train …` for real, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from feedback.errors import HoneError
from tests.serving.fake_engine import TOKEN
from tests.training.test_preferences import write
from tests.training.torch_engine import TorchEngine
from training import models
from training.cli import app
from training.config import RECIPES, load_recipe
from training.data import all_rankings, usable
from training.models import REWARD
from training.reward import load_into, score_groups
from training.reward_report import judged
from training.texts import Texts


@pytest.fixture
def hone(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", TOKEN)
    monkeypatch.setenv("HONE_TRAINING_DEVICE", "cpu")
    monkeypatch.setenv("HONE_TRAINING_THREADS", "1")
    return CliRunner()


@pytest.fixture(scope="module")
def engine(tiny_folder: Path) -> Iterator[TorchEngine]:
    served = TorchEngine(tiny_folder, recipe=load_recipe("tiny").model)
    served.start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody likes the letter a."""
    rows = [
        {"prompt": f"Say {i}.", "chosen": "aaa " * (1 + i % 3), "rejected": "zz " * (1 + i % 4)}
        for i in range(64)
    ]
    return write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", *rows)


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"prompt": f"Say {i}.", "completion": "aaa"} for i in range(40)]
    return write(tmp_path_factory.mktemp("demonstrations") / "demonstrations.jsonl", *rows)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `tiny`, with a reward model that can be exported."""
    path = tmp_path_factory.mktemp("recipe") / "last.toml"
    text = (RECIPES / "tiny.toml").read_text().replace('readout = "mean"', 'readout = "last"')
    path.write_text(text.replace("learning_rate = 3e-3", "learning_rate = 1e-2"))
    return path


@pytest.fixture(scope="module")
def reward(
    pairs: Path, recipe: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """--out of a `hone train rm`."""
    out = tmp_path_factory.mktemp("rm") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_TRAINING_DEVICE", "cpu")
        patch.setenv("HONE_TRAINING_THREADS", "1")
        report = asked(CliRunner(), "rm", data=pairs, model=tiny_folder, recipe=recipe, out=out)
    assert report["train_rankings"] + report["heldout_rankings"] == 64
    assert report["accuracy"]["value"] > 0.8
    return out


def arguments(command: str, **options: Any) -> list[str]:
    words = ["train", command]
    for name, value in ({"recipe": "tiny"} | options).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def asked(hone: CliRunner, command: str, **options: Any) -> dict[str, Any]:
    """The report."""
    result = hone.invoke(app, [*arguments(command, **options), "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def iterations(out: Path) -> list[int]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["iteration"] for line in lines]


def test_the_same_command_again_is_done_but_for_what_is_new(
    hone: CliRunner, reward: Path, pairs: Path, recipe: Path, tiny_folder: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    lines = (reward / "metrics.jsonl").read_text()
    words = arguments("rm", data=pairs, model=tiny_folder, recipe=recipe, out=reward, folds=2)
    result = hone.invoke(app, [*words, "--export", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    again = json.loads(result.stdout)
    folds, export = again.pop("folds"), again.pop("export")
    assert len(folds["folds"]) == 2
    assert folds["in_group"]["value"] > 0.8
    assert folds["held_out_group"] is None  # nobody knows who judged
    assert AutoModelForSequenceClassification.from_pretrained(export["model"]).num_labels == 1
    assert again == json.loads((reward / "reward" / "report.json").read_text())
    assert (reward / "metrics.jsonl").read_text().startswith(lines)


@pytest.mark.parametrize("changed", ["data", "recipe", "seed"])
def test_a_folder_that_holds_something_else_is_refused(
    hone: CliRunner,
    reward: Path,
    pairs: Path,
    recipe: Path,
    tiny_folder: Path,
    tmp_path: Path,
    changed: str,
) -> None:
    data = write(tmp_path / "more.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"})
    wanted = {"data": pairs, "model": tiny_folder, "recipe": recipe, "out": reward}
    other = {"data": data, "recipe": "tiny", "seed": 1}[changed]
    result = hone.invoke(app, arguments("rm", **wanted | {changed: other}))
    assert isinstance(result.exception, HoneError)
    assert f"a run with another {changed}; name another --out" in result.exception.message


def test_sft_writes_a_model_and_the_reward_model_chooses_the_epoch(
    hone: CliRunner,
    reward: Path,
    demonstrations: Path,
    tiny_folder: Path,
    engine: TorchEngine,
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    report = asked(
        hone,
        "sft",
        data=demonstrations,
        model=tiny_folder,
        out=tmp_path / "out",
        reward=reward,
        engine=engine.url,
    )
    epochs = load_recipe("tiny").sft.epochs
    assert len(report["scores"]) == len(report["heldout_loss"]) == epochs
    assert report["epoch"] == 1 + report["scores"].index(max(report["scores"]))
    assert report["heldout_loss"][-1] < report["heldout_loss"][0]
    assert AutoModelForCausalLM.from_pretrained(report["model"]).config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(report["model"]).chat_template
    assert set(engine.loaded) == {"policy-0000"}  # nothing is left behind


def test_ppo_trains_on_the_prompts_and_shows_what_was_said(
    hone: CliRunner,
    reward: Path,
    recipe: Path,
    pairs: Path,
    tiny_folder: Path,
    engine: TorchEngine,
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForCausalLM

    out = tmp_path / "out"
    wanted = {"data": pairs, "model": tiny_folder, "out": out, "reward": reward, "recipe": recipe}
    result = hone.invoke(app, arguments("ppo", engine=engine.url, **wanted))
    assert result.exit_code == 0, (result.output, result.exception)
    num = load_recipe("tiny").ppo.iterations
    assert iterations(out) == list(range(num))
    merged = AutoModelForCausalLM.from_pretrained(out / "ppo" / "model")
    assert merged.config.model_type == "llama"
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sample["iteration"] for sample in samples] == [i for i in range(num) for _ in range(2)]
    for sample in samples:
        assert sample["prompt"].startswith("Say ")
        assert f"[{sample['iteration']}] score {sample['score']:.2f}, KL" in result.stderr
    assert re.search(rf"^iterations +{num}$", result.stdout, flags=re.MULTILINE)
    assert set(engine.loaded) == {"policy-0000"}


@pytest.mark.slow
def test_ppo_starts_an_engine_where_none_is_named_and_stops_it(
    hone: CliRunner, reward: Path, pairs: Path, recipe: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wanted = {"data": pairs, "model": tiny_folder, "reward": reward, "recipe": recipe}
    report = asked(hone, "ppo", out=out, **wanted)
    assert report["iterations"] == load_recipe("tiny").ppo.iterations
    assert report["last"]["ppo/engine_gap_nats"] < 0.1
    (url,) = json.loads((out / "round.json").read_text())["engine_urls"]
    with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
        probe.connect(("127.0.0.1", int(url.rpartition(":")[2])))


@pytest.mark.slow
def test_a_killed_run_goes_on_and_comes_to_the_same(
    hone: CliRunner, demonstrations: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "long.toml"
    text = (
        (RECIPES / "tiny.toml").read_text().replace("checkpoint_every = 2", "checkpoint_every = 3")
    )
    recipe.write_text(text.replace("epochs = 2\n", "epochs = 8\n"))
    wanted = {"data": demonstrations, "model": tiny_folder, "recipe": recipe}
    out = tmp_path / "killed"
    words = arguments("sft", out=out, **wanted)
    child = subprocess.Popen(
        [sys.executable, "-m", "training", *words, "--ppo-init"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while not list(out.glob("ppo_init/state-*")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()

    results = []
    for folder in (out, tmp_path / "whole"):
        result = hone.invoke(app, [*arguments("sft", out=folder, **wanted), "--ppo-init", "--json"])
        assert result.exit_code == 0, (result.output, result.exception)
        results.append(json.loads(result.stdout) | {"model": None})
        assert iterations(folder) == list(range(len(iterations(folder))))
    assert results[0] == results[1]
    weights = [f / "ppo_init" / "model" / "model.safetensors" for f in (out, tmp_path / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to(
    hone: CliRunner, demonstrations: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    losses = []
    for number in (1, 2):
        out = tmp_path / str(number)
        wanted = {"data": demonstrations, "model": tiny_folder, "out": out, "processes": number}
        losses.append(asked(hone, "sft", **wanted)["heldout_loss"])
        assert (out / "sft" / "model" / "model.safetensors").is_file()
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("command", "row", "told"),
    [
        ("sft", {"prompt": "a", "chosen": "b", "rejected": "c"}, "holds no demonstration"),
        ("rm", {"prompt": "a", "completion": "b"}, "holds no comparison"),
        (
            "rm",
            {"prompt": "a", "completions": ["b", "c"], "ranks": [1, 1]},
            "in all 1 comparisons the answers are tied",
        ),
        ("rm", {"prompt": "a", "chosen": "b"}, "1 records are no examples"),
    ],
)
def test_data_that_teach_nothing_are_refused_before_anything_is_loaded(
    hone: CliRunner,
    tiny_folder: Path,
    tmp_path: Path,
    command: str,
    row: dict[str, Any],
    told: str,
) -> None:
    data = write(tmp_path / "rows.jsonl", row)
    wanted = arguments(command, data=data, model=tiny_folder, out=tmp_path / "out")
    result = hone.invoke(app, wanted)
    assert isinstance(result.exception, HoneError)
    assert told in result.exception.message
    assert not (tmp_path / "out" / "train.json").exists()  # mended data may go there


def test_data_that_are_not_there_are_refused_before_a_model_is_made(
    hone: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path / "models"))
    for command in ("sft", "rm"):
        wanted = arguments(command, data="/nowhere", out=tmp_path / "out")
        result = hone.invoke(app, wanted)
        assert "--data /nowhere: there is no such file" in str(result.exception)
    assert not (tmp_path / "models").exists()


def test_calibration_is_said_of_the_scale_that_was_trained(
    reward: Path, recipe: Path, tiny_folder: Path
) -> None:
    report = json.loads((reward / "reward" / "report.json").read_text())
    wanted = load_recipe(str(recipe))
    assert wanted.reward.has_unit_std
    model = models.load(
        tiny_folder, recipe=wanted.model, names=[REWARD], device=torch.device("cpu"), seed=0
    )
    load_into(model, reward / "reward")
    read = all_rankings(reward / "snapshot", split="heldout", texts=Texts(tiny_folder))
    heldout = usable(read, max_tokens=wanted.model.max_sequence_tokens).rankings
    scores = score_groups(model, [r.group for r in heldout], readout="last")
    trained = [[score * report["anchor_std"] for score in of_one] for of_one in scores]
    found = judged(trained, heldout=heldout, train=[])["calibration"]
    assert report["anchor_std"] != pytest.approx(1, rel=0.1)
    for name in ("log_loss", "temperature"):
        assert report["calibration"][name] == pytest.approx(found[name], rel=1e-2), name


def test_data_that_do_not_fit_the_context_end_with_one_clear_line(
    hone: CliRunner, tiny_folder: Path, tmp_path: Path
) -> None:
    data = write(tmp_path / "rows.jsonl", {"prompt": "a" * 500, "completion": "b"})
    out = tmp_path / "out"
    result = hone.invoke(app, arguments("sft", data=data, model=tiny_folder, out=out))
    assert isinstance(result.exception, HoneError)
    assert "model.max_sequence_tokens = 128" in result.exception.message
    assert str(out / "sft.log") in result.exception.message


def test_ppo_wants_a_reward_model_that_is_finished_and_an_engine_s_token(
    hone: CliRunner,
    reward: Path,
    recipe: Path,
    pairs: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted: dict[str, Any] = {"data": pairs, "model": tiny_folder, "out": tmp_path / "out"}
    none = hone.invoke(app, arguments("ppo", reward=tmp_path, **wanted))
    assert "hone train rm --out" in str(none.exception)
    monkeypatch.delenv("HONE_SERVING_ENGINE_TOKEN")
    engine = "http://127.0.0.1:1"
    other = hone.invoke(app, arguments("ppo", reward=reward, engine=engine, **wanted))
    assert "use one recipe for both" in str(other.exception)
    wanted |= {"recipe": recipe}
    refused = hone.invoke(app, arguments("ppo", reward=reward, engine=engine, **wanted))
    assert "HONE_SERVING_ENGINE_TOKEN" in str(refused.exception)


def test_two_commands_do_not_work_on_one_folder(
    hone: CliRunner, pairs: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    from training.standalone import held

    with held(tmp_path):
        result = hone.invoke(app, arguments("rm", data=pairs, model=tiny_folder, out=tmp_path))
    assert "another `hone train` works on" in str(result.exception)
    assert os.listdir(tmp_path) == [".lock"]
