from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.connection import connect
from feedback.errors import Conflict, NotFound
from serving import artifact
from serving.canary.store import Canaries
from serving.lineage import versions as lineage
from serving.lineage.graph import Key
from serving.recovery.found import look
from serving.registry import BASE, PREVIOUS, PRODUCTION, Live, PolicyRecord, Registry
from serving.round_states import ENDED, UNDER_WAY
from serving.routing import resolve
from serving.settings import ServingSettings
from tests.training.test_publish import safetensors
from training.retention import old, past, prune, prune_versions
from training.rounds import Rounds
from training.settings import TrainingSettings


@given(st.lists(st.sampled_from([*ENDED, *UNDER_WAY]), max_size=30), st.integers(1, 10))
def test_the_newest_that_ended_and_those_under_way_are_kept(statuses: list[str], keep: int) -> None:
    states = [{"round_id": str(i), "status": status} for i, status in enumerate(statuses)]
    gone = past(states, keep=keep)
    kept = [state for state in states if state["round_id"] not in gone]
    assert all(state["status"] in ENDED for state in states if state["round_id"] in gone)
    ended = [state for state in kept if state["status"] in ENDED]
    assert len(ended) == min(keep, sum(status in ENDED for status in statuses))
    assert all(int(g) < int(k["round_id"]) for g in gone for k in ended)


def test_weights_of_old_rounds_go_and_what_was_said_of_them_stays(
    redis_url: str, tmp_path: Path
) -> None:
    serving = ServingSettings(data_dir=tmp_path, engine_token="t" * 16)
    rounds = Rounds(connect(redis_url), serving, TrainingSettings(recipe="tiny"))
    for number in range(1, 4):
        state = {"status": "finished", "recipe": "tiny"}
        rounds.redis.hset(
            f"hone:round:round-000{number}", mapping=state | {"round_id": f"round-000{number}"}
        )
        rounds.redis.incr("hone:round_seq")
        folder = tmp_path / "rounds" / f"round-000{number}"
        for file in ("ppo/state-000016/tensors.safetensors", "ppo/candidate/policy.json"):
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_bytes(b"1234")
        for file in ("metrics.jsonl", "ppo/report.json", "ppo/DONE"):
            (folder / file).write_text("kept")
    version = tmp_path / "policies" / "policy-0001" / "adapter_model.safetensors"
    version.parent.mkdir(parents=True)
    version.write_bytes(b"served")
    assert prune(rounds, tmp_path, keep=2) == 8
    assert prune(rounds, tmp_path, keep=2) == 0
    left = sorted(
        str(path.relative_to(tmp_path / "rounds/round-0001"))
        for path in (tmp_path / "rounds/round-0001").rglob("*")
        if path.is_file()
    )
    assert left == ["metrics.jsonl", "ppo/DONE", "ppo/report.json"]
    assert (tmp_path / "rounds/round-0002/ppo/candidate/policy.json").exists()
    assert version.read_bytes() == b"served"


def record(version: str, *, parent: str | None = None) -> PolicyRecord:
    return PolicyRecord(
        version=version, kind="adapter", path="", digest=version, parent=parent, created=1.0
    )


versions = st.integers(0, 12).map("policy-{:04d}".format)


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=13),
    st.dictionaries(st.sampled_from([PRODUCTION, "canary", PREVIOUS]), versions),
    st.integers(1, 8),
    versions,
)
def test_no_version_that_anything_means_is_old_nor_what_that_was_made_from(
    parents: list[int], aliases: dict[str, str], keep: int, pinned: str
) -> None:
    policies = {
        f"policy-{i:04d}": record(f"policy-{i:04d}", parent=f"policy-{min(parent, i):04d}")
        for i, parent in enumerate(parents)
    }
    gone = old(Live(policies=policies, aliases=aliases), keep=keep, pinned=[pinned])
    meant = {*aliases.values(), pinned, BASE}
    meant |= {policies[v].parent or "" for v in meant if v in policies}
    assert not meant & set(gone)
    made = sorted(v for v in policies if v != BASE)
    assert not set(made[-keep:]) & set(gone)
    assert set(gone) | meant | set(made[-keep:]) >= set(made)


@pytest.fixture
def rounds(redis_url: str, tmp_path: Path) -> Rounds:
    """Five versions, each from the one before; the fifth is in production."""
    serving = ServingSettings(data_dir=tmp_path, engine_token="t" * 16)
    found = Rounds(connect(redis_url), serving, TrainingSettings(recipe="tiny"))
    registry, parent = Registry(found.redis), BASE
    registry.ensure_base("/base", "b")
    for number in range(1, 6):
        version = f"policy-{number:04d}"
        folder = tmp_path / "policies" / version
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(safetensors(version.encode()))
        (folder / "README.md").write_text("a card")
        manifest = artifact.write_manifest(
            folder, version=version, kind="adapter", parent=parent, base_digest="b"
        )
        registry.add(
            PolicyRecord(
                version=version,
                kind="adapter",
                path=str(folder),
                digest=manifest.digest,
                parent=parent,
                created=manifest.created,
            )
        )
        parent = version
        registry.promote(version)
    return found


def has_weights(folder: Path) -> list[int]:
    return [n for n in range(1, 6) if list((folder / f"policy-{n:04d}").glob("*.safetensors"))]


def test_weights_of_old_versions_go_and_say_so_wherever_they_are_asked_for(
    rounds: Rounds, tmp_path: Path
) -> None:
    registry, policies = Registry(rounds.redis), tmp_path / "policies"
    before = registry.get("policy-0002")
    assert prune_versions(rounds, tmp_path, keep=1) > 0
    assert prune_versions(rounds, tmp_path, keep=1) == 0
    assert has_weights(policies) == [3, 4, 5]  # production, previous, and what previous is from
    gone = registry.get("policy-0002")
    assert gone.removed is not None
    assert replace(gone, removed=None) == before
    left = {path.name for path in (policies / "policy-0002").iterdir()}
    assert left == {"policy.json", "README.md", "weights-removed.json"}
    for ask in (registry.promote, registry.begin_rollout):
        with pytest.raises(Conflict, match="weights of policy-0002 were removed"):
            ask("policy-0002")
    live = registry.snapshot()
    with pytest.raises(Conflict, match="weights of policy-0002 were removed"):
        Canaries(rounds.redis).begin(before, live=live, share=0.1, actor="x", reason="y")
    with pytest.raises(NotFound, match="its weights were removed"):
        resolve("policy-0002", live)
    assert live.rollout is None
    assert live.canary is None
    assert live.aliases == {PRODUCTION: "policy-0005", PREVIOUS: "policy-0004"}
    key = Key("version", "policy-0002")
    shown = lineage.node(gone, data_dir=tmp_path, verify=True, more={})
    assert (shown.key, shown.breaks) == (key, ())
    assert shown.facts["removed"] == gone.removed


def test_a_registry_that_was_lost_knows_again_that_they_are_gone(
    rounds: Rounds, tmp_path: Path
) -> None:
    prune_versions(rounds, tmp_path, keep=1)
    lost = Registry(rounds.redis).get("policy-0001")
    found = {each.version: each for each in look(tmp_path).found}
    assert found["policy-0001"].record == lost
    assert found["policy-0005"].record == Registry(rounds.redis).get("policy-0005")
    assert not found["policy-0001"].is_gated  # whatever its gate said: it must not become live


def test_what_a_round_under_way_starts_from_keeps_its_weights(
    rounds: Rounds, tmp_path: Path
) -> None:
    registry = Registry(rounds.redis)
    registry.promote("policy-0001")
    rounds.prepare(rounds.start(reason="test"))
    for version in ("policy-0004", "policy-0005"):
        registry.promote(version)
    prune_versions(rounds, tmp_path, keep=1)
    assert has_weights(tmp_path / "policies") == [1, 3, 4, 5]


def test_nothing_that_is_meant_at_that_very_moment_is_marked(
    rounds: Rounds, tmp_path: Path
) -> None:
    """Whatever it looked like when retention looked."""
    registry = Registry(rounds.redis)
    assert not registry.retire("policy-0005", now=1.0)
    assert not registry.retire("policy-0004", now=1.0)
    assert not registry.retire("policy-0099", now=1.0)
    canary = registry.get("policy-0001")
    Canaries(rounds.redis).begin(
        canary, live=registry.snapshot(), share=0.1, actor="x", reason="y", override="a test"
    )
    assert not registry.retire("policy-0001", now=1.0)
    registry.begin_rollout("policy-0002")
    assert not registry.retire("policy-0002", now=1.0)
    assert registry.retire("policy-0003", now=1.0)
    assert not registry.retire("policy-0003", now=2.0)
    assert has_weights(tmp_path / "policies") == [1, 2, 3, 4, 5]  # whoever marked it died
    prune_versions(rounds, tmp_path, keep=50)
    assert has_weights(tmp_path / "policies") == [1, 2, 4, 5]


def test_at_least_one_round_is_kept() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        TrainingSettings(keep_rounds=0)
