"""Which side a person is on. By a hash of who they are: nobody moves, whoever else comes.

    0 ........ heldout_share ................ 1 - validation_share ........ 1
      heldout                  train                                validation

A larger share only adds people to its side; the other side keeps all of its own.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "validation", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "validation", "heldout")


def person_of(tenant: str, end_user: str | None, key_id: str) -> str:
    """Who asked: the end user that the app named, else the app's key."""
    return f"{tenant}/{end_user or key_id}"


def place_of(name: str) -> float:
    """Where a person (or a prompt) stands, evenly in [0, 1)."""
    # 53 bits: all that a float holds, so that the last places do not round up to 1.
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 11) / 2**53


def split_at(place: float, *, heldout_share: float, validation_share: float) -> Split:
    """The side of a place."""
    if place < heldout_share:
        return "heldout"
    return "validation" if place >= 1 - validation_share else "train"
