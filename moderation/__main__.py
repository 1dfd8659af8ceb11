"""`python -m moderation serve`: the moderation server, until SIGTERM."""

from __future__ import annotations

import argparse
import sys

from feedback.errors import HoneError
from moderation.settings import ModerationSettings


def main() -> int:
    """Exit codes: 1 could not start, 2 wrong usage; SIGTERM ends it after the requests in work."""
    parser = argparse.ArgumentParser(prog="python -m moderation")
    parser.add_argument("command", choices=["serve"], help="serve: POST /v1/moderations")
    parser.parse_args()
    return serve(ModerationSettings())


def serve(settings: ModerationSettings) -> int:
    """Load the classifier and answer until the process is told to stop."""
    import uvicorn

    from moderation.app import create_app

    try:
        app = create_app(settings)
    except HoneError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="info",
        access_log=False,
        timeout_keep_alive=75,  # longer than a client keeps an idle connection, so that it ends it
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
