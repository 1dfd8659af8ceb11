"""Redis is emptied, and the registry is what it was: on a real Redis and real folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from feedback import eventlog, keys
from feedback.archive.archiver import Archiver
from feedback.connection import connect
from feedback.errors import Conflict, HoneError
from feedback.events import RoundChanged, audit, new_id
from feedback.settings import FeedbackSettings
from moderation.versions import Versions
from serving.cli import app
from serving.recovery import apply
from serving.recovery.found import look
from serving.recovery.plan import Group, NeedsProduction
from serving.registry import Registry
from tests.feedback.archive import logs
from tests.serving.lineage.system import (
    opened,
    override_gate,
    publish,
    publish_classifier,
    write_round,
)

LIVE: dict[Group, str | None] = {"policy": "policy-0002", "moderation": "moderation-0001"}


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> FeedbackSettings:
    return logs.settings(redis_url, tmp_path)


def ended(client: redis.Redis, round_id: str) -> None:
    """As the worker writes it."""
    event = RoundChanged(
        id=new_id("rnd_"), created=1.0, round_id=round_id, what="finished", detail={}
    )
    eventlog.append(client, event)


def state(client: redis.Redis) -> tuple[object, ...]:
    """The registry, but for when the base was registered."""
    live, classifiers = Registry(client).snapshot(), Versions(client).live()
    records = {v: asdict(r) for v, r in live.policies.items()}
    records["policy-0000"].pop("created")
    return records, live.aliases, classifiers


def three_rounds(client: redis.Redis, data_dir: Path) -> None:
    """Two of the policy, one of moderation; a number was taken and never used, a round never ended."""
    registry = opened(client, data_dir)
    publish(data_dir, registry, "round-0001")
    publish(data_dir, registry, "round-0002", parent="policy-0001")
    publish_classifier(data_dir, client, "round-0003")
    taken = write_round(data_dir, "round-0004", parent="policy-0002", rows={}) / "publish"
    taken.mkdir()
    (taken / "version").write_text(registry.next_version())
    client.set(keys.ROUND_SEQ, 4)


def test_after_everything_in_redis_is_lost_the_registry_is_the_same_and_numbers_go_on(
    client: redis.Redis, settings: FeedbackSettings, tmp_path: Path
) -> None:
    three_rounds(client, tmp_path)
    before = state(client)
    client.flushall()
    for chosen in ({}, {"policy": "policy-0002"}):
        with pytest.raises(NeedsProduction):
            apply.carry_out(client, look(tmp_path), settings, chosen=chosen)
    assert client.dbsize() == 0
    apply.carry_out(client, look(tmp_path), settings, chosen=LIVE)
    records, aliases, classifiers = before
    assert state(client) == (records, aliases, classifiers)
    apply.carry_out(client, look(tmp_path), settings, chosen=LIVE)  # again
    assert state(client) == before
    assert Registry(client).next_version() == "policy-0004"
    assert Versions(client).next() == "moderation-0002"
    assert client.incr(keys.ROUND_SEQ) == 5


def test_rounds_that_ended_are_known_again_and_one_that_was_broken_off_can_go_on(
    client: redis.Redis, settings: FeedbackSettings, tmp_path: Path
) -> None:
    three_rounds(client, tmp_path)
    (tmp_path / "rounds" / "round-0001" / "publish" / "DONE").touch()
    report = tmp_path / "rounds" / "round-0004" / "gate" / "report.json"
    report.parent.mkdir()
    report.write_text('{"passed": false, "checks": [{"name": "kl_nats", "passed": false}]}')
    client.flushall()
    client.hset(keys.round_state("round-0002"), "status", "cancelled")
    apply.carry_out(client, look(tmp_path), settings, chosen=LIVE)
    found = [client.hgetall(keys.round_state(f"round-{number:04d}")) for number in range(1, 5)]
    statuses = [state[b"status"].decode() for state in found]
    assert statuses == ["finished", "cancelled", "failed", "refused"]
    assert json.loads(found[0][b"detail"])["version"] == "policy-0001"
    assert (found[2][b"kind"], found[2][b"step"]) == (b"policy", b"snapshot")
    assert json.loads(found[3][b"detail"]) == {"failed_checks": ["kl_nats"]}
    assert client.get(keys.ROUND_ACTIVE) is None


def test_where_the_log_survives_it_says_what_was_live_rollbacks_too(
    client: redis.Redis, settings: FeedbackSettings, tmp_path: Path
) -> None:
    three_rounds(client, tmp_path)
    for number in (1, 2, 3):
        ended(client, f"round-{number:04d}")
    Registry(client).promote("policy-0001")
    eventlog.append(client, audit("key_1", "rollback", version="policy-0001"))
    before = state(client)
    client.delete(keys.POLICIES, keys.ALIASES, keys.POLICY_SEQ)
    client.delete(keys.MODERATION_VERSIONS, keys.MODERATION_ALIASES, keys.MODERATION_SEQ)
    Registry(client).ensure_base(
        str(tmp_path / "models" / "tiny"),
        before[0]["policy-0000"]["digest"],  # type: ignore[index]
    )  # a gateway came first
    apply.carry_out(client, look(tmp_path), settings, chosen={})
    assert state(client) == before


def test_numbers_that_only_an_archive_remembers_are_not_given_out_again(
    client: redis.Redis, settings: FeedbackSettings, tmp_path: Path
) -> None:
    opened(client, tmp_path)
    eventlog.append(client, audit("key_1", "promote", version="policy-0041"))
    archiver: Archiver = logs.archiver(client, settings)
    assert archiver.run().num_events == 1
    client.flushall()
    apply.carry_out(client, look(tmp_path), settings, chosen={})
    assert Registry(client).next_version() == "policy-0042"


def test_what_is_broken_or_was_refused_is_left_out_and_its_number_too(
    client: redis.Redis, settings: FeedbackSettings, tmp_path: Path
) -> None:
    registry = opened(client, tmp_path)
    publish(tmp_path, registry, "round-0001")
    publish(tmp_path, registry, "round-0002", passed=False)
    broken = publish(tmp_path, registry, "round-0003")
    half = publish(tmp_path, registry, "round-0004")
    (Path(broken.path) / "adapter_model.safetensors").write_bytes(b"")
    (Path(half.path) / "policy.json").unlink()
    taken = publish(tmp_path, registry, "round-0005", passed=False)
    override_gate(tmp_path, "round-0005", digest=taken.digest, reason="people like it")
    (tmp_path / "policies" / ".policy-0006.partial").mkdir()
    shutil.rmtree(tmp_path / "rounds" / "round-0001")  # the folder's own checks say that it passed
    client.flushall()
    plan = apply.carry_out(client, look(tmp_path), settings, chosen={"policy": "policy-0001"})
    assert {each.version for each in plan.left_out} == {
        "policy-0002",
        "policy-0003",
        "policy-0004",
    }
    assert set(Registry(client).policies()) == {"policy-0000", "policy-0001", "policy-0005"}
    assert Registry(client).next_version() == "policy-0007"


def test_nothing_is_written_where_another_one_writes_meanwhile(
    client: redis.Redis, settings: FeedbackSettings, tmp_path: Path
) -> None:
    class Meanwhile(dict[Group, str | None]):
        """What the operator chose, read after the registry was."""

        def get(self, *about: Any) -> str | None:
            client.set(keys.POLICY_SEQ, 7)
            return super().get(*about)

    publish(tmp_path, opened(client, tmp_path), "round-0001")
    client.flushall()
    chosen = Meanwhile(policy="policy-0001")
    with pytest.raises(Conflict, match="changed meanwhile"):
        apply.carry_out(client, look(tmp_path), settings, chosen=chosen)
    assert client.keys() == [keys.POLICY_SEQ.encode()]


def test_the_command_asks_for_what_nobody_knows_and_with_yes_refuses(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    three_rounds(client, tmp_path)
    client.flushall()
    hone, command = CliRunner(), ["policies", "recover", "--data", str(tmp_path)]
    refused = hone.invoke(app, [*command, "--yes"])
    assert isinstance(refused.exception, HoneError)
    assert "--production VERSION" in refused.exception.message
    assert client.dbsize() == 0
    done = hone.invoke(app, command, input="\n\ny\n")
    assert done.exit_code == 0, done.output
    assert "numbers go on after policy-0003, moderation-0001, round-0004" in done.stdout
    assert Registry(client).aliases() == {"production": "policy-0002", "previous": "policy-0001"}
    assert Versions(client).live().production == "moderation-0001"
    again = hone.invoke(app, [*command, "--yes", "--json"])
    assert json.loads(again.stdout)["versions"] == []
