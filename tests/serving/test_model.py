"""The default model is unpacked for real, once for the whole file (half a minute)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.stack import model
from serving.stack.preflight import CannotStart


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, int, str]]]:
    """The default model's folder, and the progress that was told."""
    told: list[tuple[int, int, str]] = []
    folder = model.prepare(
        None, data_dir=tmp_path_factory.mktemp("hone"), progress=lambda *step: told.append(step)
    )
    return folder, told


def test_the_default_model_is_whole_bf16_and_says_how_far_it_is(
    unpacked: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    folder, told = unpacked
    config = json.loads((folder / "config.json").read_text())
    assert model.is_made(folder)
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config
    assert 260e6 < model.num_weight_bytes(folder) < 280e6
    assert [step for step, _, _ in told] == list(range(6))


def test_it_speaks_in_turns_and_ends_them_with_a_token_of_its_own(
    unpacked: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(unpacked[0])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    # As SmolLM2 was trained: every digit by itself, and the space before it too.
    assert tokenizer.tokenize("in  2026") == ["in", "ĠĠ", "2", "0", "2", "6"]


def test_what_was_unpacked_answers_a_question(
    unpacked: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(unpacked[0])
    policy = AutoModelForCausalLM.from_pretrained(unpacked[0])
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = policy.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0][inputs["input_ids"].shape[1] :])


def test_a_second_time_nothing_is_done(
    unpacked: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    told: list[object] = []
    folder = unpacked[0]
    again = model.prepare(
        None, data_dir=folder.parent.parent, progress=lambda *step: told.append(step)
    )
    assert again == folder
    assert told == []


def test_unpacking_that_was_killed_leaves_no_model_and_is_done_again(tmp_path: Path) -> None:
    target = tmp_path / "models" / "m"
    command = [sys.executable, "-m", "serving.stack.model", "unpack", "--to", str(target)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob(".m.partial")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert list(tmp_path.rglob(".m.partial")) != []
    assert not target.exists()
    assert not model.is_made(target)


def test_a_folder_of_a_person_s_own_is_used_as_it_is(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    found = model.prepare(str(tmp_path), data_dir=tmp_path / "data", progress=lambda *_: None)
    assert found == tmp_path
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("missing", "cure"),
    [
        ("config.json", "folder of a transformers model"),
        ("model.safetensors", "save_pretrained"),
        ("tokenizer.json", "save the model's tokenizer"),
    ],
)
def test_a_folder_that_lacks_something_is_refused_with_the_cure(
    tmp_path: Path, missing: str, cure: str
) -> None:
    for name in {"config.json", "model.safetensors", "tokenizer.json"} - {missing}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(CannotStart, match=cure):
        model.prepare(str(tmp_path), data_dir=tmp_path, progress=lambda *_: None)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "justaname"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotStart, match="owner/name"):
        model.prepare(name, data_dir=tmp_path, progress=lambda *_: None)


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CannotStart, match=r"the model could not be made \(download no/such\)"):
        model.prepare("no/such", data_dir=tmp_path, progress=lambda *_: None)
    assert not (tmp_path / "models" / "no--such").exists()


def test_an_init_step_is_told_where_the_model_is_and_does_not_make_it_twice(
    unpacked: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    folder, _ = unpacked
    run = CliRunner().invoke(app, ["model", "prepare", "--data", str(folder.parent.parent)])
    assert run.exit_code == 0
    assert run.stdout.splitlines() == [str(folder.resolve())]
    assert run.stderr == ""


def test_a_model_that_is_no_hub_name_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="owner/name"):
        CliRunner().invoke(
            app, ["model", "prepare", "gpt2", "--data", str(tmp_path)], catch_exceptions=False
        )
