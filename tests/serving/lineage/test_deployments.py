"""How long which version was live."""

from __future__ import annotations

from feedback.events import audit
from serving.lineage.deployments import Change, change_of, newest, tenures


def change(version: str, at: float, how: str = "promote") -> Change:
    return Change(version=version, at=at, by="key_1", how=how)


def test_a_version_is_live_until_another_one_is() -> None:
    first, second, back = change("a", 1), change("b", 2), change("a", 3, "rollback")
    found = tenures([back, first, second])
    assert [(each.change.at, each.until) for each in found["a"]] == [(1, 2), (3, None)]
    assert found["b"][0].ended_by == back
    assert found["b"][0].shown()["ended_by"]["how"] == "rollback"
    assert newest([back, first, second]) == ("a", "b")


def test_what_is_told_twice_happened_once() -> None:
    told = [change("a", 1), change("a", 1.5, "round"), change("b", 2)]
    assert [each.until for each in tenures(told)["a"]] == [2]
    assert newest(told) == ("b", "a")
    assert newest([]) == (None, None)


def test_of_the_audit_log_only_what_goes_live_counts() -> None:
    for action in ("promote", "rollback", "moderation.promote", "moderation.rollback"):
        found = change_of(audit("key_1", action, version="v", reason="better"))
        assert found is not None
        assert (found.version, found.by, found.reason) == ("v", "key_1", "better")
    assert change_of(audit("key_1", "canary.begin", version="v")) is None
    assert change_of(audit("key_1", "promote")) is None
