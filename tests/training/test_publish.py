from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from feedback import keys
from feedback.connection import connect
from feedback.errors import Conflict, Refused, Unavailable
from feedback.settings import FeedbackSettings
from serving import artifact
from serving.canary.store import Canaries
from serving.recovery import apply
from serving.recovery.found import look
from serving.registry import BASE, PolicyRecord, Registry, Rollout
from serving.settings import ServingSettings
from training import publish
from training.lease import FENCE, Lease
from training.publish import go_live, make_live
from training.rounds import Plan

NEW = PolicyRecord(version="policy-0001", kind="full", path="/p/1", digest="d1", created=1.0)


@pytest.fixture
def registry(redis_url: str) -> Registry:
    found = Registry(connect(redis_url))
    found.ensure_base("/base", "b")
    found.add(NEW)
    return found


def gateway(registry: Registry, carry_out: Callable[[Rollout], None]) -> threading.Thread:
    """What a gateway does of its own accord: it looks, and carries out what it finds."""

    def watch() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            rollout = registry.snapshot().rollout
            if rollout is not None:
                return carry_out(rollout)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_full_weights_are_live_when_a_gateway_has_carried_the_rollout_out(
    registry: Registry,
) -> None:
    def carry_out(rollout: Rollout) -> None:
        registry.promote(rollout.version)
        registry.end_rollout()

    watcher = gateway(registry, carry_out)
    assert make_live(registry, NEW, wait_s=20)["all"] > 0
    watcher.join()
    assert registry.aliases() == {"production": NEW.version, "previous": BASE}
    assert make_live(registry, NEW, wait_s=0.1)["all"] >= 0  # a publisher that was started again


def test_an_engine_that_refuses_leaves_what_was_live(registry: Registry) -> None:
    watcher = gateway(registry, registry.undo_rollout)
    with pytest.raises(Refused, match="refused policy-0001"):
        make_live(registry, NEW, wait_s=20)
    watcher.join()
    assert registry.aliases() == {"production": BASE}


def test_without_a_gateway_it_says_so_and_goes_on_waiting_when_started_again(
    registry: Registry,
) -> None:
    for _ in range(2):
        with pytest.raises(Unavailable, match="no gateway"):
            make_live(registry, NEW, wait_s=0.3)
    assert registry.snapshot().rollout is not None


def test_other_weights_on_their_way_come_first(registry: Registry) -> None:
    other = PolicyRecord(version="policy-0002", kind="full", path="/p/2", digest="d2", created=1.0)
    registry.add(other)
    registry.begin_rollout(other.version)
    with pytest.raises(Conflict, match="policy-0002"):
        make_live(registry, NEW, wait_s=1)


ADAPTER = PolicyRecord(
    version="policy-0003",
    kind="adapter",
    path="/p/3",
    digest="d3",
    round_id="round-0001",
    created=1.0,
)


def settings(share: float) -> ServingSettings:
    return ServingSettings(engine_token="a token of the tests", canary_share=share)


def test_a_round_s_adapter_goes_to_everybody_unless_a_share_is_set(
    registry: Registry, redis_url: str
) -> None:
    registry.add(ADAPTER)
    with connect(redis_url) as client:
        assert go_live(client, ADAPTER, settings(0.0)) is None
    assert registry.aliases() == {"production": ADAPTER.version, "previous": BASE}


def test_with_a_share_it_is_a_canary_however_often_its_publisher_is_started(
    registry: Registry, redis_url: str
) -> None:
    registry.add(ADAPTER)
    with connect(redis_url) as client:
        begun = [go_live(client, ADAPTER, settings(0.2)) for _ in range(3)]
        canary = registry.snapshot().canary
        assert canary is not None
        assert begun == [canary.id] * 3
        assert (canary.share, canary.round_id) == (0.2, "round-0001")
        Canaries(client).end(canary, "rolled_back", actor="canary", reason="worse")
        assert go_live(client, ADAPTER, settings(0.2)) == canary.id  # people have decided
        assert registry.aliases() == {"production": BASE}


@pytest.mark.parametrize("share", [0.2, 0.0])
def test_the_canary_of_the_round_before_gives_way(
    registry: Registry, redis_url: str, share: float
) -> None:
    later = replace(ADAPTER, version="policy-0004", digest="d4", round_id="round-0002")
    for record in (ADAPTER, later):
        registry.add(record)
    with connect(redis_url) as client:
        go_live(client, ADAPTER, settings(0.2))
        go_live(client, later, settings(share))
        aliases = registry.aliases()
        assert aliases.get("canary") == (later.version if share else None)
        assert aliases["production"] == (BASE if share else later.version)
        (ended,) = Canaries(client).history()
    assert (ended.canary.version, ended.outcome) == (ADAPTER.version, "superseded")


def safetensors(content: bytes) -> bytes:
    """A file with one tensor of bytes."""
    entry = {"t": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + content


def passed_round(data_dir: Path, number: int, *, parent: str) -> Path:
    """A round as its steps leave it before publication."""
    base = data_dir / "models" / "tiny"
    base.mkdir(parents=True, exist_ok=True)
    (base / "model.safetensors").write_bytes(safetensors(b"base"))
    folder = data_dir / "rounds" / f"round-{number:04d}"
    plan = Plan(
        round_id=folder.name,
        recipe="tiny",
        parent=parent,
        parent_path=None,
        base_model=str(base),
        engine_urls=[],
        seed=1,
        created=1.0,
    )
    candidate = folder / "ppo" / "candidate"
    candidate.mkdir(parents=True)
    (candidate / "adapter_model.safetensors").write_bytes(safetensors(folder.name.encode()))
    digest = artifact.write_manifest(
        candidate, version="candidate", kind="adapter", parent=parent, base_digest="b"
    ).digest
    checks = [{"name": "win_rate", "value": math.nan, "limit": 0.5, "passed": True}]
    written = {
        "round.json": asdict(plan),
        "snapshot/manifest.json": {"parts": {"rankings": {"rows": 8, "train": 6}}, "labelers": 2},
        "gate/report.json": {"passed": True, "digest": digest, "checks": checks},
    }
    for name, content in written.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def test_what_was_published_has_a_card_and_comes_back_from_its_folder_when_redis_is_lost(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", "t" * 16)
    client = connect(redis_url)
    registry = Registry(client)
    first = passed_round(tmp_path, 1, parent=BASE)
    base = tmp_path / "models" / "tiny"
    registry.ensure_base(str(base), artifact.base_digest(base))
    for folder in (first, passed_round(tmp_path, 2, parent="policy-0001")):
        lease = Lease.acquire(client)
        assert lease is not None
        monkeypatch.setenv(FENCE, lease.token)
        publish.run(folder)
        lease.release()
    record = registry.get("policy-0002")
    manifest = artifact.read_manifest(Path(record.path))
    artifact.check_files(Path(record.path), manifest)
    text = (Path(record.path) / artifact.CARD).read_text()
    assert "| rankings | 8 | 6 |" in text
    assert "| win_rate | not measured |" in text

    before = registry.snapshot()
    client.flushall()
    log = FeedbackSettings(redis_url=redis_url, archive_url=str(tmp_path / "archive"))
    apply.carry_out(client, look(tmp_path), log, chosen={"policy": "policy-0002"})
    after = registry.snapshot()
    base_again = replace(after.policies[BASE], created=before.policies[BASE].created)
    result = json.loads(
        (tmp_path / "rounds" / "round-0002" / "publish" / "result.json").read_text()
    )
    assert after.production_since == result["promoted"]
    since = before.production_since
    policies = {**after.policies, BASE: base_again}
    assert replace(after, policies=policies, production_since=since) == before
    assert registry.next_version() == "policy-0003"


@pytest.fixture
def publisher(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What a publisher finds: its lease, an empty registry, a data folder."""
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", "t" * 16)
    client = connect(redis_url)
    lease = Lease.acquire(client)
    assert lease is not None
    monkeypatch.setenv(FENCE, lease.token)
    found = Registry(client)
    found.ensure_base("/base", "b")
    return found


def told(folder: Path, **changes: object) -> None:
    """The gate's report says something else."""
    path = folder / "gate" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"passed": False}, "the gate refused"),
        ({"digest": "0" * 64}, "the gate judged digest 0000"),
    ],
)
def test_what_the_gate_did_not_pass_gets_neither_a_name_nor_a_record(
    changes: dict[str, object], why: str, publisher: Registry, tmp_path: Path
) -> None:
    folder = passed_round(tmp_path, 1, parent=BASE)
    told(folder, **changes)
    with pytest.raises(Refused, match=why):
        publish.run(folder)
    assert not list((tmp_path / "policies").glob("policy-*"))
    assert set(publisher.policies()) == {BASE}
    assert publisher.aliases() == {"production": BASE}


def test_a_folder_that_has_its_name_is_checked_again_before_it_is_registered(
    publisher: Registry, tmp_path: Path
) -> None:
    """Its publisher died in between, and the gate has spoken anew."""
    folder = passed_round(tmp_path, 1, parent=BASE)
    publish.run(folder)
    publisher._redis.hdel(keys.POLICIES, "policy-0001")
    told(folder, passed=False)
    with pytest.raises(Refused, match="the gate refused"):
        publish.run(folder)
    assert set(publisher.policies()) == {BASE}


def test_what_an_operator_took_is_published_whatever_the_gate_said(
    publisher: Registry, tmp_path: Path
) -> None:
    folder = passed_round(tmp_path, 1, parent=BASE)
    told(folder, passed=False)
    digest = json.loads((folder / "gate" / "report.json").read_text())["digest"]
    said = {"digest": digest, "actor": "op", "reason": "a test", "created": 1.0}
    (folder / "gate" / "override.json").write_text(json.dumps(said))
    assert publish.run(folder)["version"] == "policy-0001"
    assert publisher.aliases()["production"] == "policy-0001"
