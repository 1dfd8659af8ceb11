"""A version's model card: the hub's YAML for machines, then what a person wants to know before using it. Pure."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.lineage.base_model import BaseModel

_HUB_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")
_SECTIONS = ("data", "model", "reward", "ppo", "gate")  # of a recipe, those that made this version


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What is known. None: it is not, or no more."""

    version: str
    kind: str  # adapter | full
    digest: str
    parent: str | None
    round_id: str | None
    created: float  # unix seconds
    recipe_name: str | None
    base: BaseModel | None
    base_digest: str
    snapshot: Mapping[str, Any] | None  # its manifest
    recipe: Mapping[str, Any] | None
    reward: Mapping[str, Any] | None  # the reward model's report
    checks: Sequence[Mapping[str, Any]]  # of the gate
    override: Mapping[str, Any] | None  # why an operator had it published although the gate said no
    canaries: Sequence[Mapping[str, Any]]  # that ran with this version, as lineage shows them


def text(facts: CardFacts) -> str:
    """README.md of the version's folder."""
    parts = [
        *_front_matter(facts),
        *_about(facts),
        *_data(facts.snapshot),
        *_training(facts),
        *_gate(facts.checks, facts.override),
        *_canaries(facts.canaries),
        *_limits(facts),
    ]
    return "\n".join(parts) + "\n"


def _front_matter(facts: CardFacts) -> Iterator[str]:
    base = facts.base
    yield "---"
    if base is not None and base.hub_id is not None:
        yield f"base_model: {base.hub_id}"
        yield f"base_model_relation: {'adapter' if facts.kind == 'adapter' else 'finetune'}"
    stated = base.licence if base is not None else None
    if stated is not None and _HUB_LICENCE.fullmatch(stated):
        yield f"license: {stated}"
    elif stated is not None:
        yield "license: other"
    yield f"library_name: {'peft' if facts.kind == 'adapter' else 'transformers'}"
    yield "pipeline_tag: text-generation"
    lora = ["lora"] if facts.kind == "adapter" else []
    yield f"tags: [{', '.join(['rlhf', 'ppo', 'reward-model', 'hone', *lora])}]"
    yield "---"


def _about(facts: CardFacts) -> Iterator[str]:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts.created))
    base = facts.base.name if facts.base is not None else "a base model whose folder is not here"
    what = "a LoRA adapter over" if facts.kind == "adapter" else "all weights, trained from"
    by = f" by {facts.round_id}" if facts.round_id else ""
    yield f"\n# {facts.version}\n"
    yield (
        f"{what[0].upper()}{what[1:]} {base}, made {made}{by} of a hone system: it learned from people's "
        "judgements of the answers of versions before it, with a K-wise reward model and PPO-ptx."
    )
    yield "\n| | |\n|---|---|"
    yield f"| trained on from | {facts.parent or 'the base'} |"
    yield f"| SHA-256 of the weights | `{facts.digest}` |"
    yield f"| SHA-256 of the base's | `{facts.base_digest}` |"
    stated = facts.base.licence if facts.base is not None else None
    yield f"| licence of the base | {stated or 'not stated beside its weights'} |"
    yield f"\n`hone lineage {facts.version}` walks from here to the judgements behind it."


def _data(snapshot: Mapping[str, Any] | None) -> Iterator[str]:
    yield "\n## Data\n"
    if snapshot is None:
        yield "The snapshot it was trained on is not here any more."
        return
    yield "| part | rows | train | held out | comparisons |\n|---|---:|---:|---:|---:|"
    for name, part in snapshot.get("parts", {}).items():
        cells = (_count(part.get(column)) for column in ("rows", "train", "heldout", "comparisons"))
        yield f"| {name} | {' | '.join(cells)} |"
    people = {"labelers": "labelers", "end_users": "end users"}
    told = [f"{snapshot[name]} {word}" for name, word in people.items() if name in snapshot]
    if told:
        yield f"\nFrom {' and '.join(told)}."
    yield (
        "\n**Consent.** Only answers that their request and API key allowed to store are in a hone log, and "
        "what was erased before the snapshot is not in it. **Licences** of what people wrote, and of data "
        "that was imported, are not recorded: ask who runs the system."
    )
    masked = snapshot.get("texts_masked") or {}
    if snapshot.get("settings", {}).get("masks_pii"):
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(masked.items()))
        yield f"\n**Personal data** was looked for and masked ({found or 'none found'}); no search finds all."
    else:
        yield "\n**Personal data** was not masked."


def _training(facts: CardFacts) -> Iterator[str]:
    yield f"\n## Training\n\nRecipe `{facts.recipe_name or 'unknown'}`."
    if facts.reward is not None and isinstance(facts.reward.get("accuracy"), Mapping):
        yield (
            f"\nThe reward model decides {_estimate(facts.reward['accuracy'])} of held-out comparisons as "
            f"people did; it learned from {_count(facts.reward.get('train_comparisons')) or 'unknown'} of them."
        )
    if facts.recipe is not None:
        yield "\n| | |\n|---|---|"
        for section in _SECTIONS:
            for name, value in (facts.recipe.get(section) or {}).items():
                yield f"| `{section}.{name}` | {_cell(value)} |"


def _gate(checks: Sequence[Mapping[str, Any]], override: Mapping[str, Any] | None) -> Iterator[str]:
    yield "\n## Gate\n"
    if not checks:
        yield "It has passed no gate."
        return
    yield "| check | value | 95 % | limit | |\n|---|---:|---|---:|---|"
    for check in checks:
        low, high = check.get("interval") or (None, None)
        interval = f"{_number(low)} to {_number(high)}" if low is not None else ""
        verdict = "passed" if check.get("passed") else "**failed**"
        verdict += f": {check['note']}" if check.get("note") else ""
        figures = f"{_number(check.get('value'))} | {interval} | {_number(check.get('limit'))}"
        yield f"| {check.get('name')} | {figures} | {verdict} |"
    if override is not None:
        yield f"\n**Published all the same**, by {override['actor']}: {override['reason']}"


def _canaries(canaries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "\n## Before people\n"
    if not canaries:
        yield "No canary of it is known."
    for canary in canaries:
        why = canary.get("end_reason") or canary.get("reason") or ""
        share = f"{canary['share']:.0%}"
        yield f"- Canary for {share} of the end users against {canary['incumbent']}: {canary['status']}. {why}"


def _limits(facts: CardFacts) -> Iterator[str]:
    yield "\n## Limits\n"
    yield (
        "It knows what its base knows, errors and biases included. It was made to please the people above, "
        "whose taste is not everybody's; a reward model stands in for them and can be wrong where they said "
        "little. The gate compares it with the version before it and with the base, on prompts of this "
        "system: it is no general evaluation (`hone evaluate` makes one), and no safety test."
    )
    if facts.kind == "adapter":
        yield f"\nThe adapter fits the base of digest `{facts.base_digest[:12]}…` and no other."


def _estimate(value: Mapping[str, Any]) -> str:
    return f"{_number(value.get('value'))} ({_number(value.get('low'))} to {_number(value.get('high'))})"


def _number(value: Any) -> str:
    if isinstance(value, int | float) and math.isfinite(value):
        return f"{value:.4g}"
    return "not measured"


def _count(value: Any) -> str:
    return str(value) if isinstance(value, int) else ""


def _cell(value: Any) -> str:
    """Without what would end a table's cell."""
    return str(value).replace("|", "\\|").replace("\n", " ")
