"""What the demo prints, draws and computes from its answers."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


def compare(old: list[list[float]], new: list[list[float]]) -> dict[str, Any]:
    """Gold of two versions on the same prompts. Each argument: prompts × samples.

    The standard error is over prompts (paired), since samples of one prompt are alike.
    """
    difference = np.array([np.mean(b) - np.mean(a) for a, b in zip(old, new, strict=True)])
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    gain = float(difference.mean())
    return {
        "old": float(np.mean([np.mean(row) for row in old])),
        "new": float(np.mean([np.mean(row) for row in new])),
        "gain": gain,
        "standard_error": error,
        "standard_errors_above_zero": gain / error if error else 0.0,
        "interval_95": [gain - 1.96 * error, gain + 1.96 * error],
        "num_prompts": len(old),
        "samples_per_prompt": len(old[0]),
        "old_scores": [float(x) for row in old for x in row],
        "new_scores": [float(x) for row in new for x in row],
    }


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last one that is still being written is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def draw(story: dict[str, Any], metrics: list[dict[str, Any]], path: Path) -> None:
    """Reward against KL over the round, and gold before and after on held-out prompts."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    points = [m for m in metrics if "objective/kl" in m and "objective/scores" in m]
    kl = [m["objective/kl"] for m in points]
    scores = [m["objective/scores"] for m in points]
    left.plot(kl, scores, "-", color="0.8", zorder=1)
    dots = left.scatter(kl, scores, c=range(len(points)), cmap="viridis", zorder=2)
    if points:
        figure.colorbar(dots, ax=left, label="iteration")
    left.set(
        xlabel="KL from the reference, nats per answer",
        ylabel="reward model's score",
        title="PPO-ptx",
    )
    gold = story["figures"].get("gold")
    if gold:
        bins = np.linspace(-1.4, 1.0, 33)
        for name, color in (("old", "0.6"), ("new", "tab:green")):
            label = f"{story[name]}: {gold[name]:.2f}"
            right.hist(gold[f"{name}_scores"], bins=bins, alpha=0.6, color=color, label=label)
            right.axvline(gold[name], color=color, linestyle="--")
        low, high = gold["interval_95"]
        right.set_title(f"gold on held-out prompts: {gold['gain']:+.2f}  [{low:+.2f}, {high:+.2f}]")
        right.legend()
    else:
        right.set_title(f"round {story['status']}: {story['old']} goes on answering")
    right.set(xlabel="\n".join(textwrap.wrap(f"gold: {story['preference']}", 48)), ylabel="answers")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def print_result(story: dict[str, Any], console: Console) -> None:
    """The outcome in words and tables, also when it is no success."""
    figures = story["figures"]
    checks = Table("gate", "value", "limit", "", title=None)
    for check in figures["gate"].get("checks", []):
        checks.add_row(
            check["name"],
            _number(check["value"]),
            _number(check["limit"]),
            "ok" if check["passed"] else "FAILED",
        )
    if checks.row_count:
        console.print(checks)
    if story["status"] != "finished":
        for answer in figures["gate"].get("flagged", {}).get("candidate", []):
            console.print(f"flagged {answer['scores']}: {answer['answer']!r}", markup=False)
        console.print(
            f"The round ended as {story['status']}: {figures['swap']['detail']}. {story['old']} goes on answering."
        )
        return
    gold, swap = figures["gold"], figures["swap"]
    low, high = gold["interval_95"]
    console.print(
        f"{story['old']} → {story['new']}: gold {gold['old']:.3f} → {gold['new']:.3f}, gain {gold['gain']:+.3f} "
        f"[{low:+.3f}, {high:+.3f}], {gold['standard_errors_above_zero']:.1f} standard errors "
        f"({gold['num_prompts']} held-out prompts × {gold['samples_per_prompt']})"
    )
    console.print(
        f"during the swap: {swap['streams']} streams, {swap['dropped']} dropped or broken, "
        f"{swap['by_new_version']} answered by {story['new']}, "
        f"{swap['header_disagreed_with_policy']} whose header disagreed with /policy"
    )
    for example in figures["examples"][:5]:
        pair = Table(
            f"{story['old']} ({example['gold_old']:+.2f})",
            f"{story['new']} ({example['gold_new']:+.2f})",
            title=example["prompt"],
        )
        pair.add_row(example["old"], example["new"])
        console.print(pair)


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
