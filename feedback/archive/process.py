"""One run of the archiver in a process of its own: `python -m feedback.archive.process`. Then, if it is
time, Redis writes its files without what was erased.

pyarrow's memory ends with it, and nobody else waits for it. Exit codes: 0 done, or another one archives
just now; 1 failed, and the next run goes on.
"""

from __future__ import annotations

import logging
import sys
import time

import redis

from feedback.archive.archiver import Archiver
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.erasure import redis_files
from feedback.errors import HoneError
from feedback.settings import FeedbackSettings

log = logging.getLogger("feedback.archive")


def main() -> int:
    """Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = FeedbackSettings()
    try:
        with connect(settings.redis_url) as client:
            done = Archiver(client, Archive.of(settings), settings).run()
            if redis_files.is_due(client, after_s=settings.erased_in_files_s, now=time.time()):
                log.info("Redis' files are written anew: %s", redis_files.rewrite(client))
    except (HoneError, redis.RedisError, OSError) as error:
        log.error("nothing is lost, the next run goes on: %s", error)
        return 1
    for segment in done.segments:
        log.info("%s: %d events, %d bytes", segment.name, segment.events, segment.file_bytes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
