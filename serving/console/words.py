"""How times and figures are said. Pure, but for the clock where `now` is left out."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

NONE = "–"


def ago(moment: float | None, *, now: float | None = None) -> str:
    """How long since a time in unix seconds."""
    if moment is None:
        return NONE
    seconds = (time.time() if now is None else now) - moment
    if seconds < 10:
        return "just now"
    return f"{span(seconds)} ago"


def until(moment: float | None, *, now: float | None = None) -> str:
    """How long to a time in unix seconds."""
    if moment is None:
        return NONE
    seconds = moment - (time.time() if now is None else now)
    return f"in {span(seconds)}" if seconds >= 10 else "any moment"


def span(seconds: float | None) -> str:
    """A length of time in its largest unit."""
    if seconds is None:
        return NONE
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"


def moment(seconds: float | None) -> str:
    """`2026-01-31 14:05` in UTC."""
    return NONE if seconds is None else f"{_utc(seconds):%Y-%m-%d %H:%M}"


def iso(seconds: float) -> str:
    """For `<time datetime>`."""
    return f"{_utc(seconds):%Y-%m-%dT%H:%M:%SZ}"


def figure(value: Any) -> str:
    """Three digits that mean something."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NONE if value is None else str(value)
    if not math.isfinite(value):
        return "not measured"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e+").replace("e+", "e")
    if size >= 1000:
        return f"{value:,.0f}"
    digits = 2 if size >= 10 else 3
    return f"{value:.{digits}f}".rstrip("0").rstrip(".").replace("-", "\N{MINUS SIGN}")


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"


def size(num_bytes: float | None) -> str:
    """MB and GB, as disks are sold."""
    if num_bytes is None:
        return NONE
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def plain(name: str) -> str:
    """`reward_accuracy` as words; KL is written as everybody writes it."""
    return name.replace("_", " ").capitalize().replace("Kl ", "KL ")


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


KNOWN = {
    "ago": ago,
    "until": until,
    "span": span,
    "moment": moment,
    "iso": iso,
    "figure": figure,
    "percent": percent,
    "size": size,
    "plain": plain,
}
