"""Training texts from our own templates (`templates.toml`), for notions the open data hardly has."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

from moderation.dataset import Row

TEMPLATES = Path(__file__).with_name("templates.toml")
LABELS = ("harassment", "hate", "hate/threatening", "self-harm", "sexual", "violence")

_SLOT = re.compile(r"\{(\w+)\}")


def texts(*, seed: int = 0) -> list[Row]:
    """The same rows for the same seed; `source` is "templates/<kind>"."""
    content = tomllib.loads(TEMPLATES.read_text(encoding="utf-8"))
    draw = random.Random(seed)
    rows: dict[str, Row] = {}
    for kind in content["kind"]:
        labels = _labels(kind["labels"])
        for _ in range(kind["num"]):
            text = _text(kind["texts"], content["slots"], draw)
            rows[text] = Row(text=text, source=f"templates/{kind['name']}", labels=labels)
    return list(rows.values())


def _labels(named: list[str]) -> dict[str, int]:
    unknown = {name[1:] for name in named if name.startswith("?")}
    return {name: int(name in named) for name in LABELS if name not in unknown}


def _text(templates: list[str], slots: dict[str, list[str]], draw: random.Random) -> str:
    """One to four sentences of a kind, some with neutral ones between them, in some typing habit."""
    parts = []
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        if draw.random() < 0.2:
            parts.append(draw.choice(slots["filler"]))
        parts.append(_filled(draw.choice(templates), slots, draw))
    text = " ".join(parts)
    habit = draw.random()
    if habit < 0.2:
        return text.lower()
    if habit < 0.26:
        return text.upper()
    return text.rstrip(".") if habit < 0.4 else text


def _filled(template: str, slots: dict[str, list[str]], draw: random.Random) -> str:
    text = _SLOT.sub(lambda found: draw.choice(slots[found.group(1)]), template)
    return text[:1].upper() + text[1:] if template.startswith("{") else text
