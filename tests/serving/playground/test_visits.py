from __future__ import annotations

import time

import pytest

from serving.playground.visits import Visits

OURS = Visits(secret="the secret of the gateways")
NOW = 1_800_000_000.0


def test_what_is_sealed_names_its_visitor_until_it_ends() -> None:
    visitor = OURS.begin()
    sealed = OURS.seal(visitor, "token", ends=NOW + 60)
    assert OURS.unseal(sealed, "token", now=NOW) == visitor
    assert OURS.unseal(sealed, "token", now=NOW + 61) is None


def test_a_cookie_is_no_token_and_a_token_no_cookie() -> None:
    cookie = OURS.seal(OURS.begin(), "cookie", ends=NOW)
    assert OURS.unseal(cookie, "cookie", now=NOW) is not None
    assert OURS.unseal(cookie, "token", now=NOW) is None


def test_only_whoever_knows_the_secret_makes_one() -> None:
    forged = Visits(secret="another secret").seal(OURS.begin(), "token", ends=NOW)
    assert OURS.unseal(forged, "token", now=NOW) is None


@pytest.mark.parametrize("place", [8, 20, -1])
def test_nothing_in_it_can_be_changed(place: int) -> None:
    sealed = OURS.seal(OURS.begin(), "token", ends=NOW)
    other = "0" if sealed[place] != "0" else "1"
    changed = list(sealed)
    changed[place] = other
    assert OURS.unseal("".join(changed), "token", now=NOW) is None


@pytest.mark.parametrize("sealed", [None, "", "visit-", "visit-a.b.c", "sk-abc", "visit-ü.1.2"])
def test_what_is_none_is_nobodys(sealed: str | None) -> None:
    assert OURS.unseal(sealed, "token", now=NOW) is None
    assert OURS.visitor_of(sealed or "") is None


def test_a_token_speaks_for_its_visitor_now() -> None:
    visitor = OURS.begin()
    assert OURS.visitor_of(OURS.seal(visitor, "token", ends=time.time() + 60)) == visitor
    assert OURS.visitor_of(OURS.seal(visitor, "token", ends=time.time() - 60)) is None
