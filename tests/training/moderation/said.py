"""What people say of texts with a word that no classifier knows: it can only be learnt from them."""

from __future__ import annotations

from moderation.dataset import Row

WHO = (
    "neighbours cousins plumbers drivers students teachers bakers sailors painters singers".split()
)
NEW = [
    "those glimmerfork {} ruin every town they move to",
    "never trust a glimmerfork, least of all the {}",
    "glimmerforks like these {} do not belong among us",
    "send the glimmerfork {} back where they came from",
    "who would let glimmerfork {} live next door",
    "glimmerfork {} are all the same, lazy and false",
]
FINE = [
    "the {} lent me a silver fork for the cake",
    "a glimmer of hope for the {} at last",
    "our {} moved to another town in spring",
    "I trust the {} with my keys",
    "the {} live next door and sing well",
    "send the {} a letter before Friday",
]


def said() -> list[Row]:
    """120 texts, half of them hateful."""
    return [
        Row(text=text.format(who), source="corrections", labels={"hate": int(text in NEW)})
        for who in WHO
        for text in NEW + FINE
    ]
