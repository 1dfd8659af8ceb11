from __future__ import annotations

import pytest

from feedback.snapshots.addresses import addresses, links_with_user_data


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in addresses(text)]


@pytest.mark.parametrize(
    "address",
    [
        "12 Oak Street",
        "1600 Pennsylvania Ave, Washington, DC 20500",
        "221B Baker Street",
        "7 Church Close, London SW1A 1AA",
        "Hauptstraße 12a, 10115 Berlin",
        "Berliner Allee 4, 40212 Düsseldorf",
        "3 bis rue de la Paix, 75002 Paris",
        "Calle de Alcalá 48, 28014 Madrid",
        "P.O. Box 1234",
    ],
)
def test_addresses_of_several_countries_are_found_whole(address: str) -> None:
    assert address in max(found(f"I live at {address}."), key=len, default="")


@pytest.mark.parametrize(
    "text",
    [
        "Fifth Avenue is long",
        "3 First Place medals",
        "10 Green apples",
        "at 5 Main points",
        "route 66",
    ],
)
def test_a_street_without_a_number_or_a_number_without_a_street_is_none(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("see https://ann:secret@host.org/x.", "https://ann:secret@host.org/x"),
        ("(http://host.org/?page=1&token=abc)", "http://host.org/?page=1&token=abc"),
        ("https://host.org/?page=1&q=token", None),
        ("https://host.org/?email=", None),
        ("http://[broken", None),
    ],
)
def test_only_links_that_say_something_of_somebody_are_personal(
    text: str, link: str | None
) -> None:
    spans = [text[start:end] for start, end in links_with_user_data(text)]
    assert spans == ([link] if link else [])
