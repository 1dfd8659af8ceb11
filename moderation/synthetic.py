"""Training texts from our own templates, for notions the open data hardly has.

`templates.toml`: one to four sentences of one kind. `stories.toml`: longer texts in a fixed order of
parts, harmless and harmful ones with the same beginnings.
"""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

from moderation.dataset import Row

TEMPLATES = Path(__file__).with_name("templates.toml")
STORIES = Path(__file__).with_name("stories.toml")
LABELS = ("harassment", "hate", "hate/threatening", "self-harm", "sexual", "violence")

STORY_SOURCE = "templates/story-"
_MOST_REPEATS = 4
_SLOT = re.compile(r"\{(\w+)\}")


def texts(*, seed: int = 0) -> list[Row]:
    """The same rows for the same seed; `source` is "templates/<kind>"."""
    made = [*_templates(random.Random(seed)), *_stories(random.Random(seed))]
    return list({row.text: row for row in reversed(made)}.values())[::-1]


def _templates(draw: random.Random) -> list[Row]:
    content = tomllib.loads(TEMPLATES.read_text(encoding="utf-8"))
    rows: dict[str, Row] = {}
    for kind in content["kind"]:
        labels = _labels(kind["labels"])
        for _ in range(kind["num"]):
            text = _text(kind["texts"], content["slots"], draw)
            rows[text] = Row(text=text, source=f"templates/{kind['name']}", labels=labels)
    return list(rows.values())


def _stories(draw: random.Random) -> list[Row]:
    content = tomllib.loads(STORIES.read_text(encoding="utf-8"))
    rows: dict[str, Row] = {}
    for kind in content["story"]:
        labels = _labels(kind["labels"])
        for _ in range(kind["num"]):
            text = _story(kind["parts"], content["pools"], content["slots"], draw)
            rows[text] = Row(text=text, source=f"{STORY_SOURCE}{kind['name']}", labels=labels)
    return list(rows.values())


def _story(
    parts: list[str], pools: dict[str, list[str]], slots: dict[str, list[str]], draw: random.Random
) -> str:
    # One value a slot: a story is about the same people to its end.
    values = {name: [draw.choice(choices)] for name, choices in slots.items()}
    sentences = []
    for part in parts:
        if part.startswith("?") and draw.random() < 0.5:
            continue
        pool = pools[part.strip("?+")]
        repeats = draw.randint(1, _MOST_REPEATS) if part.endswith("+") else 1
        sentences += [_filled(one, values, draw) for one in draw.sample(pool, repeats)]
    return _typed(" ".join(sentences), draw)


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
    return _typed(" ".join(parts), draw)


def _typed(text: str, draw: random.Random) -> str:
    """As somebody types it: without capitals, shouted, without the last stop, or as it is."""
    habit = draw.random()
    if habit < 0.2:
        return text.lower()
    if habit < 0.26:
        return text.upper()
    return text.rstrip(".") if habit < 0.4 else text


def _filled(template: str, slots: dict[str, list[str]], draw: random.Random) -> str:
    text = _SLOT.sub(lambda found: draw.choice(slots[found.group(1)]), template)
    return text[:1].upper() + text[1:] if template.startswith("{") else text
