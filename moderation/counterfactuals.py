"""Copies of training texts that name another group of people: who is named must not decide.

Most hate in the open data is about women, Muslims or black people. The copy of a harmless text is
harmless, that of a hateful one hateful; so what is learned is what is said.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from moderation.dataset import Row

SOURCE = "counterfactual"

_PEOPLE = """
women men muslims jews christians hindus immigrants refugees blacks whites gays lesbians
mexicans asians arabs africans indians turks gypsies
"""
_PERSON = "woman muslim jew christian hindu immigrant refugee mexican lesbian"
_KIND = """
black white gay trans transgender disabled asian muslim jewish christian hindu mexican african
arab indian chinese lesbian queer autistic deaf
"""
_ALSO = {"people": ("black people", "gay people", "trans people", "disabled people")}
_KINDS: Mapping[str, tuple[str, ...]] = {
    "people": (*_PEOPLE.split(), *_ALSO["people"]),
    "person": tuple(_PERSON.split()),
    "kind": tuple(_KIND.split()),
}
_PATTERNS = {
    # An adjective only before whom it describes: black is a colour too.
    "kind": re.compile(
        rf"\b({'|'.join(_KINDS['kind'])})(?= (?:people|person|man|men|folks?|kids?|guys?|community|lives)\b)",
        re.IGNORECASE,
    ),
    "people": re.compile(rf"\b({'|'.join(_PEOPLE.split())})\b", re.IGNORECASE),
    "person": re.compile(rf"\b({'|'.join(_KINDS['person'])})\b(?! \w+(?:man|men|people))", re.I),
}


def counterfactuals(rows: Sequence[Row], *, num: int, seed: int = 0) -> list[Row]:
    """At most `num` copies, as many harmful as harmless. Give rows of one split."""
    draw = random.Random(seed)
    chosen = [row for row in rows if "hate" in row.labels and _first(row.text)]
    made = []
    for hate in (0, 1):
        alike = [row for row in chosen if row.labels["hate"] == hate]
        for row in draw.sample(alike, min(num // 2, len(alike))):
            made.append(Row(text=swapped(row.text, draw), source=SOURCE, labels=row.labels))
    return made


def swapped(text: str, draw: random.Random) -> str:
    """`text` with the first group that it names, wherever it names it, in place of another."""
    first = _first(text)
    if first is None:
        return text
    sort, named = first
    other = draw.choice([one for one in _KINDS[sort] if one != named.lower()])

    def replace(found: re.Match[str]) -> str:
        if found.group(1).lower() != named.lower():
            return found.group(1)
        return other.capitalize() if found.group(1)[0].isupper() else other

    return _PATTERNS[sort].sub(replace, text)


def _first(text: str) -> tuple[str, str] | None:
    for sort, pattern in _PATTERNS.items():
        found = pattern.search(text)
        if found:
            return sort, found.group(1)
    return None
