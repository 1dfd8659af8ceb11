"""Folders that chance drew: what forward says of a judgement is what backward says of the versions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.lineage import held, links
from serving.lineage.graph import Key, touched, walk
from serving.registry import PolicyRecord
from tests.serving.lineage.system import write_snapshot

IDS = [f"fbk_{number}" for number in range(4)]


def record(number: int, *, parent: int | None, round_id: str | None) -> PolicyRecord:
    return PolicyRecord(
        version=f"policy-{number:04d}",
        kind="adapter",
        path="p",
        digest="d",
        parent=f"policy-{parent:04d}" if parent is not None else None,
        round_id=round_id,
        created=1.0,
    )


@settings(deadline=None)
@given(
    rounds=st.lists(st.sets(st.sampled_from(IDS)), min_size=1, max_size=4),
    parents=st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=5),
    made_by=st.lists(st.none() | st.integers(0, 4), min_size=5, max_size=5),
)
def test_a_judgement_went_into_a_version_exactly_where_the_version_leads_back_to_it(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: list[set[str]],
    parents: list[int | None],
    made_by: list[int | None],
) -> None:
    data_dir = tmp_path_factory.mktemp("links")
    for number, ids in enumerate(rounds):
        write_snapshot(data_dir / "rounds" / f"round-{number}" / "snapshot", {"x": sorted(ids)})
    records = {
        f"policy-{number:04d}": record(
            number, parent=parent, round_id=f"round-{by}" if by is not None else None
        )
        for number, (parent, by) in enumerate(zip(parents, made_by, strict=False))
    }
    edges = links.edges(data_dir, records)
    for judgement in IDS:
        found = held.holders(links.snapshots(data_dir), {judgement})
        went_into = touched(edges, [links.snapshot_key(data_dir, folder) for folder in found])
        for version in records:
            behind = walk(edges, [Key("version", version)], direction="backward")
            leads_back = any(
                judgement in ids and Key("snapshot", f"rounds/round-{number}/snapshot") in behind
                for number, ids in enumerate(rounds)
            )
            assert (version in went_into.trained | went_into.later) == leads_back
