"""Postal addresses and links with user data, as patterns: Presidio has no recognizer for the first and takes
every link for personal.

English, German, French, Spanish and Italian street addresses with their number, and box numbers. A street without a
number, or a city alone, is not an address. Words that are streets only sometimes (Court, Place, Way) need a
comma, a postcode or a flat beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

_NAME = r"[A-ZÀ-Þ][\w'’.-]{0,30}"  # bounded: without it a text of 20,000 dots takes minutes
_SURE = r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Boulevard|Blvd|Drive|Dr|Crescent|Terrace|Parkway|Pkwy|Highway|Hwy)"
_MAYBE = r"(?:Court|Ct|Place|Pl|Way|Square|Sq|Close|Circle|Row|Walk|Gardens|Mews|Hill|Green)"
_FLAT = r"(?:,?\s+(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|#)\.?\s*\w{1,5})"
_ZIP = r"(?:[A-Z]{2}\s+\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]?\s*\d[A-Z]{2})"
_CITY = rf"(?:,?\s+{_NAME}(?:\s+{_NAME}){{0,2}},?\s+{_ZIP}|,\s+{_NAME}(?:\s+{_NAME}){{0,2}}(?:,\s+[A-Z]{{2}})?)"
_NUMBER = r"(?<![\w.,/-])\d{1,5}[A-Za-z]?"
_TOWN = rf"(?:,?\s+(?:[A-Z]{{1,2}}-)?\d{{4,5}}\s+{_NAME}(?:[\s-]{_NAME}){{0,2}})"

_ADDRESSES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_NUMBER}\s+(?:{_NAME}\s+){{1,4}}{_SURE}\b\.?{_FLAT}?{_CITY}?",
        rf"{_NUMBER}\s+(?:{_NAME}\s+){{1,4}}{_MAYBE}\b\.?(?:{_FLAT}{_CITY}?|{_CITY})",
        rf"\b{_NAME}(?:straße|strasse|str\.|gasse|allee|platz|weg)\s+\d{{1,4}}\s?[a-z]?\b{_TOWN}?",
        rf"\b{_NAME}(?:[\s-]{_NAME})?[\s-](?:Straße|Strasse|Str\.|Allee|Platz|Weg)\s+\d{{1,4}}\s?[a-z]?\b{_TOWN}?",
        rf"{_NUMBER}(?:\s+(?:bis|ter))?,?\s+(?:rue|avenue|boulevard|place|chemin|impasse|quai|allée)\s+"
        rf"(?:(?:de|du|des|la|le|les|d'|l'|d’|l’|à)\s*)*{_NAME}(?:[\s-]{_NAME}){{0,3}}{_TOWN}?",
        rf"\b(?:Calle|C/|Avenida|Avda\.|Plaza|Paseo|Via|Viale|Piazza|Corso)\s+(?:(?:de|del|la|los|las)\s+)*{_NAME}(?:\s+{_NAME}){{0,2}}"
        rf",?\s+(?:n[º°.]\s*)?\d{{1,4}}\b{_TOWN}?",
        r"\b(?:P\.?\s?O\.?\s?Box|Post Office Box|Postfach)\s+\d{1,6}\b",
    )
)
_LINK = re.compile(r"\b(?:[a-z][a-z0-9+.-]{1,9}://|www\.)[^\s<>\"`\])}]+", re.IGNORECASE)
_ABOUT_SOMEBODY = frozenset(
    (
        "access_token",
        "account",
        "api_key",
        "apikey",
        "auth",
        "birthday",
        "code",
        "customer",
        "customer_id",
        "dob",
    )
    + (
        "email",
        "first_name",
        "firstname",
        "key",
        "last_name",
        "lastname",
        "login",
        "mail",
        "mobile",
        "name",
    )
    + (
        "passwd",
        "password",
        "phone",
        "pwd",
        "secret",
        "session",
        "session_id",
        "sessionid",
        "sid",
        "sig",
        "ssn",
    )
    + ("signature", "tel", "token", "uid", "user", "user_id", "userid", "username")
)
# Told apart before the patterns are tried: by words, because a pattern of so many costs ten times as much.
_STREET_WORDS = frozenset(
    "Street St Avenue Ave Road Rd Lane Ln Boulevard Blvd Drive Dr Crescent Terrace Parkway Pkwy Highway Hwy"
    " Court Ct Place Pl Way Square Sq Close Circle Row Walk Gardens Mews Hill Green Calle C/ Avenida Avda Plaza"
    " Paseo Via Viale Piazza Corso Box Postfach rue avenue boulevard place chemin impasse quai allée Straße Strasse"
    " Str Allee Platz Weg".encode().split()
)
_STREET_ENDS = ("straße", "strasse", "str.", "gasse", "allee", "platz", "weg")
_PUNCTUATION = bytes.maketrans(b",.;:!?()-\n", b" " * 10)


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Spans of postal addresses."""
    words = text.encode(errors="replace").translate(_PUNCTUATION).split()
    if _STREET_WORDS.isdisjoint(words) and not any(end in text for end in _STREET_ENDS):
        return
    for pattern in _ADDRESSES:
        for match in pattern.finditer(text):
            yield match.span()


def links_with_user_data(text: str) -> Iterator[tuple[int, int]]:
    """Spans of links that carry a login, or name somebody in their query."""
    for match in _LINK.finditer(text):
        link = match.group().rstrip(".,;:!?'")
        try:
            parts = urlsplit(link if "://" in link else f"//{link}")
            fields = {name.lower() for name, value in parse_qsl(parts.query) if value}
        except ValueError:
            continue  # "http://[" is no link
        if parts.username is not None or fields & _ABOUT_SOMEBODY:
            yield match.start(), match.start() + len(link)
