from __future__ import annotations

import dataclasses

import pytest

from feedback import keys
from feedback.connection import connect
from feedback.errors import Conflict, NotFound
from serving.registry import PolicyRecord, Registry


def record(version: str, digest: str = "d") -> PolicyRecord:
    return PolicyRecord(version=version, kind="adapter", path="p", digest=digest, created=1.0)


@pytest.fixture
def registry(redis_url: str) -> Registry:
    registry = Registry(connect(redis_url))
    registry.ensure_base("base", "digest-of-base")
    return registry


def test_the_base_is_in_production_until_something_is_promoted(registry: Registry) -> None:
    assert registry.aliases() == {"production": "policy-0000"}
    registry.add(record("policy-0001"))
    registry.promote("policy-0001")
    assert registry.aliases() == {"production": "policy-0001", "previous": "policy-0000"}
    registry.ensure_base("base", "digest-of-base")
    assert registry.aliases()["production"] == "policy-0001"


def test_a_base_whose_publisher_died_before_it_was_in_production_is_put_there(
    registry: Registry, redis_url: str
) -> None:
    with connect(redis_url) as client:
        client.delete(keys.ALIASES, keys.LIVE_SINCE)
    registry.ensure_base("base", "digest-of-base")
    live = registry.snapshot()
    assert live.aliases == {"production": "policy-0000"}
    assert live.production_since is not None


def test_promoting_twice_keeps_the_previous_version(registry: Registry) -> None:
    registry.add(record("policy-0001"))
    registry.promote("policy-0001")
    registry.promote("policy-0001")
    assert registry.aliases()["previous"] == "policy-0000"


def test_a_rollout_that_is_undone_leaves_the_aliases_as_they_were(registry: Registry) -> None:
    for version in ("policy-0001", "policy-0002"):
        registry.add(record(version))
    for production, previous in (("policy-0000", None), ("policy-0001", "policy-0000")):
        registry.promote(production)
        rollout = registry.begin_rollout("policy-0002")
        assert (rollout.production, rollout.previous) == (production, previous)
        with pytest.raises(Conflict):
            registry.begin_rollout("policy-0001")
        registry.hold(rollout, "http://a")
        assert registry.snapshot().rollout == dataclasses.replace(rollout, held=("http://a",))
        registry.promote("policy-0002")
        registry.undo_rollout(rollout)
        live = registry.snapshot()
        assert live.rollout is None
        assert live.aliases.get("previous") == previous
        assert live.aliases["production"] == production


def test_one_gateway_at_a_time_has_the_rollout(registry: Registry) -> None:
    assert registry.lease_rollout("a", ttl_s=5)
    assert not registry.lease_rollout("b", ttl_s=5)
    assert registry.lease_rollout("a", ttl_s=5)
    registry.release_rollout("b")
    assert not registry.lease_rollout("b", ttl_s=5)
    registry.release_rollout("a")
    assert registry.lease_rollout("b", ttl_s=5)


def test_a_published_version_is_never_overwritten(registry: Registry) -> None:
    first = record("policy-0001", "a")
    registry.add(first)
    registry.add(dataclasses.replace(first, created=2.0))
    assert registry.get("policy-0001") == first
    with pytest.raises(Conflict):
        registry.add(record("policy-0001", "b"))


def test_version_numbers_are_never_given_twice(registry: Registry) -> None:
    assert [registry.next_version() for _ in range(3)] == [
        "policy-0001",
        "policy-0002",
        "policy-0003",
    ]


def test_what_is_not_published_cannot_be_promoted(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.promote("policy-0009")


def test_data_of_another_base_model_is_refused(registry: Registry) -> None:
    with pytest.raises(Conflict, match="another base model"):
        registry.ensure_base("other", "other-digest")


def test_an_alias_and_a_version_name_the_same_policy(registry: Registry) -> None:
    live = registry.snapshot()
    assert live.resolve("production") == live.resolve("policy-0000") is not None
    assert live.resolve("policy-0042") is None
