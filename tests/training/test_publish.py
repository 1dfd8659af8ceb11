from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from feedback.connection import connect
from feedback.errors import Conflict, Refused, Unavailable
from serving.registry import BASE, PolicyRecord, Registry, Rollout
from training.publish import make_live

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
