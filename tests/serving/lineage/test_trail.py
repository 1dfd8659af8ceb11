"""From an id to all that it comes from, and all that it went into: on folders and a real log."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import BadRequest, NotFound
from feedback.eventlog import ERASED_WITH_ALL
from feedback.events import audit
from feedback.removal import erase
from serving.lineage.text import told
from serving.lineage.trail import Trail, trace
from tests.feedback.archive.logs import completion, fill, judgement
from tests.serving.lineage.system import opened, override_gate, publish, publish_classifier


class System:
    """Two answers of the base, judged; policy-0001 learned from them, policy-0002 goes on from it."""

    def __init__(self, client: redis.Redis, data_dir: Path) -> None:
        self.client, self.data_dir = client, data_dir
        self.registry = opened(client, data_dir)
        digest = self.registry.get("policy-0000").digest
        self.asked = completion("tea", end_user="eve", digest=digest)
        self.other = completion("coffee", end_user="bob", digest=digest)
        self.liked = judgement(self.asked)
        self.own = judgement(self.other, source="end_user", labeler="eve")
        fill(client, self.asked, self.other, self.liked, self.own)
        self.first = publish(
            data_dir,
            self.registry,
            "round-0001",
            rows={"rankings": [self.liked.id], "prompts": [self.other.id]},
        )
        self.second = publish(data_dir, self.registry, "round-0002", parent="policy-0001")
        self.answer = completion("later", version="policy-0002", version_last="policy-0002")
        self.answer = completion(
            "later",
            version="policy-0002",
            version_last="policy-0002",
            digest=self.second.digest,
        )
        fill(client, self.answer)

    def trace(self, asked: str, **options: object) -> Trail:
        return trace(self.client, self.data_dir, asked, **options)  # type: ignore[arg-type]

    def forward(self, asked: str, **options: object) -> Trail:
        return self.trace(asked, direction="forward", **options)


@pytest.fixture
def system(redis_url: str, tmp_path: Path) -> System:
    return System(connect(redis_url), tmp_path)


def reached(trail: Trail) -> list[str]:
    return [str(key) for key in trail.steps]


def test_an_answer_leads_back_to_the_judgements_behind_its_weights_and_to_the_base(
    system: System,
) -> None:
    trail = system.trace(system.answer.id, verify=True)
    assert set(reached(trail)) == {
        f"completion:{system.answer.id}",
        *("version:policy-0002", "version:policy-0001", "version:policy-0000"),
        *("round:round-0002", "round:round-0001"),
        *("snapshot:rounds/round-0002/snapshot", "snapshot:rounds/round-0001/snapshot"),
    }
    assert trail.breaks == []
    facts = {str(key): node.facts for key, node in trail.nodes.items()}
    snapshot = facts["snapshot:rounds/round-0001/snapshot"]
    assert snapshot["sample"]["rankings.jsonl"] == [system.liked.id]
    assert snapshot["labelers"] == 1
    assert facts["round:round-0001"]["gate"]["passed"] is True
    assert facts["round:round-0001"]["reward_model"]["accuracy"]["value"] == 0.7
    assert facts["version:policy-0002"]["aliases"] == ["production"]
    (first,) = facts["version:policy-0001"]["deployments"]
    assert (first["how"], first["by"]) == ("round", "round-0001")
    assert first["ended_by"]["version"] == "policy-0002"
    assert "path" not in facts["version:policy-0001"]
    lines = [line.split()[:2] for line in told(trail).splitlines()]
    assert [" ".join(words) for words in lines] == [
        f"completion {system.answer.id}",
        "version policy-0002",
        "round round-0002",
        "snapshot rounds/round-0002/snapshot",
        "version policy-0001",
        "round round-0001",
        "snapshot rounds/round-0001/snapshot",
        "version policy-0000",
    ]
    assert reached(system.trace("production")) == reached(trail)[1:]


def test_a_judgement_leads_to_the_versions_trained_on_it_to_later_ones_and_to_what_is_live(
    system: System,
) -> None:
    trail = system.forward(system.liked.id)
    assert trail.touched is not None
    assert trail.touched.trained == {"policy-0001"}
    assert trail.touched.later == {"policy-0002"}
    assert trail.live == {"policy-0001": ["previous"], "policy-0002": ["production"]}
    assert "policy-0002 is production" in told(trail)
    assert reached(system.trace(system.liked.id)) == [
        f"judgement:{system.liked.id}",
        f"completion:{system.asked.id}",
        "version:policy-0000",
    ]
    not_used = system.forward(system.own.id)
    assert reached(not_used) == [f"judgement:{system.own.id}"]
    assert "no version was trained on it" in told(not_used)


def test_an_answer_leads_on_by_what_was_said_about_it_and_by_its_prompt(system: System) -> None:
    judged, sampled = system.forward(system.asked.id), system.forward(system.other.id)
    for trail in (judged, sampled):
        assert trail.touched is not None
        assert trail.touched.trained == {"policy-0001"}
    assert f"judgement:{system.liked.id}" in reached(judged)
    assert judged.steps[next(k for k in judged.steps if k.kind == "snapshot")] == 2
    assert sampled.steps[next(k for k in sampled.steps if k.kind == "snapshot")] == 1


def test_an_end_user_leads_to_what_their_words_went_into(system: System) -> None:
    eve = system.forward("user:eve", tenant="t")
    facts = next(iter(eve.nodes.values())).facts
    assert facts == {"completions": 1, "judgements": 1, "about": 1}
    assert eve.touched is not None
    assert eve.touched.trained == {"policy-0001"}
    with pytest.raises(NotFound, match="nothing of mallory"):
        system.forward("user:mallory", tenant="t")
    with pytest.raises(BadRequest, match="forward"):
        system.trace("user:eve", tenant="t")


def test_rounds_snapshots_and_versions_lead_on(system: System) -> None:
    by_round = system.forward("round-0001").touched
    for name in ("round-0001/snapshot", "rounds/round-0001/snapshot"):
        assert system.forward(name).touched == by_round
    version = system.forward("policy-0001").touched
    assert version is not None
    assert (version.trained, version.later) == (set(), {"policy-0002"})
    with pytest.raises(NotFound, match="it is the id of an answer"):
        system.trace("round-0009")


def test_a_rollback_is_told_with_who_did_it(system: System) -> None:
    system.registry.promote("policy-0001")
    eventlog.append(
        system.client, audit("key_op", "rollback", version="policy-0001", reason="it was rude")
    )
    trail = system.trace(system.answer.id)
    facts = {str(key): node.facts for key, node in trail.nodes.items()}
    (second,) = facts["version:policy-0002"]["deployments"]
    assert second["ended_by"]["by"] == "key_op"
    assert second["ended_by"]["reason"] == "it was rude"
    assert len(facts["version:policy-0001"]["deployments"]) == 2
    assert "rolled back" in told(trail)


def test_a_folder_that_is_gone_and_one_that_differs_are_said(system: System) -> None:
    weights = system.data_dir / "policies" / "policy-0001" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"0001", b"0009"))
    shutil.rmtree(system.data_dir / "rounds" / "round-0002")
    trail = system.trace("policy-0002", verify=True)
    assert {(str(each.node), each.what) for each in trail.breaks} == {
        ("version:policy-0001", "differs"),
        ("round:round-0002", "gone"),
        ("snapshot:rounds/round-0002/snapshot", "gone"),
    }
    assert trail.shown()["is_whole"] is False
    assert "BROKEN" in told(trail)
    shutil.rmtree(weights.parent)
    whats = {str(each.node): each.what for each in system.trace("policy-0002").breaks}
    assert whats["version:policy-0001"] == "gone"


def test_weights_that_answered_under_a_version_s_name_and_are_not_its_are_said(
    system: System,
) -> None:
    stranger = completion(version="policy-0001", version_last="policy-0001", digest="e" * 64)
    fill(system.client, stranger)
    (broken,) = system.trace(stranger.id).breaks
    assert broken.what == "differs"
    assert str(broken.node) == f"completion:{stranger.id}"


def test_a_gate_that_judged_other_weights_is_said(system: System) -> None:
    report = system.data_dir / "rounds" / "round-0001" / "gate" / "report.json"
    report.write_text(report.read_text().replace(system.first.digest, "0" * 64))
    (broken,) = system.trace("policy-0001").breaks
    assert "judged other weights" in broken.message


def test_a_gate_that_said_no_is_a_break_unless_an_operator_took_these_weights_for_a_reason(
    system: System,
) -> None:
    refused = publish(system.data_dir, system.registry, "round-0003", passed=False)
    (broken,) = system.trace("policy-0003").breaks
    assert "nobody overrode it" in broken.message
    override_gate(system.data_dir, "round-0003", digest=refused.digest, reason="people like it")
    trail = system.trace("policy-0003")
    assert trail.breaks == []
    assert "overridden by key_1: people like it" in told(trail)
    override_gate(system.data_dir, "round-0003", digest="0" * 64, reason="of other weights")
    assert system.trace("policy-0003").breaks


def test_what_was_erased_is_said_and_still_leads_on(system: System) -> None:
    assert erase(
        system.client, system.liked, ERASED_WITH_ALL, replaced_metadata=b"", archived_entry=""
    )
    trail = system.forward(system.liked.id)
    assert [each.what for each in trail.breaks] == ["erased"]
    assert trail.touched is not None
    assert trail.touched.trained == {"policy-0001"}


def test_an_id_that_nobody_knows_is_not_found_and_one_that_a_snapshot_holds_is(
    system: System,
) -> None:
    for stranger in ("fbk_none", "chatcmpl-none"):
        for direction in ("forward", "backward"):
            with pytest.raises(NotFound):
                system.trace(stranger, direction=direction)
    publish(system.data_dir, system.registry, "round-0003", rows={"rankings": ["fbk_lost"]})
    trail = system.forward("fbk_lost")
    assert [each.what for each in trail.breaks] == ["unknown"]
    assert trail.touched is not None
    assert trail.touched.trained == {"policy-0003"}


def test_another_tenant_s_answers_judgements_and_people_are_not_found(system: System) -> None:
    for asked in (system.asked.id, system.liked.id, "user:eve", "fbk_none"):
        with pytest.raises(NotFound):
            system.forward(asked, tenant="t", only_tenant="default")
    assert system.forward(system.liked.id, only_tenant="t").breaks == []
    seen = system.trace("policy-0001", only_tenant="t")
    snapshot = next(node for key, node in seen.nodes.items() if key.kind == "snapshot")
    assert snapshot.facts["sample"] == {}


def test_a_parent_that_the_registry_lost_and_a_cycle_of_parents_end(system: System) -> None:
    publish(system.data_dir, system.registry, "round-0003", parent="policy-0099")
    (broken,) = system.trace("policy-0003").breaks
    assert (str(broken.node), broken.what) == ("version:policy-0099", "unknown")
    publish(system.data_dir, system.registry, "round-0004", parent="policy-0004")
    assert "version:policy-0004" in reached(system.trace("policy-0004"))


def test_a_version_of_moderation_leads_back_to_what_it_learned_from(system: System) -> None:
    record = publish_classifier(system.data_dir, system.client, "round-0003")
    trail = system.trace(record.version, verify=True)
    assert reached(trail)[:2] == ["version:moderation-0001", "round:round-0003"]
    assert "version:moderation-0000" in reached(trail)
    assert trail.breaks == []
    facts = trail.nodes[trail.start].facts
    assert (facts["of"], facts["aliases"]) == ("moderation", ["production"])
    heads = system.data_dir / "moderation" / record.version / "heads.npz"
    heads.write_bytes(b"moderation-0002")
    (broken,) = system.trace(record.version, verify=True).breaks
    assert broken.what == "differs"


def test_an_answer_says_which_trace_it_was_a_part_of(system: System) -> None:
    traced = completion("tea", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    fill(system.client, traced)
    said = told(system.trace(traced.id))
    assert "trace 4bf92f3577b34da6a3ce929d0e0e4736" in said
    assert "trace" not in told(system.trace(system.answer.id))
