"""Whether this engine may count as started, for whoever starts engines one after the other (Kubernetes).

What an engine should have is known to the gateways only: with each look they say it, in a header.
"""

from __future__ import annotations

from collections.abc import Collection


class Readiness:
    """One per server. Written by its event loop."""

    def __init__(self) -> None:
        self._wanted: frozenset[str] | None = None  # None: no gateway has looked yet

    def told(self, wanted: str | None) -> None:
        """The header of a gateway's look: versions, with commas; one of them has to be here."""
        if wanted is not None:
            self._wanted = frozenset(wanted.split(","))

    def lacks(self, loaded: Collection[str]) -> str | None:
        """Why it is not ready; None when it is."""
        if self._wanted is None:
            return "no gateway has said yet which version it wants"
        if self._wanted.isdisjoint(loaded):
            return f"{' or '.join(sorted(self._wanted))} is not loaded"
        return None
