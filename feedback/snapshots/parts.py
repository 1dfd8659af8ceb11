"""The files of a snapshot, from what the filters left: personal data is masked while they are written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from feedback.snapshots import filters, manifest
from feedback.snapshots.duplicates import Duplicates
from feedback.snapshots.files import Rows, sha256_of
from feedback.snapshots.judged import DEMONSTRATIONS, RANKINGS
from feedback.snapshots.pii import Masker
from feedback.snapshots.pool import PromptPool
from feedback.snapshots.rows import Writer, texts_of
from feedback.snapshots.rules import Rules
from feedback.snapshots.splits import split_at
from feedback.snapshots.staging import Staging

UNDECIDED = "undecided"
PROMPTS = "prompts"
LABELERS = "labelers"
_FORMAT = 1
_POOL_REASONS = (
    *("no_prompt", "flagged_by_moderation", "same_prompt", "over_user_cap", "not_sampled"),
    *("same_beginning", "nearly_the_same", "personal_data"),
)


class Parts:
    """Writes them, and counts what is in them."""

    def __init__(self, staging: Staging, folder: Path, rules: Rules, split_by: str) -> None:
        self._staging = staging
        self._folder = folder
        self._rules = rules
        self._split_by = split_by
        self._masker = Masker(name_model=rules.name_model) if rules.masks_pii else None
        self._writer = Writer(self._masker)
        self._written: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._prompt_funnel: manifest.Funnel = []

    def write(self, pool: PromptPool) -> None:
        self._write(RANKINGS, self._judgements(RANKINGS, "reason IS NULL"))
        tied = " OR ".join(f"reason = '{reason}'" for reason in filters.UNDECIDED)
        self._write(UNDECIDED, self._judgements(RANKINGS, tied))
        self._write(DEMONSTRATIONS, self._judgements(DEMONSTRATIONS, "reason IS NULL"))
        self._write(PROMPTS, self._prompts(pool))
        self._prompt_funnel = manifest.funnel(pool.num_offered, pool.removed, _POOL_REASONS)
        self._write(LABELERS, manifest.labelers(self._staging))

    def manifest(self) -> dict[str, Any]:
        funnels = manifest.judgement_funnels(self._staging) | {PROMPTS: self._prompt_funnel}
        return {
            "format": _FORMAT,
            "created": time.time(),
            "settings": asdict(self._rules),
            "split_by": self._split_by,
            "parts": {part: dict(sorted(counts.items())) for part, counts in self._counts.items()},
            "funnels": funnels,
            "end_users": manifest.num_end_users(self._staging),
            "labelers": self._written[f"{LABELERS}.jsonl"]["rows"],
            "texts_masked": dict(self._masker.found) if self._masker is not None else {},
            "files": self._written | _beside(self._folder),
        }

    def _write(self, part: str, rows: Iterable[dict[str, Any]]) -> None:
        name = f"{part}.jsonl"
        counts = self._counts[part] = Counter()
        with Rows(self._folder / name) as file:
            for row in rows:
                file.add(row)
                counts["rows"] += 1
                if "split" in row:
                    counts[row["split"]] += 1
                if "ranks" in row:
                    _count_pairs(counts, row["ranks"])
                if _is_masked(row):
                    counts["masked"] += 1
        self._written[name] = file.written

    def _judgements(self, part: str, condition: str) -> Iterator[dict[str, Any]]:
        last = 0
        query = (
            "SELECT seq, data, split, is_heldout, reason FROM judgements WHERE part = ?"
            f" AND ({condition}) AND seq > ? ORDER BY seq LIMIT 1000"
        )
        while page := list(self._staging.rows(query, part, last)):
            for seq, data, split, is_heldout, reason in page:
                judgement = orjson.loads(data)
                row = self._row(part, judgement)
                if row is None:
                    self._staging.change(
                        "UPDATE judgements SET reason = 'personal_data' WHERE seq = ?", seq
                    )
                    continue
                row |= {"split": split, "weight": judgement["weight"]}
                if is_heldout:
                    row["heldout_by"] = "labeler"
                yield row | ({"why": reason} if reason is not None else {})
            last = page[-1][0]

    def _row(self, part: str, judgement: dict[str, Any]) -> dict[str, Any] | None:
        if part == DEMONSTRATIONS:
            parent = judgement["parent"]
            found = self._completion(parent) if parent is not None else None
            return self._writer.demonstration(judgement, found)
        ids = {completion_id for completion_id, _ in judgement["refs"]}
        return self._writer.ranking(judgement, {each: self._completion(each) for each in ids})

    def _completion(self, completion_id: str) -> dict[str, Any]:
        query = "SELECT start, size FROM completions WHERE id = ?"
        start, size = self._staging.db.execute(query, (hash(completion_id),)).fetchone()
        return self._staging.get(start, size)

    def _prompts(self, pool: PromptPool) -> Iterator[dict[str, Any]]:
        rules = self._rules
        duplicates = Duplicates(prefix_chars=rules.prefix_chars, similarity=rules.similarity)
        beyond: list[tuple[int]] = []
        for draw, place, data in self._staging.rows(
            "SELECT draw, user_place, data FROM prompts ORDER BY seq"
        ):
            prompt = orjson.loads(data)
            row: dict[str, Any] | None = None
            reason = duplicates.reason(_asked(prompt))
            if reason is None:
                row = self._writer.prompt(prompt)
                reason = "personal_data" if row is None else None
            if row is None or reason is not None:
                pool.removed[str(reason)] += 1
                beyond.append((draw,))
                continue
            if self._split_by == "prompt":
                place = prompt["prompt_place"]
            split = split_at(
                place,
                heldout_share=rules.heldout_share,
                validation_share=rules.validation_share,
            )
            yield {"id": prompt["id"], **row, "split": split}
        self._staging.db.executemany("DELETE FROM prompts WHERE draw = ?", beyond)


def _beside(folder: Path) -> dict[str, dict[str, Any]]:
    """Files that were there before: its bounds, the labelers' weights."""
    return {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in folder.glob("*.json")
    }


def _asked(prompt: dict[str, Any]) -> list[str]:
    """The texts of a prompt that are not the app's own."""
    texts = texts_of(prompt)
    if "messages" not in prompt:
        return texts
    roles = [message.get("role") for message in prompt["messages"]]
    return [t for t, role in zip(texts, roles, strict=True) if role not in ("system", "developer")]


def _count_pairs(counts: Counter[str], ranks: list[int]) -> None:
    num_pairs = len(ranks) * (len(ranks) - 1) // 2
    num_tied = sum(a == b for i, a in enumerate(ranks) for b in ranks[:i])
    counts["comparisons"] += num_pairs - num_tied
    counts["ties"] += num_tied


def _is_masked(row: dict[str, Any]) -> bool:
    return "masked" in row or any("masked" in each for each in row.get("completions", ()))
