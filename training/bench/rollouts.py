"""`hone bench rollouts`: the trainer's way to its episodes, beside vLLM with nothing around it.

1. Start an engine as `hone up` does, and vLLM alone in a process of its own: the same model, options and
   cores. Both stay up; only one works at a time.
2. In each round, base and adapter: the same prompts with the same seeds, through `EngineRollouts` and by
   `LLM.generate`. A short round before the others warms up.
3. Medians over rounds; the share is taken within each round first, so that a machine that slows down
   does not favour either.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
import typer
from transformers import AutoTokenizer

from feedback.errors import Unavailable
from serving import artifact
from serving.bench.processes import running
from serving.bench.report import machine
from serving.registry import BASE
from serving.stack import parts
from training import models
from training.config import load_recipe
from training.data import choose, read_pretraining
from training.models import POLICY
from training.rollouts import EngineRollouts, Served

MIN_SHARE = 0.9  # DESIGN, section 8
_PROMPT_TOKENS = 32
_WARM_UP_TOKENS = 4
_HTTP, _ALONE = "http", "alone"
_WEIGHTS = _PLAIN, _ADAPTER = "base", "adapter"


@dataclass(frozen=True, kw_only=True)
class Size:
    num_requests: int
    num_tokens: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One batch of answers."""

    tokens: int
    seconds: float
    cpu_s: float  # of every process that worked on it

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def cpu_s_per_token(self) -> float:
        return self.cpu_s / self.tokens


Generate = Callable[[Sequence[tuple[int, ...]], str, int], Sample]  # (prompts, weights, max_tokens)


def run(base: Path, *, size: Size, data_dir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The report. Raises HoneError when an engine does not come up."""
    folder = data_dir.resolve() / "bench-rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    samples = asyncio.run(_measure(base, size, folder, say))
    return {
        "machine": machine(),
        "model": base.name,
        "requests": size.num_requests,
        "max_tokens": size.num_tokens,
        "rounds": size.rounds,
        "rows": [row_of(weights, samples) for weights in _WEIGHTS],
        "mark": MIN_SHARE,
    }


def show(report: dict[str, Any], *, as_json: bool) -> None:
    """A line for base and adapter."""
    if as_json:
        typer.echo(json.dumps(report))
        return
    for row in report["rows"]:
        typer.echo(
            f"{row['weights']:8} {row['http_tokens_per_s']:6.0f} tokens/s over HTTP, "
            f"{row['alone_tokens_per_s']:6.0f} alone: {row['share']:.0%} (mark {report['mark']:.0%}), "
            f"{row['cpu_share']:.0%} by processor time; "
            f"cores busy {row['http_cores_busy']:.2f}, {row['alone_cores_busy']:.2f}"
        )


def row_of(weights: str, samples: dict[tuple[str, str], list[Sample]]) -> dict[str, Any]:
    """Medians of both, and of what HTTP reaches of vLLM alone in each round."""
    row: dict[str, Any] = {"weights": weights}
    for name in (_HTTP, _ALONE):
        taken = samples[weights, name]
        row[f"{name}_tokens_per_s"] = median(sample.tokens_per_s for sample in taken)
        row[f"{name}_cores_busy"] = median(sample.cpu_s / sample.seconds for sample in taken)
        row[f"{name}_cpu_ms_per_token"] = median(s.cpu_s_per_token * 1e3 for s in taken)
        row[f"{name}_tokens"] = [sample.tokens for sample in taken]
    pairs = list(zip(samples[weights, _HTTP], samples[weights, _ALONE], strict=True))
    row["share"] = median(http.tokens_per_s / alone.tokens_per_s for http, alone in pairs)
    # What is left of that on a machine whose cores others want too.
    row["cpu_share"] = median(alone.cpu_s_per_token / http.cpu_s_per_token for http, alone in pairs)
    return row


async def _measure(
    base: Path, size: Size, folder: Path, say: Callable[[str], None]
) -> dict[tuple[str, str], list[Sample]]:
    plan = parts.plan(
        data_dir=folder, base_model=base, host="127.0.0.1", port=8000, redis_url="redis://none"
    )
    engine = next(part for part in parts.parts(plan) if part.name == "engine")
    settings = {
        "HONE_SERVING_MAX_NUM_SEQS": str(size.num_requests),
        "HONE_SERVING_MAX_MODEL_LEN": str(_PROMPT_TOKENS + size.num_tokens),
    }
    served = await asyncio.to_thread(_write_adapter, base, folder)
    environment = parts.environment(plan) | settings
    say("starting an engine, and vLLM alone")
    async with running(plan, [replace(engine, env=settings)]) as pids:
        with _vllm_alone(folder, environment) as child:
            targets = {
                _HTTP: _through_http(plan, pids["engine"], served, size),
                _ALONE: _by_itself(child, served),
            }
            return await asyncio.to_thread(_in_rounds, targets, base, size, say)


def _in_rounds(
    targets: dict[str, Generate], base: Path, size: Size, say: Callable[[str], None]
) -> dict[tuple[str, str], list[Sample]]:
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    texts = _texts(base)
    for number in range(size.rounds + 1):
        # New ones in every round: nothing of them is in a prefix cache.
        prompts = choose(texts, count=size.num_requests, seed=0, turn=number)
        max_tokens = size.num_tokens if number else _WARM_UP_TOKENS
        for weights in _WEIGHTS:
            for name, generate in targets.items():
                sample = generate(prompts, weights, max_tokens)
                say(
                    f"round {number}, {weights}, {name}: {sample.tokens_per_s:.0f} tokens/s, "
                    f"{sample.cpu_s / sample.seconds:.2f} cores"
                )
                if number:
                    samples[weights, name].append(sample)
    return samples


def _through_http(plan: parts.Plan, pid: int, served: Served, size: Size) -> Generate:
    url, token = f"http://127.0.0.1:{plan.engine_port}", plan.secrets.engine_token

    def cpu_s() -> float:
        return _cpu_s(psutil.Process()) + _family_cpu_s(pid)

    def generate(prompts: Sequence[tuple[int, ...]], weights: str, max_tokens: int) -> Sample:
        with EngineRollouts([url], token=token, concurrency=size.num_requests) as engines:
            engines.load(served)
            cpu_before, started = cpu_s(), time.perf_counter()
            found = engines.sample(
                served.version if weights == _ADAPTER else BASE,
                prompts,
                answers_per_prompt=1,
                max_tokens=max_tokens,
                seed=0,
            )
            seconds = time.perf_counter() - started
            tokens = sum(len(answer) for rollout in found for answer in rollout.group.answers)
            return Sample(tokens=tokens, seconds=seconds, cpu_s=cpu_s() - cpu_before)

    return generate


def _by_itself(child: subprocess.Popen[str], served: Served) -> Generate:
    def generate(prompts: Sequence[tuple[int, ...]], weights: str, max_tokens: int) -> Sample:
        work = {
            "prompts": prompts,
            "seeds": list(range(len(prompts))),
            "max_tokens": max_tokens,
            "adapter": str(served.folder) if weights == _ADAPTER else None,
        }
        cpu_before = _family_cpu_s(child.pid)
        _write_line(child, json.dumps(work))
        found = json.loads(_read_line(child))
        return Sample(**found, cpu_s=_family_cpu_s(child.pid) - cpu_before)

    return generate


@contextmanager
def _vllm_alone(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Loaded and ready, with the options of the engine."""
    with (folder / "logs" / "alone.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "training.bench.offline"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        )
    try:
        _read_line(child)
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()  # it ends when nobody asks any more
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()


def _write_line(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _read_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    if not (line := child.stdout.readline()):
        raise Unavailable("vLLM alone has ended; bench-rollouts/logs/alone.log says why")
    return line


def _write_adapter(base: Path, folder: Path) -> Served:
    """Of the default recipe's shape. Its weights are nothing yet: what they cost is the same."""
    recipe = load_recipe("cpu-demo").model
    model = models.load(base, recipe=recipe, names=[POLICY], device=torch.device("cpu"), seed=0)
    version, target = "bench-adapter", folder / "adapter"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    model.save(POLICY, target)
    manifest = artifact.write_manifest(
        target,
        version=version,
        kind="adapter",
        parent=BASE,
        base_digest=artifact.base_digest(base),
    )
    return Served(version=version, folder=target, digest=manifest.digest)


def _texts(base: Path) -> list[tuple[int, ...]]:
    """English text to go on with: an answer hardly ever ends before its last token."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    return read_pretraining(
        None,
        tokenize=lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        example_tokens=_PROMPT_TOKENS,
        split="train",
    )


def _family_cpu_s(pid: int) -> float:
    """Processor seconds of a process and all it started."""
    parent = psutil.Process(pid)
    return sum(map(_cpu_s, [parent, *parent.children(recursive=True)]))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
