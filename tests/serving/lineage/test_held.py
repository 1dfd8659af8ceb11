"""Which snapshots hold an id, and whether they are what was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.lineage import held
from serving.lineage.graph import Key
from tests.serving.lineage.system import write_snapshot

KEY = Key("snapshot", "snapshots/one")
IDS = [f"fbk_{number:03d}" for number in range(60)]


@given(
    parts=st.lists(st.sets(st.sampled_from(IDS)), min_size=1, max_size=3),
    wanted=st.sets(st.sampled_from(IDS)),
)
def test_few_ids_and_many_are_found_alike(
    tmp_path_factory: pytest.TempPathFactory, parts: list[set[str]], wanted: set[str]
) -> None:
    root = tmp_path_factory.mktemp("held")
    folders = [root / str(number) for number in range(len(parts))]
    for folder, ids in zip(folders, parts, strict=True):
        write_snapshot(folder, {"rankings": sorted(ids)})
    true = {
        folder: ids & wanted for folder, ids in zip(folders, parts, strict=True) if ids & wanted
    }
    assert held.holders(folders, wanted) == true
    strangers = {f"fbk_other{number}" for number in range(40)}
    assert held.holders(folders, wanted | strangers) == true


def test_an_id_in_somebody_s_text_is_no_row_of_it(tmp_path: Path) -> None:
    write_snapshot(tmp_path, {"rankings": ["fbk_1x"]})  # whose text says "not fbk_1xx"
    assert held.holders([tmp_path], {"fbk_1xx"}) == {}
    assert held.holders([tmp_path], {"fbk_1"}) == {}
    assert held.holders([tmp_path], {"fbk_1x"}) == {tmp_path: {"fbk_1x"}}


def test_a_broken_line_is_taken_for_what_it_names(tmp_path: Path) -> None:
    write_snapshot(tmp_path, {"rankings": ["fbk_1", "fbk_2"]})
    path = tmp_path / "rankings.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    many = {f"fbk_other{number}" for number in range(40)}
    for wanted in ({"fbk_2"}, {"fbk_2"} | many):
        assert held.holders([tmp_path], wanted) == {tmp_path: {"fbk_2"}}
    assert held.sample(path) == ["fbk_1"]


def test_a_sample_is_from_all_over_a_file(tmp_path: Path) -> None:
    write_snapshot(tmp_path, {"rankings": IDS, "undecided": []})
    found = held.sample(tmp_path / "rankings.jsonl")
    assert len(found) == 10
    assert found[0] == IDS[0]
    assert found == sorted(found)
    assert found[-1] > IDS[50]
    assert held.sample(tmp_path / "undecided.jsonl") == []


def test_a_file_with_other_content_of_the_same_length_is_found_by_hashing_only(
    tmp_path: Path,
) -> None:
    write_snapshot(tmp_path, {"rankings": ["fbk_1"]})
    assert held.node(KEY, tmp_path, verify=True, with_sample=True).breaks == ()
    path = tmp_path / "rankings.jsonl"
    path.write_bytes(path.read_bytes().replace(b"fbk_1", b"fbk_2"))
    assert held.node(KEY, tmp_path, verify=False, with_sample=True).breaks == ()
    (broken,) = held.node(KEY, tmp_path, verify=True, with_sample=True).breaks
    assert broken.what == "differs"
    path.unlink()
    (broken,) = held.node(KEY, tmp_path, verify=False, with_sample=True).breaks
    assert broken.what == "gone"


def test_a_snapshot_without_a_manifest_was_not_finished(tmp_path: Path) -> None:
    (broken,) = held.node(KEY, tmp_path, verify=False, with_sample=True).breaks
    assert broken.what == "incomplete"
    (broken,) = held.node(KEY, tmp_path / "none", verify=False, with_sample=True).breaks
    assert broken.what == "gone"
