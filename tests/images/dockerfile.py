"""A Dockerfile's stages, as far as our tests ask about them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """From one FROM to the next."""

    name: str
    base: str  # another stage, or an image
    steps: tuple[tuple[str, str], ...]  # instruction, the rest of its line

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]


def stages(text: str) -> dict[str, Stage]:
    """By name, in order."""
    found: dict[str, Stage] = {}
    for instruction, rest in _lines(text):
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name=name, base=base, steps=())
        elif found:
            last = list(found.values())[-1]
            steps = (*last.steps, (instruction, rest))
            found[last.name] = Stage(name=last.name, base=last.base, steps=steps)
    return found


def lineage(found: dict[str, Stage], name: str) -> list[Stage]:
    """A stage and those it stands on, the first one first."""
    chain: list[Stage] = []
    while name in found:
        chain.insert(0, found[name])
        name = found[name].base
    return chain


def last(chain: list[Stage], instruction: str) -> str | None:
    """What an image has in the end of an instruction that replaces itself."""
    said = [rest for stage in chain for rest in stage.all(instruction)]
    return said[-1] if said else None


def environment(chain: list[Stage]) -> dict[str, str]:
    words = " ".join(rest for stage in chain for rest in stage.all("ENV"))
    return dict(re.findall(r"(\w+)=(\S+)", words))


def labels(chain: list[Stage]) -> dict[str, str]:
    words = " ".join(rest for stage in chain for rest in stage.all("LABEL"))
    return dict(re.findall(r'([\w.]+)="([^"]*)"', words))


def command(chain: list[Stage]) -> list[str]:
    said: list[str] = json.loads(last(chain, "CMD") or "[]")
    return said


def _lines(text: str) -> list[tuple[str, str]]:
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", kept)
    return [
        (name, rest.strip())
        for name, _, rest in (line.partition(" ") for line in joined.splitlines())
        if name
    ]


STAGES = stages((ROOT / "Dockerfile").read_text())
