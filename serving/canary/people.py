"""Whom a canary answers: a stable share of the people, drawn by hash. Pure.

A person is the end user that a request names (`safety_identifier`, else `user`), or a visitor of the playground. A
request that names nobody is drawn by its conversation: everything up to the first question of the user, with the key.
So a conversation stays with its version, and an app that names nobody is not wholly in or out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from serving.canary.figures import ArmName
from serving.canary.state import Canary

_TEXT_CHARS = 512  # of a raw prompt, which grows with its conversation


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What the hash drew for a person, as the log keeps it."""

    canary: str  # its id
    arm: ArmName
    share: float


def person(*, tenant: str, key_id: str, end_user: str | None, request: Mapping[str, Any]) -> str:
    """Who asks, as far as a request says: a hash, which names nobody."""
    who = ["user", end_user] if end_user else ["talk", key_id, _beginning(request)]
    return hashlib.blake2b(orjson.dumps([tenant, *who]), digest_size=12).hexdigest()


def draw(who: str, canary: Canary) -> Drawn:
    """The arm of a person, the same while the canary lasts. A larger share only adds people; another version
    draws others first."""
    mixed = hashlib.blake2b(f"{canary.version}:{who}".encode(), digest_size=8).digest()
    place = int.from_bytes(mixed) / 2**64
    arm: ArmName = "canary" if place < canary.share else "production"
    return Drawn(canary=canary.id, arm=arm, share=canary.share)


def _beginning(request: Mapping[str, Any]) -> Any:
    if "messages" not in request:
        return str(request.get("prompt", ""))[:_TEXT_CHARS]
    beginning = []
    for message in request["messages"]:
        beginning.append([message["role"], message.get("content")])
        if message["role"] == "user":
            break
    return beginning
