"""A guard's answer, read: how unsafe, and which hazards. Pure.

How unsafe is the share of the verdicts' probability, at the verdict's first token, that counts as
unsafe. The answer is greedy, so that the token taken is the likeliest one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class Unreadable(ValueError):
    """The answer holds no verdict."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One answer."""

    word: str
    unsafe: float  # 0 to 1
    rest: str  # what it says after the word


def read(
    content: Iterable[Mapping[str, Any]], *, verdicts: Mapping[str, float], after: str
) -> Verdict:
    """`content` is choices[0].logprobs.content of a chat completion. Raises Unreadable."""
    said = ""
    tokens = list(content)
    for position, token in enumerate(tokens):
        is_due = after in said
        said += token["token"]
        if is_due and token["token"].strip():
            text = "".join(part["token"] for part in tokens[position:]).lstrip()
            return _at(token, text=text, verdicts=verdicts)
    raise Unreadable(f"no verdict in {said!r}")


def hazards(
    verdict: Verdict, *, labels: Iterable[str], after: str, is_unsafe: bool
) -> dict[str, float]:
    """Hazard -> how unsafe it is.

    Of an unsafe text the named hazards have the verdict's score; where none can be read, all have it.
    Of a safe one the guard names none: what is left goes to all of them in equal parts.
    """
    known = {label.casefold(): label for label in labels}
    if not is_unsafe:
        return dict.fromkeys(known.values(), verdict.unsafe / max(1, len(known)))
    named = {
        part.strip().casefold()
        for part in re.split(r"[,\n]", verdict.rest.partition(after)[2] if after else verdict.rest)
        if part.strip()
    }
    if not named:
        return dict.fromkeys(known.values(), verdict.unsafe)
    return {label: verdict.unsafe if key in named else 0.0 for key, label in known.items()}


def _at(token: Mapping[str, Any], *, text: str, verdicts: Mapping[str, float]) -> Verdict:
    word = _word(token["token"], verdicts)
    if word is None or not text.casefold().startswith(word.casefold()):
        raise Unreadable(f"no verdict: {text[:80]!r}")
    masses = dict.fromkeys(verdicts, 0.0)
    seen = {
        str(other["token"]): float(other["logprob"]) for other in token.get("top_logprobs") or ()
    }
    seen.setdefault(str(token["token"]), float(token["logprob"]))
    for piece, logprob in seen.items():
        if (meant := _word(piece, verdicts)) is not None:
            masses[meant] += math.exp(logprob)
    total = sum(masses.values())
    unsafe = sum(mass * verdicts[name] for name, mass in masses.items()) / total
    return Verdict(word=word, unsafe=min(1.0, unsafe), rest=text[len(word) :])


def _word(piece: str, verdicts: Mapping[str, float]) -> str | None:
    """The verdict that a token begins or is; None where it is none, or could be several."""
    plain = piece.strip().casefold()
    if not plain:
        return None
    meant = [
        word
        for word in verdicts
        if word.casefold().startswith(plain) or plain.startswith(word.casefold())
    ]
    return meant[0] if len(meant) == 1 else None
