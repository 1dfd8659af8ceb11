from __future__ import annotations

from pathlib import Path

import pytest

from feedback.snapshots.files import Rows, sha256_of, write_json


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Rows(path) as file:
        file.add({"a": 1})
        assert not path.exists()
        file.add({"a": "é"})
    assert path.read_text() == '{"a":1}\n{"a":"é"}\n'
    assert file.written == {"sha256": sha256_of(path), "bytes": path.stat().st_size, "rows": 2}


def test_a_file_that_was_broken_off_never_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def write() -> None:
        with Rows(path) as file:
            file.add({"a": 1})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not path.exists()


def test_what_is_written_cannot_be_written_to(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").stat().st_mode & 0o222 == 0
    write_json(tmp_path / "a.json", {"a": 2})  # but made anew
    assert b"2" in (tmp_path / "a.json").read_bytes()
