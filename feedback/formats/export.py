"""The log's judgements as a folder that `datasets.load_dataset(folder, name)` opens, without a network.

1. What counts is read once, up to one moment (feedback.formats.standing).
2. A judgement becomes rows of the four parts; whoever asked the question decides its split, by a stable
   hash, so that a person's prompts, and all pairs of one ranking, are on one side.
3. The card, then the manifest, then the folder gets its name: a folder of that name is whole.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from feedback.errors import BadRequest, Conflict
from feedback.events import Completion, Feedback
from feedback.formats import card
from feedback.formats.parquet import Part
from feedback.formats.rows import CONFIGS, Config, NotUsable, rows_of
from feedback.formats.standing import Bounds, Standing, bounds_of, standing
from feedback.history import History
from feedback.snapshots.files import sha256_of
from feedback.snapshots.people import People
from feedback.snapshots.pii import Masker
from feedback.snapshots.splits import person_of, place_of

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
MANIFEST = "manifest.json"
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is exported, and how."""

    tenant: str = "default"
    heldout_share: float = 0.1  # of the people who asked
    license: str = "unknown"  # an identifier of the hub: cc-by-4.0, other, …
    people: People = field(default_factory=People)  # whose word counts, who is kept apart
    masker: Masker | None = None  # takes personal data out


def write(history: History, folder: Path, options: Options) -> dict[str, Any]:
    """Write the folder and return its manifest. Raises BadRequest; Conflict if there is something of that
    name."""
    if not _LICENSE.fullmatch(options.license):  # it goes into YAML
        raise BadRequest(f"a licence is named as the hub does, like cc-by-4.0: {options.license!r}")
    if folder.exists():
        raise Conflict(f"{folder} is there already; an export is never written over")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        bounds = bounds_of(history)
        with standing(history, bounds, tenant=options.tenant, beside=partial) as found:
            rows = _write_rows(found, partial, options)
        manifest = _manifest(partial, rows, found.left_out, bounds, options)
        _put(partial / "README.md", card.text(manifest).encode())
        _put(partial / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _write_rows(found: Standing, folder: Path, options: Options) -> dict[Config, dict[Split, int]]:
    mask = _mask(options.masker)
    with ExitStack() as stack:
        parts = {
            (config, split): stack.enter_context(Part(folder / config / f"{split}.parquet", config))
            for config in CONFIGS
            for split in SPLITS
        }
        for event, completions in found:
            if (reason := _unwanted(event, options.people)) is not None:
                found.left_out[reason] += 1
                continue
            split = _split(event, completions, options)
            try:
                for config, row in rows_of(event, completions, mask):
                    parts[config, split].add(row)
            except NotUsable as error:
                found.left_out[str(error)] += 1
        return {
            config: {split: parts[config, split].num_rows for split in SPLITS} for config in CONFIGS
        }


def _mask(masker: Masker | None) -> Callable[[str], str]:
    if masker is None:
        return lambda text: text

    def masked(text: str) -> str:
        found = masker.mask(text)
        return text if found is None else found.text

    return masked


def _unwanted(event: Feedback, people: People) -> str | None:
    if people.known_answers.intersection(event.completion_ids):
        return "known_answer"
    return "labeler_weighs_nothing" if people.weight(event) == 0 else None


def _split(event: Feedback, completions: Mapping[str, Completion], options: Options) -> Split:
    source = next(iter(completions.values()), None)
    end_user, key_id = (source.end_user, source.key_id) if source is not None else (None, "")
    person = person_of(event.tenant, end_user, key_id or event.labeler)
    is_apart = options.people.is_heldout(event) or place_of(person) < options.heldout_share
    return "test" if is_apart else "train"


def _manifest(
    folder: Path,
    rows: Mapping[Config, Mapping[Split, int]],
    left_out: Counter[str],
    bounds: Bounds,
    options: Options,
) -> dict[str, Any]:
    files = sorted(folder.rglob("*.parquet"))
    return {
        "format": "hone",
        "format_version": 1,
        "created": int(time.time()),
        "tenant": options.tenant,
        "license": options.license,
        "heldout_share": options.heldout_share,
        "texts_masked": dict(options.masker.found) if options.masker is not None else None,
        "log": asdict(bounds),
        "rows": rows,
        "left_out": {reason: count for reason, count in sorted(left_out.items()) if count},
        "files": {
            str(file.relative_to(folder)): {"sha256": sha256_of(file), "bytes": file.stat().st_size}
            for file in files
        },
    }


def _put(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
