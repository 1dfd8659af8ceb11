"""`moderation.json`: what a version of the classifier is made of. Read without numpy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feedback.errors import Refused

MANIFEST = "moderation.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`moderation.json`."""

    version: str
    parent: str
    created: float  # unix seconds
    files: dict[str, str]  # name -> SHA-256
    lineage: dict[str, Any] = field(default_factory=dict)  # round, snapshot, gate

    @property
    def digest(self) -> str:
        """Identity of the version: a hash over the files' hashes."""
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Raises Refused when there is none or it cannot be read."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{folder} holds no version of moderation: {error}") from error
