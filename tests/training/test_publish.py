from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from feedback.connection import connect
from feedback.errors import Conflict, Refused, Unavailable
from serving.canary.store import Canaries
from serving.registry import BASE, PolicyRecord, Registry, Rollout
from serving.settings import ServingSettings
from training.publish import go_live, make_live

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


def test_the_canary_of_the_round_before_gives_way(registry: Registry, redis_url: str) -> None:
    later = replace(ADAPTER, version="policy-0004", digest="d4", round_id="round-0002")
    for record in (ADAPTER, later):
        registry.add(record)
    with connect(redis_url) as client:
        go_live(client, ADAPTER, settings(0.2))
        go_live(client, later, settings(0.2))
        live = registry.snapshot()
        assert live.aliases == {"production": BASE, "canary": later.version}
        (ended,) = Canaries(client).history()
    assert (ended.canary.version, ended.outcome) == (ADAPTER.version, "superseded")
