"""The gateway's log: one JSON object a line, with the id and the version of the request at hand."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import structlog


def configure(level: str) -> None:
    """Every logger of this process writes such lines to stderr from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def formatter() -> logging.Formatter:
    """`event`, `level`, `logger`, `timestamp`, what `extra` holds, and what was bound."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
    )


def bind(**fields: str) -> None:
    """What all lines of this request say from now on."""
    structlog.contextvars.bind_contextvars(**fields)


def _dumps(event: dict[str, Any], default: Any = str, **_: Any) -> str:
    return orjson.dumps(event, default=default).decode()
