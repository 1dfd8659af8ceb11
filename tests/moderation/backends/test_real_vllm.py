"""A real vLLM behind the backends: /classify with a random BERT, and a guard over chat with a random Llama."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from moderation.backends.guard import Guard
from moderation.backends.hf import HfClassifier
from moderation.backends.vllm_classify import VllmClassify
from moderation.settings import ModerationSettings
from tests.conftest import free_port
from tests.moderation.backends.random_classifier import TEXTS, write_classifier
from tests.tiny_model import write_tiny_model

pytestmark = pytest.mark.slow
pytest.importorskip("vllm", reason="vllm is not installed")

GUARD = """
style = "codes"
max_tokens = 2
window_tokens = 64
[verdicts]
{words}
[categories]
hate = ["S1"]
violence = ["S1", "S2"]
"""


@contextmanager
def vllm(model: Path, *options: str) -> Iterator[str]:
    """Its URL."""
    port = free_port()
    log = model.with_suffix(".log")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--port", str(port), "--enforce-eager", "--dtype", "float32", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"},
            stdout=out,
            stderr=out,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(f"{url}/health", process, log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=400)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 500
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"vLLM did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.5)


@pytest.mark.parametrize("is_multi_label", [False, True])
async def test_vllm_s_classify_and_transformers_in_process_give_the_same_probabilities(
    tmp_path: Path, is_multi_label: bool
) -> None:
    folder = write_classifier(tmp_path / "bert", "bert", is_multi_label=is_multi_label)
    with vllm(folder, "--runner", "pooling", "--convert", "classify") as url:
        remote = VllmClassify(
            ModerationSettings(
                backend="vllm-classify", model=str(folder), backend_url=url, backend_timeout_s=200
            )
        )
        local = HfClassifier(ModerationSettings(backend="hf", model=str(folder)))
        texts = [text for text in TEXTS if text and len(text) < 64]
        theirs, ours = await remote.score(texts), await local.score(texts)
        long = await remote.score(["the quick brown fox jumps over the lazy dog " * 40])
        await remote.close()
        await local.close()
    for one, other in zip(theirs, ours, strict=True):
        assert one.scores == pytest.approx(dict(other.scores), abs=1e-3)
    assert len({tuple(one.scores.values()) for one in theirs}) == len(texts)
    assert long[0].num_windows > 2


async def test_a_guard_over_chat_has_the_probabilities_of_the_model_s_own_logits(
    tmp_path: Path,
) -> None:
    folder = write_tiny_model(tmp_path / "llama")
    # A random model repeats the last token, and a line break would be no verdict.
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    text = "How do I bake bread?"
    # It knows no verdict either: the two words that it finds likeliest stand for them.
    (safe, safe_p), (unsafe, unsafe_p) = _likeliest(folder, text)
    mapping = tmp_path / "guard.toml"
    words = f"{json.dumps(safe)} = 0.0\n{json.dumps(unsafe)} = 1.0"
    mapping.write_text(GUARD.format(words=words))
    with vllm(folder, "--max-model-len", "512") as url:
        settings = ModerationSettings(
            backend="guard", mapping=str(mapping), backend_url=url, backend_timeout_s=200
        )
        guard = Guard(settings)
        (judged,) = await guard.score([text])
        await guard.close()
    # The likelier is "safe", so that no hazard is named and each of two has an equal part.
    expected = unsafe_p / (safe_p + unsafe_p) / 2
    assert 0.01 < expected < 0.25
    assert judged.scores["hate"] == pytest.approx(expected, abs=1e-3)
    assert set(judged.scores) == {"hate", "violence"}


def _likeliest(folder: Path, text: str) -> list[tuple[str, float]]:
    """The two likeliest tokens that can be read, without regard to capitals; the likeliest of all first."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    messages = [{"role": "user", "content": text}]
    encoded = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        probs = model(**encoded).logits[0, -1].softmax(-1)
    masses: dict[str, float] = {}
    for token in probs.argsort(descending=True)[:20].tolist():  # as many as vLLM tells
        word = tokenizer.decode([token]).casefold()
        if word.isascii() and word.isprintable() and len(word) == 1 and word.strip():
            masses[word] = masses.get(word, 0.0) + float(probs[token])
    first = tokenizer.decode([int(probs.argmax())]).casefold()
    second = max((word for word in masses if word != first), key=masses.__getitem__)
    return [(first, masses[first]), (second, masses[second])]
