"""An archiver in a process of its own, to be killed: it takes events for older than they are, by default so
much that none is young.

    python -m tests.chaos.archiving [SECONDS]
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

import redis

from feedback.archive.archiver import Archiver
from feedback.archive.lease import LeaseLost
from feedback.archive.manifests import LostRace
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.settings import FeedbackSettings

LEASE_S = 1.0  # a killed one keeps others away for so long


def main() -> None:
    ahead_s = float(sys.argv[1]) if len(sys.argv) > 1 else 1_000.0
    settings = FeedbackSettings()
    client = connect(settings.redis_url)
    parent = os.getppid()
    while os.getppid() == parent:  # a test that was killed leaves nobody behind
        archiver = Archiver(
            client,
            Archive.of(settings),
            settings,
            lease_s=LEASE_S,
            segment_events=250,
            clock=lambda: time.time() + ahead_s,
        )
        with suppress(LeaseLost, LostRace, redis.RedisError, OSError):  # as beat: again
            if archiver.run().num_events == 0:
                time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
