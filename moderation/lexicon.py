"""Word lists: how often a text names each notion. Their weights are fitted; no word flags by itself.

Also what composes two categories that were never trained: how clearly a text speaks of minors, and
how graphic it is. The words are in lexicon.toml.
Shapes: G groups.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LISTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_STEMS: dict[str, str] = _LISTS["groups"]
_AGE = re.compile(
    r"\b(?:([1-9]|1[0-7])\s*-?\s*(?:yo|y/o|years?[\s-]*old|yr[\s-]*old)"
    r"|(?:aged?|turned|is|am|was|only|just|about)\s+([1-9]|1[0-7])(?![\d%$:/.,])"
    r"|(?:five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen)[\s-]+years?[\s-]*old"
    r"|(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|[1-9]th|10th)[\s-]grade)",
    re.IGNORECASE,
)
_LITTLE = re.compile(r"\b(?:little|young|small)\s+(?:girl|boy|sister|brother|child|kid|one)s?\b")

_WORD = re.compile(r"[^\W_]+")
GROUPS = tuple(_STEMS)


def words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return _WORD.findall(text.lower().replace("'", "").replace("\u2019", ""))


def counts(words_: list[str]) -> Floats:
    """(G,) how often each group is named."""
    counts_G = np.zeros(len(GROUPS), dtype=np.float32)
    for word in words_:
        for group in _GROUPS_OF.get(word, ()):
            counts_G[group] += 1
    return counts_G


def minor(text: str) -> float:
    """0 to 1: how clearly someone under 18 is spoken of."""
    low = text.lower()
    absent = 1.0
    for word in set(words(low)):
        absent *= 1.0 - _MINOR_OF.get(word, 0.0)
    if _AGE.search(low):
        absent *= 0.08
    if _LITTLE.search(low):
        absent *= 0.3
    return 1.0 - absent


def graphic(text: str) -> float:
    """0 to 1: how much of the text is blood and injury."""
    found = [word for word in words(text) if word in _GORE]
    return 1.0 - 0.55 ** len(set(found))


def _inflected(stem: str) -> set[str]:
    forms = {
        stem,
        stem + "s",
        stem + "es",
        stem + "ed",
        stem + "ing",
        stem + "er",
        stem + "ers",
        stem + "in",
    }
    if stem.endswith("e"):
        forms |= {stem + "d", stem[:-1] + "ing", stem + "r", stem + "rs"}
    if stem.endswith("y"):
        forms |= {stem[:-1] + "ies", stem[:-1] + "ied"}
    if len(stem) < 6 and stem[-1] not in "aeiouywx" and stem[-2:-1] in list("aeiou"):
        forms |= {stem + stem[-1] + ending for ending in ("ed", "ing", "er", "ers")}
    return forms


_IRREGULAR = {
    "attack": "shot struck beaten hung threw hurt hitting",
    "death": "die dies",
    "gore": "bloodied",
}
_BARE = frozenset({"you", "they", "i", "intent", "identity", "soft"})


def _table() -> dict[str, tuple[int, ...]]:
    table: dict[str, tuple[int, ...]] = {}
    for index, group in enumerate(GROUPS):
        forms: set[str] = set(_IRREGULAR.get(group, "").split())
        for stem in _STEMS[group].split():
            forms |= {stem, stem + "s"} if group in _BARE else _inflected(stem)
        for form in forms:
            table[form] = (*table.get(form, ()), index)
    return table


_GROUPS_OF = _table()
_GORE = {form for stem in _STEMS["gore"].split() for form in _inflected(stem)}
_MINOR_OF = {
    form: float(sure)
    for sure, terms in _LISTS["minors"].items()
    for term in terms.split()
    for form in (term, term + "s")
}
# What people mask: f*ck, sl_t. The normaliser restores these.
MASKED = frozenset(
    form
    for group in ("profanity", "insult", "slur", "sexual", "attack")
    for stem in _STEMS[group].split()
    for form in _inflected(stem)
    if len(stem) > 2
)
