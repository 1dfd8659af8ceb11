"""A version of the classifier on disk: heads, report, probes, and `moderation.json` with every digest.

Written by a round, the manifest last; read by the server, which loads nothing that is not what was judged.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from feedback.errors import Refused
from moderation.classifier import Classifier, Heads, read_heads, write_heads
from moderation.encoder import Encoder
from moderation.manifest import MANIFEST, Manifest, read_manifest

HEADS, REPORT, PROBES = "heads.npz", "report.json", "probes.json"
_FILES = (HEADS, REPORT, PROBES)
# Between processors the encoder's vectors differ in the fifth digit, and so may a score in the third.
MAX_PROBE_GAP = 0.01


def write(
    folder: Path,
    *,
    heads: Heads,
    encoder: Encoder,
    report: dict[str, Any],
    probes: Sequence[str],
    parent: str,
    lineage: dict[str, Any],
) -> Manifest:
    """The folder of a version: named as the heads are. What a killed one left is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_heads(folder / HEADS, heads)
    classifier = Classifier(encoder, heads=read_heads(folder / HEADS))
    scored = [{"text": text, "scores": classifier.score(text)} for text in probes]
    (folder / PROBES).write_text(json.dumps(scored, indent=1))
    (folder / REPORT).write_text(json.dumps(report, indent=1))
    manifest = Manifest(
        version=heads.model,
        parent=parent,
        created=time.time(),
        files={name: _sha256(folder / name) for name in _FILES},
        lineage=lineage,
    )
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(asdict(manifest), indent=1))
    partial.rename(folder / MANIFEST)
    return manifest


def load(folder: Path, *, digest: str, encoder: Encoder) -> Classifier:
    """The classifier of a version, ready. Raises Refused unless every file is what was published, the
    heads fit the encoder, and the probes get the scores here that they got when it was made."""
    manifest = read_manifest(folder)
    if manifest.digest != digest:
        raise Refused(f"{folder}: digest is {manifest.digest[:12]}, {digest[:12]} was asked for")
    for name, written in manifest.files.items():
        if name not in _FILES or not (folder / name).is_file() or _sha256(folder / name) != written:
            raise Refused(f"{folder / name} is not what was written")
    classifier = Classifier(encoder, heads=read_heads(folder / HEADS))
    for probe in json.loads((folder / PROBES).read_text()):
        scores = classifier.score(probe["text"])
        gap = max(abs(scores[name] - score) for name, score in probe["scores"].items())
        if not gap <= MAX_PROBE_GAP:  # NaN too
            raise Refused(f"{folder}: a probe is scored {gap:.3f} away from where it was")
    return classifier


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
