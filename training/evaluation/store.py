"""What was measured of a policy, part by part: a run that was cut off goes on where it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from feedback.errors import NotFound
from training import files
from training.evaluation.measures import Values
from training.evaluation.policies import Policy

_NOT_IN_A_NAME = re.compile(r"[^\w.@+-]")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One part of one policy."""

    values: Values
    samples: list[dict[str, Any]]  # what was asked and said


class Store:
    """A folder. What was measured of other weights or on other data is not there."""

    def __init__(self, folder: Path, *, about: Callable[[str], Mapping[str, Any]]) -> None:
        """`about`: of a part, what it is measured on."""
        self._folder = folder
        self._about = about

    def has(self, policy: Policy, part: str) -> bool:
        path = self._path(policy, part)
        return path.exists() and json.loads(path.read_text())["claim"] == self._claim(policy, part)

    def read(self, policy: Policy, part: str) -> Kept:
        """Raises NotFound."""
        if not self.has(policy, part):
            raise NotFound(f"{part} of {policy.label} was not measured")
        found = json.loads(self._path(policy, part).read_text())
        return Kept(values=found["values"], samples=found["samples"])

    def write(self, policy: Policy, part: str, kept: Kept) -> None:
        path = self._path(policy, part)
        path.parent.mkdir(parents=True, exist_ok=True)
        claimed = {"claim": self._claim(policy, part), **asdict(kept)}
        files.write_text(path, json.dumps(claimed))

    def values(self, policy: Policy, parts: Sequence[str]) -> Values:
        """Of all these parts."""
        return {
            name: values
            for part in parts
            for name, values in self.read(policy, part).values.items()
        }

    def _claim(self, policy: Policy, part: str) -> dict[str, Any]:
        return {
            "digest": policy.digest,
            "is_prompted": policy.is_prompted,
            **self._about(part),
        }

    def _path(self, policy: Policy, part: str) -> Path:
        return self._folder / _NOT_IN_A_NAME.sub("_", policy.label) / f"{part}.json"
