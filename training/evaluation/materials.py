"""What policies are evaluated on: files read once, before anything is started, with their digests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from feedback.errors import NotFound, Unprocessable
from feedback.formats.records import read as read_records
from feedback.snapshots.files import sha256_of
from training import preferences
from training.data import read_pretraining
from training.evaluation import bias, judges, public_tasks, toxicity, truthfulqa
from training.evaluation.bias import Pair
from training.evaluation.truthfulqa import Question
from training.settings import TrainingSettings

Suite = Literal["preference", "people", "truthfulqa", "toxicity", "bias", "tax", "public"]
SUITES: tuple[Suite, ...] = (
    "preference", "people", "truthfulqa", "toxicity", "bias", "tax", "public",
)  # fmt: skip

TRUTHFULQA = "eval/truthfulqa.csv"
CROWS_PAIRS = "eval/crows_pairs.csv"
WINOGENDER = "eval/winogender_sentences.tsv"
TOXICITY = "moderation/train.jsonl.gz"
TEXT = "text"
TEXT_TOKENS = 256  # of an example of text
PRETRAINING_TOKENS = 48  # as the recipe `cpu-demo` cuts it: the held-out part is the same


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the files are, as a person named them."""

    data: Path  # laid out as the constants above say
    toxicity_prompts: Path | None = None  # instead of TOXICITY
    public: Path | None = None  # of lm-eval's tasks
    prompts: Path | None = None  # that people might ask
    people: Path | None = None  # a folder of `hone export`


@dataclass(frozen=True, kw_only=True)
class Materials:
    """Only what the suites need is filled."""

    questions: list[Question] = field(default_factory=list)
    toxicity_prompts: list[str] = field(default_factory=list)
    winogender: list[Pair] = field(default_factory=list)
    crows_pairs: list[Pair] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    text: Path | None = None
    digests: dict[Suite, dict[str, str]] = field(default_factory=dict)  # suite -> file -> SHA-256


def gather(sources: Sources, *, suites: Sequence[Suite], count: int, seed: int) -> Materials:
    """At most `count` of each, drawn by `seed`. Raises NotFound, Unprocessable with the cure."""
    found: dict[str, Any] = {}
    digests: dict[Suite, dict[str, str]] = {}
    for suite in suites:
        items, files = _READERS[suite](sources, count, seed)
        found |= items
        digests[suite] = {str(file): sha256_of(file) for file in files}
    return Materials(digests=digests, **found)


def read_prompts(path: Path, *, count: int, seed: int) -> list[str]:
    """What people might ask: a snapshot's held-out prompts, or `prompt` of JSONL. Raises Unprocessable."""
    is_snapshot = preferences.is_snapshot(path)
    file = path / f"{preferences.PROMPTS}.jsonl" if is_snapshot else path
    rows = [r.value for r in read_records(file) if not r.problem]
    if is_snapshot:
        texts = [str(row["prompt_text"]) for row in rows if row["split"] == "heldout"]
    else:
        texts = [row["prompt"] for row in rows if isinstance(row.get("prompt"), str)]
    texts = list(dict.fromkeys(texts))
    if not texts:
        raise Unprocessable(f"{path}: no held-out prompt; a row has a `prompt`, a text")
    return random.Random(seed).sample(texts, min(count, len(texts)))


def read_examples(
    text: Path, *, tokenize: Callable[[str], Sequence[int]], count: int, seed: int
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Token ids of held-out text, and of the held-out part of the pretraining text."""
    examples = (
        read_pretraining(text, tokenize=tokenize, example_tokens=TEXT_TOKENS, split="heldout"),
        read_pretraining(
            TrainingSettings().ptx_path,
            tokenize=tokenize,
            example_tokens=PRETRAINING_TOKENS,
            split="heldout",
        ),
    )
    drawn = [random.Random(seed).sample(each, min(count, len(each))) for each in examples]
    return drawn[0], drawn[1]


# What each suite fills of Materials, and the files that it is from.
_Found = tuple[dict[str, Any], list[Path]]


def _truthfulqa(sources: Sources, count: int, seed: int) -> _Found:
    path = sources.data / TRUTHFULQA
    return {"questions": truthfulqa.read(path, count=count, seed=seed)}, [path]


def _toxicity(sources: Sources, count: int, seed: int) -> _Found:
    path = sources.toxicity_prompts or sources.data / TOXICITY
    return {"toxicity_prompts": toxicity.read(path, count=count, seed=seed)}, [path]


def _bias(sources: Sources, count: int, seed: int) -> _Found:
    crows_pairs, winogender = sources.data / CROWS_PAIRS, sources.data / WINOGENDER
    items = {
        "crows_pairs": bias.read_crows_pairs(crows_pairs, count=count, seed=seed),
        "winogender": bias.read_winogender(winogender)[:count],
    }
    return items, [crows_pairs, winogender]


def _tax(sources: Sources, count: int, seed: int) -> _Found:
    path = sources.data / TEXT
    if not path.is_dir():
        raise NotFound(f"{path}: no such folder; --suite tax needs .txt files in it")
    return {"text": path}, sorted(path.rglob("*.txt"))


def _preference(sources: Sources, count: int, seed: int) -> _Found:
    path = _named(sources.prompts, "preference", "--prompts", "JSONL with `prompt`")
    file = path / f"{preferences.PROMPTS}.jsonl" if preferences.is_snapshot(path) else path
    return {"prompts": read_prompts(path, count=count, seed=seed)}, [file]


def _public(sources: Sources, count: int, seed: int) -> _Found:
    path = _named(sources.public, "public", "--public", "the tasks' local files")
    return {}, public_tasks.files(path)


def _people(sources: Sources, count: int, seed: int) -> _Found:
    path = _named(sources.people, "people", "--people", "a folder of `hone export`")
    return {}, judges.files(path)


def _named(path: Path | None, suite: str, option: str, what: str) -> Path:
    if path is None:
        raise Unprocessable(f"--suite {suite} needs {option}: {what}")
    if not path.exists():
        raise NotFound(f"{option} {path}: there is no such file or folder")
    return path


_READERS: dict[Suite, Callable[[Sources, int, int], _Found]] = {
    "preference": _preference,
    "people": _people,
    "truthfulqa": _truthfulqa,
    "toxicity": _toxicity,
    "bias": _bias,
    "tax": _tax,
    "public": _public,
}
