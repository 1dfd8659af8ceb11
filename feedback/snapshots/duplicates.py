"""Prompts that begin alike, or are nearly the same.

*Begin alike* (InstructGPT, section 3.2): all that share their first characters are one; a system message is
the app's and does not count. *Nearly the same*: MinHash finds those with many shingles in common; then their
words are compared, because "the capital of France" and "the capital of Italy" share nearly all characters and
are two questions, while a typing error, a "please" or another comma make no new one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from os.path import commonprefix
from zlib import crc32

import numpy as np
from datasketch import MinHash, MinHashLSH

_NUM_PERM = 64
_BANDS, _ROWS = 16, 4  # finds 99.98 % of pairs of similarity 0.8, every second one of 0.45
_SHINGLE = 4  # characters
_MAX_CHARS = 4_000  # of a long prompt the beginning decides
_LONG_WORD = 5  # letters; in shorter words one other letter makes another word
_WORDS_PER_CHANGE = 20
_EDGE = 10  # words that matter
_MAX_CANDIDATES = 8  # whose words are compared: the most alike by their signatures
_EMPTY_WORDS = frozenset(
    "a an the please pls kindly hi hello hey thanks thank you can could would will help do does for me us to of in on"
    " is are just so then and now that this it i my your some".split()
)


class Duplicates:
    """Says of prompt after prompt whether one like it came before. Holds what it has seen: some 6 KB each."""

    def __init__(self, *, prefix_chars: int, similarity: float) -> None:
        self._prefix_chars = prefix_chars
        self._similarity = similarity
        self._prefixes: set[bytes] = set()
        self._lsh = MinHashLSH(num_perm=_NUM_PERM, params=(_BANDS, _ROWS), hashfunc=_short)
        self._empty = MinHash(num_perm=_NUM_PERM, seed=1, hashfunc=crc32)
        self._texts: list[str] = []
        self._signatures = np.zeros((1_024, _NUM_PERM), dtype=np.uint32)

    def reason(self, texts: Sequence[str]) -> str | None:
        """Why a prompt (its messages without the system's) is left out; None: it is new, and remembered."""
        text = "\n".join(texts)
        prefix = blake2b(text[: self._prefix_chars].encode(), digest_size=16).digest()
        if len(text) >= self._prefix_chars and prefix in self._prefixes:
            return "same_beginning"
        plain = normalised(text[:_MAX_CHARS])
        signature = self._empty.copy()
        signature.update_batch([shingle.encode() for shingle in _shingles(_content(plain))])
        if any(
            is_near(plain, self._texts[i], similarity=self._similarity)
            for i in self._most_alike(signature)
        ):
            return "nearly_the_same"
        self._prefixes.add(prefix)
        self._remember(plain, signature)
        return None

    def _most_alike(self, signature: MinHash) -> list[int]:
        found = self._lsh.query(signature)
        if not found:
            return []
        numbers = np.array(found)
        equal = self._signatures[numbers] == signature.hashvalues.astype(np.uint32)
        order = np.argsort(-np.count_nonzero(equal, axis=1), kind="stable")
        return [int(number) for number in numbers[order[:_MAX_CANDIDATES]]]

    def _remember(self, plain: str, signature: MinHash) -> None:
        number = len(self._texts)
        if number == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.zeros_like(self._signatures)])
        self._signatures[number] = signature.hashvalues
        self._lsh.insert(number, signature)
        self._texts.append(plain)


def normalised(text: str) -> str:
    """Without case, punctuation and breaks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+(?:['’]\w+)?|[^\w\s.,;:!?\"'()…-]", folded))


def is_near(one: str, other: str, *, similarity: float) -> bool:
    """Two normalised texts say the same: by their shingles, and no word that matters is another one."""
    a, b = _content(one).split(), _content(other).split()
    if _are_typos(a, b):
        return True
    # Of a long text some words may be others; but none that is a number, and none at its beginning or its end,
    # where people put what they want done with the rest.
    counts, others = Counter(a), Counter(b)
    added, dropped = counts - others, others - counts
    limit = min(len(a), len(b)) // _WORDS_PER_CHANGE
    if max(added.total(), dropped.total()) > limit or _has_digit([*added, *dropped]):
        return False
    are_edges_same = _are_typos(a[:_EDGE], b[:_EDGE]) and _are_typos(a[-_EDGE:], b[-_EDGE:])
    return are_edges_same and jaccard(one, other) >= similarity


def jaccard(one: str, other: str) -> float:
    a, b = _shingles(one), _shingles(other)
    return len(a & b) / len(a | b) if a | b else 1.0


def _are_typos(words: Sequence[str], others: Sequence[str]) -> bool:
    """The same words in the same order, but for misspelt ones."""
    if len(words) != len(others):
        return False
    return all(a == b or _is_typo(a, b) for a, b in zip(words, others, strict=True))


def _has_digit(words: Sequence[str]) -> bool:
    return any(character.isdigit() for word in words for character in word)


def _is_typo(one: str, other: str) -> bool:
    """One letter more, fewer or other, or two neighbours swapped, in a word long enough to tell."""
    if min(len(one), len(other)) < _LONG_WORD or _has_digit([one, other]):
        return False
    if abs(len(one) - len(other)) > 1 or one[0] != other[0]:
        return False
    start = len(commonprefix([one, other]))
    rest, rest_of_other = one[start:], other[start:]
    if len(one) == len(other):
        is_swapped = rest[:2] == rest_of_other[:2][::-1] and rest[2:] == rest_of_other[2:]
        return is_swapped or rest[1:] == rest_of_other[1:]
    longer, shorter = sorted((rest, rest_of_other), key=len, reverse=True)
    return longer[1:] == shorter


def _shingles(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[i : i + _SHINGLE] for i in range(max(1, len(padded) - _SHINGLE + 1))}


def _content(plain: str) -> str:
    """Without the words that say nothing; all of it where nothing else is left."""
    return " ".join(word for word in plain.split() if word not in _EMPTY_WORDS) or plain


def _short(band: bytes) -> bytes:
    return blake2b(band, digest_size=8).digest()
