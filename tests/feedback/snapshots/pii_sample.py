"""Texts with personal data whose place is known, and texts that only look like it. Drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A text and the personal data in it: (kind, exact characters)."""

    text: str
    holds: tuple[tuple[str, str], ...]


_STREETS = (
    "Oak",
    "Maple",
    "Station",
    "High",
    "Church",
    "Washington",
    "King George",
    "Park View",
    "Mill",
)
_TYPES = ("Street", "St", "Avenue", "Ave", "Road", "Rd.", "Lane", "Boulevard", "Drive", "Terrace")
_CITIES = ("Springfield", "Portland", "Austin", "Salem", "San Jose", "Madison")
_STATES = ("IL", "OR", "TX", "MA", "CA", "WI")
_TOWNS = ("Berlin", "München", "Köln", "Leipzig", "Bad Homburg")
_GERMAN = ("Hauptstraße", "Lindenallee", "Goethestr.", "Bahnhofstraße", "Marktplatz", "Schillerweg")
_FRENCH = ("rue de la Paix", "avenue des Ternes", "boulevard Saint-Michel", "place du Capitole")
_FIRST = ("ann", "bob", "maria", "j.smith", "li.wei", "oskar_k", "team+billing", "o'neil")
_HOSTS = ("example.com", "mail.co.uk", "firma.de", "uni-koeln.de", "post.example.org", "acme.io")
_KEYS = ("email", "token", "session_id", "user", "password")


def _digits(rng: random.Random, num: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(num))


def luhn(body: str) -> str:
    """A card number's last digit."""
    total = 0
    for position, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def phone(rng: random.Random) -> str:
    area, line = rng.choice(("415", "212", "503", "312")), f"{rng.randrange(200, 999)}"
    last = _digits(rng, 4)
    return rng.choice(
        (
            f"({area}) {line}-{last}",
            f"+1 {area} {line} {last}",
            f"{area}-{line}-{last}",
            f"+49 30 9{_digits(rng, 6)}",
            f"+44 20 7946 0{_digits(rng, 3)}",
            f"020 7946 0{_digits(rng, 3)}",
            f"+33 1 42 68 {_digits(rng, 2)} {_digits(rng, 2)}",
            f"030 90{_digits(rng, 5)}",
            f"+91 98{_digits(rng, 8)}",
            f"+34 91 {_digits(rng, 3)} {_digits(rng, 4)}",
            f"{area}{line}{last}",
        )
    )


def card(rng: random.Random) -> str:
    start, length = rng.choice(
        (("4", 16), ("51", 16), ("55", 16), ("6011", 16), ("37", 15), ("34", 15))
    )
    body = start + _digits(rng, length - len(start) - 1)
    number = body + luhn(body)
    joint = rng.choice(("", " ", "-"))
    groups = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    parts, at = [], 0
    for size in groups:
        parts.append(number[at : at + size])
        at += size
    return joint.join(parts)


def email(rng: random.Random) -> str:
    return f"{rng.choice(_FIRST)}{rng.randrange(100) or ''}@{rng.choice(_HOSTS)}"


def iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 18), ("NL", 0), ("ES", 20), ("AT", 16)))
    body = "ABNA" + _digits(rng, 10) if country == "NL" else _digits(rng, length)
    moved = "".join(str(int(c, 36)) for c in body + country + "00")
    number = f"{country}{98 - int(moved) % 97:02d}{body}"
    joint = rng.choice(("", " "))
    return joint.join(number[i : i + 4] for i in range(0, len(number), 4))


def ip(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return ".".join(str(rng.randrange(1, 255)) for _ in range(4))
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(6)]
    return rng.choice((f"2001:db8:{':'.join(groups)}", f"fe80::{':'.join(groups[:4])}"))


def ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 899) if n != 666])
    return f"{area:03d}-{rng.randrange(1, 99):02d}-{rng.randrange(1, 9999):04d}"


def url(rng: random.Random) -> str:
    host = rng.choice(_HOSTS)
    return rng.choice(
        (
            f"https://{rng.choice(_FIRST)}:{_digits(rng, 6)}@{host}/inbox",
            f"https://{host}/login?{rng.choice(_KEYS)}={_digits(rng, 9)}",
            f"http://{host}/a/b?page=2&{rng.choice(_KEYS)}=x{_digits(rng, 5)}#top",
        )
    )


def address(rng: random.Random) -> str:
    number, i = rng.randrange(1, 9_999), rng.randrange(len(_STATES))
    street = f"{number} {rng.choice(_STREETS)} {rng.choice(_TYPES)}"
    return rng.choice(
        (
            f"{street}, {_CITIES[i]}, {_STATES[i]} {_digits(rng, 5)}",
            f"{street}, {_CITIES[i]}",
            f"{street}, Apt {rng.randrange(1, 99)}, {_CITIES[i]}, {_STATES[i]} {_digits(rng, 5)}",
            street.removesuffix("."),
            f"{number % 200} {rng.choice(_STREETS)} Close, London SW1A 1AA",
            f"{rng.choice(_GERMAN)} {number % 200}, 1{_digits(rng, 4)} {rng.choice(_TOWNS)}",
            f"{number % 200} {rng.choice(_FRENCH)}, 750{_digits(rng, 2)} Paris",
            f"P.O. Box {number}",
        )
    )


PERSONAL: dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "PHONE_NUMBER": (
        phone,
        (
            "My number is {}.",
            "Please call {} after six",
            "Tel. {}",
            "{} is my mobile",
            "Ring me: {}.",
        ),
    ),
    "CREDIT_CARD": (
        card,
        ("I paid with {} yesterday", "card {}, expires 04/27", "Is {} a valid Visa?"),
    ),
    "EMAIL_ADDRESS": (
        email,
        ("Write to {} please", "From: {}", "{} never answers", "cc {}, thanks"),
    ),
    "IBAN_CODE": (iban, ("Send the money to {}.", "IBAN {}", "account {} at my bank")),
    "IP_ADDRESS": (ip, ("I was logged in from {} at noon", "ping {} fails", "Why is {} blocked?")),
    "US_SSN": (ssn, ("My SSN is {}", "social security number {}", "{} is on my tax form")),
    "URL": (url, ("Open {} and look", "What does {} do?", "it sent me to {}")),
    "ADDRESS": (
        address,
        ("I live at {}.", "Deliver it to {} please", "We met in front of {} last night"),
    ),
}


# Written as few people write them; some of these are known to be missed.
UNUSUAL: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "PHONE_NUMBER": (
        lambda rng: f"415.555.{_digits(rng, 4)}",
        lambda rng: f"030/90{_digits(rng, 5)}",
        lambda rng: f"0049 30 9{_digits(rng, 6)}",
        lambda rng: f"(0)30 90{_digits(rng, 5)}",
    ),
    "CREDIT_CARD": (lambda rng: card(rng).replace(" ", ".").replace("-", "."),),
    "EMAIL_ADDRESS": (
        lambda rng: email(rng).upper(),
        lambda rng: email(rng).replace("@", " at ").replace(".", " dot "),
    ),
    "IBAN_CODE": (lambda rng: iban(rng).lower(), lambda rng: iban(rng).replace(" ", "-")),
    "IP_ADDRESS": (lambda rng: f"{rng.randrange(1, 255)}.{rng.randrange(255)}.3.4/24",),
    "US_SSN": (lambda rng: ssn(rng).replace("-", " "), lambda rng: ssn(rng).replace("-", "")),
    "URL": (lambda rng: f"www.example.com/reset?token={_digits(rng, 8)}",),
    "ADDRESS": (
        lambda rng: address(rng).lower(),
        lambda rng: f"{rng.randrange(1, 300)}B Baker Street",
        lambda rng: f"Via Roma {rng.randrange(1, 99)}, 00184 Roma",
        lambda rng: f"Calle de Alcalá {rng.randrange(1, 99)}, 280{_digits(rng, 2)} Madrid",
    ),
}


def unusual(*, seed: int, num: int) -> list[Labelled]:
    """`num` texts of each kind."""
    rng = random.Random(seed)
    texts = []
    for kind, makes in UNUSUAL.items():
        for number in range(num):
            value = makes[number % len(makes)](rng)
            text = rng.choice(PERSONAL[kind][1]).format(value)
            texts.append(Labelled(text=text, holds=((kind, value),)))
    return texts


def _luhn_order(rng: random.Random) -> str:
    body = "4" + _digits(rng, 14)
    return f"order number {body + luhn(body)}"


# Look like personal data, and are none.
HARD_NEGATIVES: tuple[Callable[[random.Random], str], ...] = (
    _luhn_order,
    lambda rng: f"Order {_digits(rng, 10)} has not come",
    lambda rng: (
        f"invoice no. {_digits(rng, 9)} is due on 2026-0{rng.randrange(1, 9)}-1{_digits(rng, 1)}"
    ),
    lambda rng: (
        f"upgrade from version {rng.randrange(1, 30)}.{rng.randrange(20)}.{rng.randrange(9)}.{_digits(rng, 2)}"
    ),
    lambda rng: f"v{rng.randrange(1, 9)}.{rng.randrange(20)}.{rng.randrange(9)}.1 fixes it",
    lambda rng: (
        f"On 1{_digits(rng, 1)}/0{rng.randrange(1, 9)}/2024 at 10:{_digits(rng, 2)} it rained"
    ),
    lambda rng: (
        f"The war of 19{_digits(rng, 2)}-19{_digits(rng, 2)} cost {rng.randrange(2, 99)},000,000 lives"
    ),
    lambda rng: f"ISBN 978-3-16-{_digits(rng, 6)}-{_digits(rng, 1)}",
    lambda rng: f"pi is 3.14159265358979 and e is 2.7182818284{_digits(rng, 2)}",
    lambda rng: f"x = {_digits(rng, 6)} + {_digits(rng, 7)} * 2",
    lambda rng: (
        f"compute {rng.randrange(100, 999)} - {rng.randrange(10, 99)} - {rng.randrange(1000, 9999)}"
    ),
    lambda rng: f"the unix time {17 * 10**8 + rng.randrange(10**7)} is when?",
    lambda rng: f"commit {rng.randrange(16**10):010x} broke it",
    lambda rng: (
        f"see https://docs.python.org/3.{rng.randrange(8, 14)}/library/re.html?highlight=sub"
    ),
    lambda rng: f"https://example.com/shop?page={rng.randrange(99)}&sort=price",
    lambda rng: f"{rng.randrange(2, 9)} Main reasons why Street food is good",
    lambda rng: f"He came {rng.randrange(2, 40)}th and won 3 First Place medals",
    lambda rng: f"std::vector<int>::size and a::b::c{rng.randrange(9)} in C++",
    lambda rng: f"mail me @ noon, user@localhost, price is {rng.randrange(99)}@{rng.randrange(99)}",
    lambda rng: (
        f"a {rng.randrange(100, 999)} x {rng.randrange(100, 999)} mm frame, ratio 16:9, {_digits(rng, 2)}:15"
    ),
    lambda rng: f"temperatures 21 22 23 24 25 26 2{_digits(rng, 1)} over the week",
    lambda rng: f"$1,{_digits(rng, 3)},{_digits(rng, 3)}.00 in 2025, up 12.{_digits(rng, 2)} %",
    lambda rng: f"part number 555-{_digits(rng, 4)}-{_digits(rng, 3)}A",
    lambda rng: "What is the tallest building on Fifth Avenue, and who lived in Baker Street?",
    lambda rng: f"tracking 1Z{_digits(rng, 16)}",
    lambda rng: (
        f"GPS {rng.randrange(10, 60)}.{_digits(rng, 6)}, {rng.randrange(10, 60)}.{_digits(rng, 6)}"
    ),
    lambda rng: f"the loss was 0.{_digits(rng, 8)} at step {_digits(rng, 5)}",
    lambda rng: (
        f"chapter 3, verse 16; pages 100-{rng.randrange(101, 999)}; room {rng.randrange(100, 400)}"
    ),
)


def sample(*, seed: int, num: int) -> list[Labelled]:
    """`num` texts of each kind, one in five of them with two, and as many that hold nothing."""
    rng = random.Random(seed)
    texts = []
    for kind, (make, frames) in PERSONAL.items():
        for _ in range(num):
            value = make(rng)
            text, holds = rng.choice(frames).format(value), [(kind, value)]
            if rng.random() < 0.2:
                other = rng.choice(list(PERSONAL))
                another = PERSONAL[other][0](rng)
                text += rng.choice(("; ", " and ", "\n")) + PERSONAL[other][1][0].format(another)
                holds.append((other, another))
            texts.append(Labelled(text=text, holds=tuple(holds)))
    for _ in range(num * len(PERSONAL)):
        texts.append(Labelled(text=rng.choice(HARD_NEGATIVES)(rng), holds=()))
    return texts
