"""Verdicts of texts that were judged a moment ago: a conversation sends its beginning again and again.

Keyed by a text's hash, bounded, and of one model: another model's first answer empties it. Texts are not kept.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the server says about one text."""

    scores: dict[str, float]  # 0 to 1, of the categories that the server's model judges
    flagged: list[str]  # categories the server flags; what blocks is moderation.policy's to say
    model: str


class Cache:
    """The least recently used goes first; nothing is older than `max_age_s`."""

    def __init__(
        self,
        *,
        max_texts: int,
        max_age_s: float = 300.0,  # how long a server's new thresholds may go unseen
        on_lookup: Callable[[bool], object] = lambda is_hit: None,
    ) -> None:
        self._max_texts = max_texts
        self._max_age_s = max_age_s
        self._on_lookup = on_lookup
        self._verdicts: OrderedDict[bytes, tuple[float, Verdict]] = OrderedDict()
        self._model: str | None = None

    def __len__(self) -> int:
        return len(self._verdicts)

    def get(self, text: str) -> Verdict | None:
        key = _hash(text)
        kept = self._verdicts.get(key)
        if kept is not None and time.monotonic() - kept[0] > self._max_age_s:
            del self._verdicts[key]
            kept = None
        self._on_lookup(kept is not None)
        if kept is None:
            return None
        self._verdicts.move_to_end(key)
        return kept[1]

    def put(self, text: str, verdict: Verdict) -> None:
        if verdict.model != self._model:
            self._verdicts.clear()
            self._model = verdict.model
        self._verdicts[_hash(text)] = (time.monotonic(), verdict)
        while len(self._verdicts) > self._max_texts:
            self._verdicts.popitem(last=False)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
