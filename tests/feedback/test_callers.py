from __future__ import annotations

import pytest

from feedback.callers import Caller
from feedback.errors import Unprocessable

KEY = Caller(key_id="key_1", tenant="t", is_labeler=True)


@pytest.mark.parametrize(("named", "expected"), [(None, "key_1"), ("Ann", "Ann")])
def test_a_key_speaks_for_itself_or_for_whom_it_names(named: str | None, expected: str) -> None:
    assert KEY.names(named) == expected


def test_a_key_does_not_speak_for_a_labeler_with_a_record() -> None:
    with pytest.raises(Unprocessable, match="a key cannot speak for them"):
        KEY.names("lab_01hzx")


def test_whoever_is_logged_in_judges_in_their_own_name() -> None:
    ann = Caller(key_id="", tenant="t", is_labeler=True, source="labeler", person="lab_ann")
    assert ann.names(None) == ann.names("lab_ann") == "lab_ann"
    with pytest.raises(Unprocessable, match="in your own name"):
        ann.names("lab_bert")
