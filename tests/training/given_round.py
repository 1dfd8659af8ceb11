"""A round on disk whose snapshot is done: a labeler who likes one token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.training.test_reward import rankings_by_count
from training.data import Ranking


def write_round(folder: Path, *, base_model: Path, recipe: Path, **plan: Any) -> Path:
    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    train = rankings_by_count(48, token=50, seed=0)
    heldout = rankings_by_count(24, token=50, seed=1)
    split = [(r, "train") for r in train] + [(r, "heldout") for r in heldout]
    write_rows(snapshot / "rankings.jsonl", [_ranking(r, name) for r, name in split])
    write_rows(snapshot / "prompts.jsonl", [_prompt(r, name) for r, name in split])
    write_rows(snapshot / "demonstrations.jsonl", [])
    (snapshot / "manifest.json").write_text(json.dumps({"id": "given"}))
    fields = {
        "round_id": "round-0001",
        "recipe": str(recipe),
        "parent": "policy-0000",
        "parent_path": None,
        "base_model": str(base_model),
        "engine_urls": [],
        "seed": 1,
        "created": 1.0,
    }
    (folder / "round.json").write_text(json.dumps(fields | plan))
    return folder


def with_full_weights(recipe: str) -> str:
    """The recipe, with all weights trained."""
    recipe = recipe.replace('weights = "adapter"', 'weights = "full"')
    adapters = ("num_adapted_layers", "target_modules", "rank =", "alpha =")
    lines = [line for line in recipe.splitlines() if not line.startswith(adapters)]
    return "\n".join(lines).replace("learning_rate = 1e-2", "learning_rate = 1e-3")


def _ranking(ranking: Ranking, split: str) -> dict[str, Any]:
    return {
        "id": ranking.id,
        "labeler": "a",
        "prompt_ids": ranking.group.prompt_ids,
        "prompt_text": "",
        "completions": [{"token_ids": ids, "text": ""} for ids in ranking.group.answers],
        "ranks": ranking.ranks,
        "split": split,
    }


def _prompt(ranking: Ranking, split: str) -> dict[str, Any]:
    return {"id": ranking.id, "prompt_ids": ranking.group.prompt_ids, "split": split}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
