"""Every labeler's own figures for their page and the report for the console, in a process of its own:
`python -m feedback.quality.own`.

numpy's memory ends with it. Nothing is done where nobody judged anything since the last time; but for a
quarter of an hour at most, since labelers are accepted and blocked, and known answers added, besides.
"""

from __future__ import annotations

import logging
import os
import sys
import time

import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import HoneError
from feedback.events import Feedback
from feedback.history import History
from feedback.labeling import own_figures
from feedback.labeling.own_figures import OwnFigures, Share
from feedback.quality import kept
from feedback.quality.intervals import Estimate
from feedback.quality.judged import Reader
from feedback.quality.report import own, read_people, report
from feedback.settings import FeedbackSettings

log = logging.getLogger("feedback.quality")

_AT_MOST_S = 900.0


def refresh(client: redis.Redis) -> int:
    """Returns for how many labelers."""
    last, now = eventlog.last_entry(client, Feedback.kind), time.time()
    is_recent = now - kept.made(client) < _AT_MOST_S
    if last is None or (last == own_figures.through(client) and is_recent):
        return 0
    rows = Reader(History(client)).rows(until=last)
    people = read_people(client)
    kept.write(client, report(rows, people, now=now).as_json())
    found = {}
    for labeler in {row.labeler for row in rows if row.source == "labeler"}:
        mine = own(rows, labeler, people, now=now)
        found[labeler] = OwnFigures(
            made=now,
            num_judged=mine.num_judged,
            agreement=_share(mine.agreement),
            median_s=mine.median_s,
        )
    own_figures.write(client, found, through=last)
    return len(found)


def _share(found: Estimate | None) -> Share | None:
    if found is None:
        return None
    return Share(
        value=found.value,
        low=max(found.low, 0.0),
        high=min(found.high, 1.0),
        num_units=found.num_units,
    )


def main() -> int:
    """Returns the exit code: 1 failed, and the next run tries again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        with connect(FeedbackSettings().redis_url) as client:
            refresh(client)
    except (HoneError, redis.RedisError, OSError) as error:
        log.error("labelers see older figures of theirs: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    os.nice(10)  # answers to people come first
    sys.exit(main())
