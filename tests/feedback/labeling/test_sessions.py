from __future__ import annotations

import pytest

from feedback.labeling.sessions import LIFETIME_S, Session, Signer

ANN = Session(key_id="key_1", labeler="ann", began=1000)


def test_a_sealed_session_is_read_back() -> None:
    signer = Signer("secret of the gateways")
    assert signer.unseal(signer.seal(ANN), now=1001) == ANN


@pytest.mark.parametrize("cookie", [None, "", "x", "x.y", "e30=.", "é.é"])
def test_what_we_did_not_sign_is_nobody(cookie: str | None) -> None:
    assert Signer("secret").unseal(cookie, now=1001) is None


def test_another_secret_and_another_time_end_a_session() -> None:
    cookie = Signer("secret").seal(ANN)
    assert Signer("another").unseal(cookie, now=1001) is None
    assert Signer("secret").unseal(cookie, now=1000 + LIFETIME_S) is None


def test_a_form_token_belongs_to_one_session() -> None:
    signer = Signer("secret")
    other = Session(key_id="key_1", labeler="bob", began=1000)
    assert signer.is_form_token(ANN, signer.form_token(ANN))
    assert not signer.is_form_token(ANN, signer.form_token(other))
    assert not signer.is_form_token(ANN, "")
