"""What this gateway alone sees: its engines, its outbox, its disks."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from serving.exported.families import Sample
from serving.routing import wanted_versions

if TYPE_CHECKING:
    from serving.gateway import Gateway


def samples(gateway: Gateway, *, has_moderation: bool) -> Iterator[Sample]:
    """Out of memory."""
    yield "hone_moderation_up", (), float(has_moderation)
    yield "hone_outbox_refusing", (), float(gateway.journal.trouble is not None)
    live = gateway.refresher.live
    if (canary := live.canary) is not None:
        yield "hone_canary_info", (canary.version, canary.status), 1.0
    wanted = {record.version for record in wanted_versions(live)}
    for member in gateway.fleet.members:
        url = (member.url,)
        loaded = set(member.loaded) if member.is_reachable else set()
        yield "hone_engine_has_wanted", url, float(bool(wanted) and wanted <= loaded)
        yield "hone_engine_in_flight", url, float(member.in_flight)
        for version in sorted(loaded):
            yield "hone_engine_version_loaded", (member.url, version), 1.0
        loads = [entry for entry in member.loaded.values() if entry.get("load_ms") is not None]
        if loads:
            last = max(loads, key=lambda entry: float(entry.get("loaded_at") or 0))
            yield "hone_engine_load_seconds", url, float(last["load_ms"]) / 1e3


def on_disk(gateway: Gateway) -> Iterator[Sample]:
    """Call it from a thread."""
    oldest = gateway.journal.oldest()
    yield "hone_outbox_age_seconds", (), time.time() - oldest if oldest is not None else 0.0
    folders = {
        "outbox": gateway.feedback_settings.outbox_path.parent,
        "data": gateway.settings.data_dir,
    }
    for disk, folder in folders.items():
        with contextlib.suppress(OSError):
            found = shutil.disk_usage(folder)
            yield "hone_disk_free_bytes", (disk,), float(found.free)
            yield "hone_disk_size_bytes", (disk,), float(found.total)
