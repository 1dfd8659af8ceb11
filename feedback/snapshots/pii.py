"""Personal data found in a text and masked: `<PHONE_NUMBER>` stands where a phone number was.

Presidio's pattern recognizers, called one by one: no language model, no network. Its analyzer around them
would need one for words in the neighbourhood; ours looks at the words before a number itself. Nearly all
texts hold nothing that could be one, which a few searches tell without Presidio.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from feedback.errors import Unprocessable
from feedback.snapshots import presidio
from feedback.snapshots.addresses import addresses, links_with_user_data

_KEPT = 50_000  # texts whose masking is remembered
_CONTEXT_CHARS = 32
_OTHER_NUMBER = re.compile(
    r"(?<![A-Za-z])(?:order|invoice|tracking|ticket|isbn|issn|doi|version|build|release|serial|part|model|sku|item|reference"
    r"|ref|case|article|batch|receipt|transaction|revision|commit|parcel|shipment|product|barcode|ean|upc|patent"
    r"|v|id|ver|rev)\W{0,3}(?:(?:no|number|num|id|code|is|was|of)\b\W{0,3})*$",
    re.IGNORECASE,
)
_NOBODY = ("127.0.0.1", "0.0.0.0", "255.255.255.255")
_POINT = re.compile(r"(?<=\d{4})\.(?=\d{4})")  # between the groups of a card's number
_SPELLED_EMAIL = re.compile(
    r"\b(?:[\w.+'-]+ dot )?[\w.+'-]+ (?:at|\(at\)) [\w-]+(?: (?:dot|\(dot\)) [a-z]{2,10})+\b",
    re.IGNORECASE,
)
_PHONE_WORD = re.compile(
    r"\b(?:phone|telephone|tel|call|mobile|cell|cellphone|fax|whatsapp|dial|number|telefon|handy|mobil|ring)\b",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\d+[.,]\d+")
_SOCIAL = re.compile(r"(?:\bssn\b|social\s+security)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A text without its personal data, and which kinds were in it."""

    text: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of personal data: which texts may hold it, and where they do."""

    name: str
    least_digits: int  # a text with fewer holds none
    may_hold: Callable[[str], object]
    spans: Callable[[str], Iterator[tuple[int, int]]]


class Masker:
    """Remembers what it found in the newest texts: answers to one prompt are judged by several."""

    def __init__(self, *, name_model: str | None = None) -> None:
        self._kinds = [*_pattern_kinds(), *_name_kinds(name_model)]
        self._known: OrderedDict[int, Masked | None] = OrderedDict()
        self.found: Counter[str] = Counter()  # texts, by the kind they hold

    def mask(self, text: str) -> Masked | None:
        """None: there is nothing to mask."""
        number = hash(text)
        if number in self._known:
            self._known.move_to_end(number)
            return self._known[number]
        masked = self._masked(text)
        if masked is not None:
            self.found.update(masked.kinds)
        self._known[number] = masked
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return masked

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, kind) of what is masked, in order and apart from one another."""
        data = text.encode(errors="replace")
        num_digits = len(data) - len(data.translate(None, b"0123456789"))
        found = [
            (start, end, kind.name)
            for kind in self._kinds
            if num_digits >= kind.least_digits and kind.may_hold(text)
            for start, end in kind.spans(text)
        ]
        apart: list[tuple[int, int, str]] = []
        for span in sorted(found, key=lambda s: (s[0] - s[1], s[0])):  # the longest first
            if all(span[1] <= other[0] or span[0] >= other[1] for other in apart):
                apart.append(span)
        return sorted(apart)

    def _masked(self, text: str) -> Masked | None:
        spans = self.spans(text)
        if not spans:
            return None
        parts, last = [], 0
        for start, end, kind in spans:
            parts += [text[last:start], f"<{kind}>"]
            last = end
        kinds = tuple(sorted({kind for _, _, kind in spans}))
        return Masked(text="".join(parts) + text[last:], kinds=kinds)


def _pattern_kinds() -> list[Kind]:
    # The order decides between equally long spans.
    return [
        Kind(
            name="URL",
            least_digits=0,
            may_hold=lambda text: "://" in text or "www." in text,
            spans=links_with_user_data,
        ),
        Kind(
            name="EMAIL_ADDRESS",
            least_digits=0,
            may_hold=lambda text: "@" in text or " dot " in text,
            spans=_emails,
        ),
        Kind(
            name="IBAN_CODE",
            least_digits=10,
            may_hold=re.compile(r"\b[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]{4}").search,
            spans=_ibans,
        ),
        Kind(
            name="CREDIT_CARD",
            least_digits=12,
            may_hold=re.compile(r"(?:\d[ .-]?){12}").search,
            spans=_cards,
        ),
        Kind(
            name="US_SSN",
            least_digits=9,
            may_hold=re.compile(r"\d{3}[- .]?\d{2}[- .]?\d{4}").search,
            spans=_ssns,
        ),
        Kind(
            name="IP_ADDRESS",
            least_digits=1,
            may_hold=lambda text: text.count(".") >= 3 or text.count(":") >= 2,
            spans=_ips,
        ),
        Kind(
            name="PHONE_NUMBER",
            least_digits=7,
            may_hold=re.compile(r"(?:\d\W{0,3}){7}").search,
            spans=_phones,
        ),
        Kind(name="ADDRESS", least_digits=1, may_hold=bool, spans=addresses),
    ]


def _emails(text: str) -> Iterator[tuple[int, int]]:
    yield from presidio.spans("EmailRecognizer", text)
    yield from (match.span() for match in _SPELLED_EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    return presidio.spans(
        "IbanRecognizer", text if len(text.upper()) != len(text) else text.upper()
    )


def _cards(text: str) -> Iterator[tuple[int, int]]:
    spans = presidio.spans("CreditCardRecognizer", _POINT.sub("-", text))
    return (span for span in spans if not _is_other_number(text, span[0]))


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    # Nine digits without their hyphens are anything, unless the words before say what they are.
    least = 0.05 if _SOCIAL.search(text) else 0.5
    spans = presidio.spans("UsSsnRecognizer", text, least_score=least)
    return (span for span in spans if not _is_other_number(text, span[0]))


def _ips(text: str) -> Iterator[tuple[int, int]]:
    for start, end in presidio.spans("IpRecognizer", text, least_score=0.5):
        address = text[start:end]
        # C++ has a::b, and everybody's own machine is nobody's.
        is_one = len(address) >= 7 and any(map(str.isdigit, address)) and address not in _NOBODY
        if is_one and not _is_other_number(text, start):
            yield start, end


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for start, end in presidio.spans("PhoneRecognizer", text):
        if _is_dialled(text, start, end) and not _is_other_number(text, start):
            yield start, end


def _is_dialled(text: str, start: int, end: int) -> bool:
    """Written as a phone number is. Digits in one piece may be anything: a word nearby has to say what."""
    number = text[start:end]
    if number.strip("()").isdigit():
        around = (
            text[max(0, start - _CONTEXT_CHARS) : start] + " " + text[end : end + _CONTEXT_CHARS]
        )
        return _PHONE_WORD.search(around) is not None and text[start - 1 : start] != "."
    is_table = "  " in number or " - " in number  # columns, or a difference
    return not is_table and _FRACTION.fullmatch(number) is None


def _is_other_number(text: str, start: int) -> bool:
    """The words before it say that it is an order's, a book's, a version's."""
    return _OTHER_NUMBER.search(text[max(0, start - _CONTEXT_CHARS) : start]) is not None


def _name_kinds(model: str | None) -> list[Kind]:
    """Persons by a spaCy model, if one is named."""
    if model is None:
        return []
    import spacy

    try:
        pipeline = spacy.load(model)
    except OSError as error:
        raise Unprocessable(
            f"the model {model!r} for names is not installed: pip install it, or unset"
            " HONE_FEEDBACK_SNAPSHOT_NAME_MODEL"
        ) from error

    def persons(text: str) -> Iterator[tuple[int, int]]:
        for entity in pipeline(text).ents:
            if entity.label_ in ("PERSON", "PER"):
                yield entity.start_char, entity.end_char

    return [Kind(name="PERSON", least_digits=0, may_hold=bool, spans=persons)]
