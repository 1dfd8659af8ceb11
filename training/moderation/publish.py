"""The last step of a round of moderation: a candidate that passed the gate becomes a version, and serves.

1. Copy it under its version's name, renamed into place. 2. Register it. 3. `production` means it. 4. Wait
until the server says that it serves; one that does not is rolled back.

Each part looks before it works, so that a publisher killed anywhere is simply started again.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from feedback.connection import connect
from feedback.errors import Refused
from feedback.settings import FeedbackSettings
from moderation.manifest import read_manifest
from moderation.versions import ModerationRecord, Versions
from serving.lineage import round_facts
from serving.settings import ServingSettings
from training.files import flush_tree, write_text
from training.job import Work
from training.moderation.fit import CANDIDATE
from training.rounds import may_publish

FOLDER = "moderation"  # of the data folder
_WAIT_S = 30.0
_LOOK_S = 0.2


def run(work: Work, *, wait_s: float = _WAIT_S) -> dict[str, Any]:
    """Publish and promote. Raises Refused without a passed gate for its digest, or where the moderation
    server would not serve it."""
    settings = ServingSettings()
    candidate = work.folder / "fit" / CANDIDATE
    manifest = read_manifest(candidate)
    if not may_publish(work.folder, digest=manifest.digest):
        raise Refused(f"the gate has not passed digest {manifest.digest[:12]}")
    target = settings.data_dir / FOLDER / manifest.version
    _place(candidate, target)
    record = ModerationRecord(
        version=manifest.version,
        path=str(target.resolve()),
        digest=manifest.digest,
        parent=manifest.parent,
        round_id=work.plan.round_id,
        created=manifest.created,
    )
    work.check_mine()
    with connect(FeedbackSettings().redis_url) as client:
        versions = Versions(client)
        versions.add(record)
        before = versions.live()
        versions.promote(record.version, by=work.plan.round_id, reason=_why(work))
        if not _serves(settings.moderation_url, record.version, wait_s=wait_s):
            why = f"the server did not serve {record.version}"
            versions.undo(record.version, before=before, by=work.plan.round_id, reason=why)
            raise Refused(
                f"the moderation server at {settings.moderation_url} did not serve {record.version}: "
                "its log says why; HONE_MODERATION_REDIS_URL has it follow"
            )
    result = {"version": record.version, "digest": record.digest, "promoted": time.time()}
    write_text(work.step_folder("publish") / "result.json", json.dumps(result))
    return result


def _why(work: Work) -> str:
    """What the history says of it."""
    override = round_facts.override_of(work.folder)
    return "its gate passed it" if override is None else f"overridden: {override['reason']}"


def _place(candidate: Path, target: Path) -> None:
    """A folder that is there already is complete: it was renamed."""
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(candidate, partial)
    flush_tree(partial)
    partial.rename(target)


def _serves(url: str, version: str, *, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            with urlopen(f"{url}/healthz", timeout=5) as response:
                if json.load(response)["model"] == version:
                    return True
        except (URLError, OSError, ValueError, KeyError):
            pass  # it may be starting
        time.sleep(_LOOK_S)
    return False
