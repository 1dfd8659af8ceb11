"""One run of the archiver, timed, in a process of its own: its memory at the peak is the archiver's."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from feedback.archive.archiver import Archiver
from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.settings import FeedbackSettings


def main() -> None:
    settings = FeedbackSettings()
    with connect(settings.redis_url) as client:
        archive = Archive.of(settings)
        before_mb = _peak_mb()
        began = time.perf_counter()
        done = Archiver(client, archive, settings).run()
        seconds = time.perf_counter() - began
    found = {
        "seconds": seconds,
        "num_events": done.num_events,
        "segments": len(done.segments),
        "json_bytes": sum(segment.event_bytes for segment in done.segments),
        "file_bytes": sum(segment.file_bytes for segment in done.segments),
        "peak_mb": _peak_mb(),
        "before_mb": before_mb,
    }
    sys.stdout.write(json.dumps(found))


def _peak_mb() -> float:
    """Of this program: getrusage's peak would be that of the process that started it, if it was larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e3


if __name__ == "__main__":
    main()
