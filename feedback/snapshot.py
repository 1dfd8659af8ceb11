"""A frozen dataset for one round: every judgement up to one moment, each once.

1. Bounds are written first, so that a snapshot that was interrupted is made again over the same
events.
2. The last judgement of one labeler on one candidate set counts; what came before stays in the log.
3. Answers of two versions (`mixed`), broken off or withheld by moderation are never trained on.
4. Train and held-out are split by end user (InstructGPT, section 3.2), so that a person's habits
in train
   do not help on held-out.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import redis

from feedback import eventlog
from feedback.events import Choice, Completion, Feedback

_MAX_PROMPTS_PER_USER = 200  # InstructGPT, section 3.2


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Stream entry ids of the last events a snapshot holds; None where there were none."""

    completions: str | None
    feedback: str | None


def write(client: redis.Redis, folder: Path, *, heldout_share: float) -> dict[str, Any]:
    """Write rankings, prompts and demonstrations as JSONL and `manifest.json`, last. Returns the
    manifest.

    `heldout_share` is the share of end users whose judgements and prompts are never trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bounds = _bounds(client, folder)
    completions = dict(_completions(client, bounds))
    skipped: Counter[str] = Counter()
    rankings = list(_rankings(client, bounds, completions, skipped, heldout_share))
    prompts = list(_prompts(completions.values(), heldout_share))
    is_one_sided = heldout_share > 0 and all(row["split"] == "train" for row in rankings)
    if is_one_sided:  # too few end users for one to fall on the held-out side
        rankings, prompts = (_split_by_prompt(rows, heldout_share) for rows in (rankings, prompts))
    demonstrations = list(_demonstrations(client, bounds, completions))
    for name, rows in (
        ("rankings", rankings),
        ("prompts", prompts),
        ("demonstrations", demonstrations),
    ):
        _write(folder / f"{name}.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    manifest = {
        "bounds": {"completions": bounds.completions, "feedback": bounds.feedback},
        "rankings": len(rankings),
        "heldout_rankings": sum(row["split"] == "heldout" for row in rankings),
        "prompts": len(prompts),
        "demonstrations": len(demonstrations),
        "split_by": "prompt" if is_one_sided else "end_user",
        "skipped": dict(skipped),  # judgements that are not used, by reason
    }
    _write(folder / "manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return manifest


def _bounds(client: redis.Redis, folder: Path) -> Bounds:
    path = folder / "bounds.json"
    if not path.exists():
        # Feedback first: a judgement's completion is in the log before the judgement is.
        feedback = eventlog.last_entry(client, Feedback.kind)
        completions = eventlog.last_entry(client, Completion.kind)
        _write(path, orjson.dumps({"feedback": feedback, "completions": completions}))
    return Bounds(**orjson.loads(path.read_bytes()))


def _completions(client: redis.Redis, bounds: Bounds) -> Iterator[tuple[str, Completion]]:
    if bounds.completions is None:
        return
    for _, event in eventlog.read(client, Completion.kind, until=bounds.completions):
        completion = cast(Completion, event)
        yield completion.id, completion


def _feedback(client: redis.Redis, bounds: Bounds) -> Iterator[Feedback]:
    if bounds.feedback is None:
        return
    for _, event in eventlog.read(client, Feedback.kind, until=bounds.feedback):
        yield cast(Feedback, event)


def _rankings(
    client: redis.Redis,
    bounds: Bounds,
    completions: Mapping[str, Completion],
    skipped: Counter[str],
    heldout_share: float,
) -> Iterator[dict[str, Any]]:
    latest: dict[tuple[str, tuple[tuple[str, int], ...]], tuple[Feedback, list[int]]] = {}
    for event in _feedback(client, bounds):
        if event.form not in ("ranking", "comparison"):
            continue
        refs, ranks = ranks_of(event)
        key = (event.labeler, tuple(sorted(refs)))
        if key in latest:
            skipped["changed_later"] += 1
        latest[key] = (event, ranks)
    for event, ranks in latest.values():
        refs, _ = ranks_of(event)
        reason, choices, source = _usable(refs, completions)
        if reason is not None or source is None:
            skipped[reason or "unknown"] += 1
        elif len(set(ranks)) == 1:
            skipped["all_tied"] += 1  # no pair to learn from (ties are dropped, section 3.5)
        else:
            yield {
                "id": event.id,
                "labeler": event.labeler,
                "prompt_ids": source.prompt_ids,
                "prompt_text": prompt_text(source),
                "completions": [{"token_ids": c.token_ids, "text": c.text} for c in choices],
                "ranks": ranks,
                "split": _split(_person(source), heldout_share),
            }


def ranks_of(event: Feedback) -> tuple[list[tuple[str, int]], list[int]]:
    """(completion id, index) of each candidate, and its rank: 1 is best, equal ranks are ties."""
    body = event.body
    if event.form == "comparison":
        refs = [(body[side]["completion_id"], body[side]["index"]) for side in ("a", "b")]
        preference = body["preference"]
        return refs, [1 if preference >= 0 else 2, 1 if preference <= 0 else 2]
    refs = [(ref["completion_id"], ref["index"]) for ref in body["candidates"]]
    rank_of = {letter: rank for rank, tier in enumerate(body["tiers"], start=1) for letter in tier}
    return refs, [rank_of[chr(ord("a") + position)] for position in range(len(refs))]


def _usable(
    refs: Iterable[tuple[str, int]], completions: Mapping[str, Completion]
) -> tuple[str | None, list[Choice], Completion | None]:
    """Why a judgement cannot be trained on, or None with its choices and their prompt."""
    choices: list[Choice] = []
    source: Completion | None = None
    for completion_id, index in refs:
        completion = completions.get(completion_id)
        choice = (
            next((c for c in completion.choices if c.index == index), None) if completion else None
        )
        if completion is None or choice is None:
            return "completion_missing", [], None
        if completion.is_mixed:
            return "mixed_versions", [], None
        if not completion.complete or choice.blocked or not choice.token_ids:
            return "answer_not_whole", [], None
        if source is not None and source.prompt_ids != completion.prompt_ids:
            return "different_prompts", [], None
        source = completion
        choices.append(choice)
    return None, choices, source


def _prompts(completions: Iterable[Completion], heldout_share: float) -> Iterator[dict[str, Any]]:
    seen: set[tuple[int, ...]] = set()
    per_person: Counter[str] = Counter()
    for completion in completions:
        prompt, person = tuple(completion.prompt_ids), _person(completion)
        if prompt in seen or not prompt or per_person[person] >= _MAX_PROMPTS_PER_USER:
            continue
        seen.add(prompt)
        per_person[person] += 1
        yield {
            "id": completion.id,
            "prompt_ids": completion.prompt_ids,
            "prompt_text": prompt_text(completion),
            "split": _split(person, heldout_share),
        }


def _demonstrations(
    client: redis.Redis, bounds: Bounds, completions: Mapping[str, Completion]
) -> Iterator[dict[str, Any]]:
    for event in _feedback(client, bounds):
        if event.form != "demonstration" or not event.completion_ids:
            continue
        parent = completions.get(event.completion_ids[0])
        if parent is not None:
            yield {
                "id": event.id,
                "prompt_ids": parent.prompt_ids,
                "completion_text": event.body["completion"],
            }


def prompt_text(completion: Completion) -> str:
    """What a person asked, as text: the last user message, or the prompt."""
    messages = completion.request.get("messages")
    if not messages:
        return str(completion.request.get("prompt", ""))
    content = messages[-1].get("content", "")
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content if isinstance(part, dict))


def _person(completion: Completion) -> str:
    return f"{completion.tenant}/{completion.end_user or completion.key_id}"


def _split(person: str, heldout_share: float) -> str:
    # By hash: a person stays on one side in every snapshot there will ever be.
    fraction = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8]) / 2**64
    return "heldout" if fraction < heldout_share else "train"


def _split_by_prompt(rows: list[dict[str, Any]], heldout_share: float) -> list[dict[str, Any]]:
    return [{**row, "split": _split(str(row["prompt_ids"]), heldout_share)} for row in rows]


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
