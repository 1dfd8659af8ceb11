"""One plain spelling for what can be written in many: what the classifier reads in a text's place.

Undoes look-alike letters, invisible characters, digits for letters, spaced, dotted and stretched
words, and says emoji by name. It changes a word only where the result is one of the encoder's whole
words, so that `mp3`, `b2b` and `H1N1` stay. Pure: the same text gives the same result.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from moderation.lexicon import MASKED

VOCABULARY = Path(__file__).with_name("vocab.txt")

# Cyrillic, Greek and small-capital letters that are drawn like Latin ones; NFKC keeps them apart.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһӏքոսցвкмнтАВЕКМНОРСТУХІЈЅ"
    + "αβεικνορτυχγηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
    + "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "aeopcyxijsdhlpnsgbkmhtABEKMHOPCTYXIJS"
    + "abeiknoptuxynwABEZHIKMNOPTYX"
    + "abcdefghijklmnoprstuvwyz",
)
_DIGITS = str.maketrans("01345789@$!|£€", "oleastbgasille")
_DIGITS_I = str.maketrans("01345789@$!|£€", "oieastbgasiiee")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef\U0001f3fb-\U0001f3ff]"
)
_MARK = re.compile("[\u0300-\u036f\u0489\u20d0-\u20ff]")
_EMOJI = re.compile("[\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")
_SPACED = re.compile(r"(?<![^\W_])[^\W\d_](?:[ \t.\-_*·•|/~]{1,2}[^\W_]){2,}(?![^\W_])")
_MIXED = re.compile(
    # From a word's start, within a bound: else a long run of letters costs its square.
    r"(?<![\w@$!|£€])[^\W_]{0,20}(?:[^\W\d_](?:[0134578@$!|9£€]+[^\W\d_]|[0134578@$9£€]{2})|[@$013457][^\W\d_])"
    r"[\w@$!|£€]{0,30}"
)
_MASKED = re.compile(r"(?<![\w*])[^\W\d_]+[*_#]+[^\W\d_]+(?![\w*])")
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
_WORD = re.compile(r"[^\W\d_]+")
_PLAIN = re.compile(r"[\x00-\x7f]*")

_LONGEST_WORD = 18
_SHORTEST_LEET = 4


def normalise(text: str) -> str:
    """`text` in its plain spelling."""
    text = html.unescape(text) if "&" in text else text
    if not _PLAIN.fullmatch(text):
        text = _letters(text)
    text = _MASKED.sub(_unmasked, text)
    text = _SPACED.sub(_joined, text)
    text = _MIXED.sub(_lettered, text)
    return _unstretched(text)


def without_emoji(text: str) -> str:
    """`text` without its emoji; itself where it has none."""
    return _EMOJI.sub(" ", text)


def _letters(text: str) -> str:
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    text = _EMOJI.sub(_named, text)
    text = _MARK.sub("", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", _WORD.sub(_latin, text))


def _latin(found: re.Match[str]) -> str:
    # A word of one alphabet counts only if it becomes a word: Russian stays Russian.
    word = found.group()
    if _PLAIN.fullmatch(word):
        return word
    latin = word.translate(_LOOKALIKES)
    mixed = any(char < "\u0250" for char in word)
    return latin if mixed or latin.lower() in _words() else word


def _named(found: re.Match[str]) -> str:
    return f" {_name(found.group())} "


@lru_cache(maxsize=4096)
def _name(char: str) -> str:
    if "\U0001f1e6" <= char <= "\U0001f1ff":  # two of these make a flag
        return chr(ord(char) - 0x1F1E6 + ord("a"))
    return unicodedata.name(char, "").lower().replace(" sign", "").replace(" symbol", "")


def _joined(found: re.Match[str]) -> str:
    letters = re.sub(r"[^\w]|_", "", found.group()).lower()
    for spelled in (letters, letters.translate(_DIGITS_I), letters.translate(_DIGITS)):
        parts = _segmented(spelled)
        if parts is not None:
            return " ".join(parts)
    return found.group()


def _segmented(letters: str) -> list[str] | None:
    """`letters` cut into the fewest whole words; None where that cannot be done."""
    best: list[list[str] | None] = [[]]
    for end in range(1, min(len(letters), 60) + 1):
        found: list[str] | None = None
        for start in range(max(0, end - _LONGEST_WORD), end):
            before, word = best[start], letters[start:end]
            if before is None or not (word in _words() and (len(word) > 2 or word in _SHORT)):
                continue
            if found is None or len(before) + 1 < len(found):
                found = [*before, word]
        best.append(found)
    return best[-1] if len(letters) <= 60 else None


_SHORT = frozenset(
    "i a u am an as at be by do go he if in is it me my no of on or so to up us we".split()
)


def _unmasked(found: re.Match[str]) -> str:
    written = found.group()
    pattern = re.compile(re.sub(r"[*_#]", ".", written.lower()))
    fitting = sorted(word for word in MASKED if pattern.fullmatch(word))
    return fitting[0] if fitting else written


def _lettered(found: re.Match[str]) -> str:
    written = found.group()
    core = written.rstrip("!|")
    if len(core) < _SHORTEST_LEET or core.isalpha():
        return written
    for table in (_DIGITS_I, _DIGITS):
        word = core.lower().translate(table)
        if word in _words() or word.rstrip("s") in _words():
            return word + written[len(core) :]
    return written


def _unstretched(text: str) -> str:
    return _WORD.sub(_shortened, text) if _STRETCHED.search(text) else text


def _shortened(found: re.Match[str]) -> str:
    word = found.group()
    if not _STRETCHED.search(word):
        return word
    for kept in (r"\1\1", r"\1"):
        short = _STRETCHED.sub(kept, word)
        if short.lower() in _words():
            return short
    return _STRETCHED.sub(r"\1", word)


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    """The encoder's whole words of letters, and what is often masked."""
    lines = VOCABULARY.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line.isalpha()) | MASKED
