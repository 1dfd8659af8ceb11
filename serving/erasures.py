"""Erasures carried out, with what remains of a person: snapshots on disk, and the versions trained on them.

`python -m serving.erasures` carries out what is queued, in a process of its own. Snapshots are frozen: what
was trained must stay provable. They are named, so that an operator can remove the folders.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import redis

from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.erasure import carrying
from feedback.erasure.people import Erased
from feedback.settings import FeedbackSettings
from moderation.versions import ModerationRecord, Versions
from serving.lineage import held, links
from serving.lineage.graph import touched, walk
from serving.registry import PolicyRecord, Registry

log = logging.getLogger("serving.erasures")


def traces(
    erased: Erased, *, data_dir: Path, versions: Mapping[str, PolicyRecord | ModerationRecord]
) -> dict[str, Any]:
    """The snapshots that hold something of it, the versions trained on these, and those trained on from
    such a version; outboxes on this machine, which drop it when they are drained."""
    ids = erased.completions | erased.judgements | erased.about
    found = held.holders(links.snapshots(data_dir), ids)
    holding = [links.snapshot_key(data_dir, folder) for folder in found]
    edges = links.edges(data_dir, versions)
    rounds = (key for key in walk(edges, holding, direction="forward") if key.kind == "round")
    went_into = touched(edges, holding)
    return {
        "snapshots": sorted(key.id for key in holding),
        "rounds": sorted(key.id for key in rounds),
        "trained_versions": sorted(went_into.trained),
        "later_versions": sorted(went_into.later),
        # Of gateways that run they are empty in a second; of one that is gone, start it, or remove it.
        "outboxes": sorted(
            str(path.relative_to(data_dir)) for path in data_dir.glob("*outbox*.sqlite")
        ),
    }


def tracer(client: redis.Redis, data_dir: Path) -> carrying.Traces:
    """Looks where `hone up` keeps rounds, and into the registry as it is now."""
    policies: Mapping[str, PolicyRecord | ModerationRecord] = Registry(client).snapshot().policies
    versions = {**policies, **Versions(client).live().versions}
    return partial(traces, data_dir=data_dir, versions=versions)


def main() -> int:
    """Returns the exit code."""
    from serving.settings import ServingSettings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = FeedbackSettings()
    with connect(settings.redis_url, timeout_s=60.0) as client:
        done = carrying.carry_out(
            client, Archive.of(settings), settings, tracer(client, ServingSettings().data_dir)
        )
    for erasure in done:
        if erasure.error is not None:
            log.error("%s will be tried again: %s", erasure.id, erasure.error)
    return 1 if any(erasure.error is not None for erasure in done) else 0


if __name__ == "__main__":
    sys.exit(main())
