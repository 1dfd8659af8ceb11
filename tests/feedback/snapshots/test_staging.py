from __future__ import annotations

from pathlib import Path

from feedback.snapshots.staging import Staging


def test_what_is_staged_has_no_name_on_disk(tmp_path: Path) -> None:
    """kill -9 at any moment leaves no text behind."""
    with Staging(tmp_path) as staging:
        assert list(tmp_path.iterdir()) == []
        for number in range(5_000):
            staging.add("prompts", (number, number, 1, 0.5, b"text"))
        place = staging.put(b'{"a": 1}')
        staging.flush()
        assert list(tmp_path.iterdir()) == []
        assert staging.get(*place) == {"a": 1}
        (found,) = staging.rows("SELECT count(*), max(draw) FROM prompts")
        assert found == (5_000, 4_999)
    assert list(tmp_path.iterdir()) == []


def test_rows_come_while_others_are_read(tmp_path: Path) -> None:
    with Staging(tmp_path) as staging:
        places = [staging.put(b"%d" % number) for number in range(100)]
        staging.flush()
        assert [staging.get(*place) for place in reversed(places)] == list(range(99, -1, -1))
        assert staging.change("DELETE FROM prompts") == 0
