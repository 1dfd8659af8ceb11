"""A canary before a real gateway: who gets it, what an operator does, what everybody is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import openai
import pytest

from feedback import eventlog
from feedback.events import Audit, Completion
from serving.registry import Registry
from serving.webhooks.events import events_of
from tests.serving.canary.versions import (
    NEW,
    answers_by,
    ask,
    begin,
    call,
    overview,
    publish,
    wait_until,
)
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

USERS = [f"u{number}" for number in range(24)]


def logged(gateway: Running) -> list[Completion]:
    return [cast(Completion, event) for _, event in eventlog.read(gateway.redis, "completions")]


def audits(gateway: Running) -> list[Audit]:
    return [cast(Audit, event) for _, event in eventlog.read(gateway.redis, "audit")]


def test_a_share_of_the_people_is_answered_by_the_canary_and_stays_with_it(
    gateway: Running,
) -> None:
    publish(gateway)
    assert begin(gateway, reason="looks good").status_code == 200
    first = answers_by(gateway, USERS)
    assert set(first.values()) == {"policy-0000", NEW}
    assert answers_by(gateway, USERS) == first
    theirs = next(user for user, version in first.items() if version == NEW)
    answer = ask(gateway, theirs)
    assert answer.headers["x-policy-alias"] == "canary"
    assert answer.parse().model == NEW
    assert ask(gateway, theirs, "policy@production").headers["x-policy-version"] == "policy-0000"
    assert begin(gateway, share=0.95).json()["share"] == 0.95
    grown = answers_by(gateway, USERS)
    assert {u for u, v in first.items() if v == NEW} < {u for u, v in grown.items() if v == NEW}


def test_the_log_says_who_was_drawn(gateway: Running) -> None:
    publish(gateway)
    ask(gateway, "before")
    canary = begin(gateway).json()
    answers_by(gateway, USERS)
    ask(gateway, "u0", "policy@canary")
    before, *drawn, by_name = logged(gateway)
    assert before.drawn is by_name.drawn is None
    for event in drawn:
        assert event.drawn is not None
        assert (event.drawn["canary"], event.drawn["share"]) == (canary["id"], 0.5)
        assert (event.drawn["arm"] == "canary") == (event.version == NEW)


def test_production_answers_where_no_engine_has_the_canary(
    gateway: Running, engine: FakeEngine
) -> None:
    publish(gateway)
    begin(gateway, share=0.99)
    theirs = next(user for user, version in answers_by(gateway, USERS).items() if version == NEW)
    engine.refuse[NEW] = "gone"
    del engine.loaded[NEW]
    wait_until(lambda: not gateway.app.state.gateway.fleet.has(NEW))
    answer = ask(gateway, theirs)
    assert answer.headers["x-policy-version"] == "policy-0000"
    assert logged(gateway)[-1].drawn is None  # chance did not choose, so it is no comparison


def test_who_is_drawn_for_a_canary_that_fails_is_answered_by_production(
    gateway: Running, engine: FakeEngine
) -> None:
    publish(gateway)
    begin(gateway, share=0.99)
    theirs = next(user for user, version in answers_by(gateway, USERS).items() if version == NEW)
    engine.fail_next = 2  # the request and its retry
    answer = ask(gateway, theirs)
    assert answer.headers["x-policy-version"] == "policy-0000"
    failed, answered = logged(gateway)[-2:]
    assert (failed.version, failed.broken_by, failed.choices) == (NEW, "engine", [])
    assert (answered.version, answered.complete) == ("policy-0000", True)
    stored = gateway.openai().chat.completions.list(limit=1, order="desc").data[0]
    assert stored.id == answered.id  # a failure is no stored completion
    assert 'outcome="broken_by_engine"' in metrics(gateway)


def metrics(gateway: Running) -> str:
    return call(gateway, "GET", "/metrics").text


def test_what_an_operator_does_is_kept_with_the_reason(gateway: Running) -> None:
    publish(gateway)
    begin(gateway, reason="looks good")
    assert (
        call(gateway, "POST", "/admin/canary/hold", {"reason": "wait"}).json()["status"] == "held"
    )
    ended = call(gateway, "POST", "/admin/canary/abort", {"reason": "seen enough"}).json()
    assert (ended["outcome"], ended["end_reason"]) == ("aborted", "seen enough")
    assert set(answers_by(gateway, USERS[:6]).values()) == {"policy-0000"}
    shown = overview(gateway)
    assert shown["running"] is None
    assert [past["outcome"] for past in shown["history"]] == ["aborted"]
    told = [(event.action, event.detail["reason"]) for event in audits(gateway)]
    assert told == [
        ("canary.begin", "looks good"),
        ("canary.held", "wait"),
        ("canary.abort", "seen enough"),
    ]
    assert call(gateway, "POST", "/admin/canary/abort", {}).status_code == 409
    types = [event.type for audit in audits(gateway) for event in events_of(audit)]
    assert types == ["canary.aborted"]


def test_promoting_the_canary_ends_it(gateway: Running) -> None:
    publish(gateway)
    begin(gateway)
    assert call(gateway, "POST", f"/admin/policies/{NEW}/promote").status_code == 200
    live = Registry(gateway.redis).snapshot()
    assert (live.aliases["production"], live.canary) == (NEW, None)
    assert set(answers_by(gateway, USERS[:6]).values()) == {NEW}
    types = [event.type for audit in audits(gateway) for event in events_of(audit)]
    assert types == ["policy.promoted"]


def test_promoting_another_version_passes_the_canary_over(gateway: Running) -> None:
    publish(gateway)
    publish(gateway, "policy-0002")
    begin(gateway)
    assert call(gateway, "POST", "/admin/policies/policy-0002/promote").status_code == 200
    (past,) = overview(gateway)["history"]
    assert (past["outcome"], past["version"]) == ("superseded", NEW)
    assert Registry(gateway.redis).aliases() == {
        "production": "policy-0002",
        "previous": "policy-0000",
    }


def test_rolling_back_ends_the_canary_first_and_production_after(gateway: Running) -> None:
    publish(gateway)
    call(gateway, "POST", f"/admin/policies/{NEW}/promote")
    publish(gateway, "policy-0002")
    begin(gateway, "policy-0002")

    def roll_back(**body: Any) -> str:
        return str(call(gateway, "POST", "/admin/rollback", body).json()["version"])

    assert roll_back(reason="odd") == NEW
    assert Registry(gateway.redis).snapshot().canary is None
    assert roll_back(production=NEW) == "policy-0000"
    assert call(gateway, "POST", "/admin/rollback", {"production": NEW}).status_code == 409
    assert Registry(gateway.redis).aliases()["production"] == "policy-0000"


def test_an_ungated_version_needs_a_reason_that_is_kept(gateway: Running) -> None:
    publish(gateway, round_id=None)
    for answer in (begin(gateway), call(gateway, "POST", f"/admin/policies/{NEW}/promote")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_gated")
    assert begin(gateway, override="urgent").json()["override"] == "urgent"
    assert audits(gateway)[0].detail["override"] == "urgent"


def test_other_weights_than_meant_are_refused(gateway: Running) -> None:
    record = publish(gateway)
    assert begin(gateway, digest="f" * 12).status_code == 409
    assert begin(gateway, digest=record.digest[:12]).status_code == 200


def test_full_weights_cannot_be_a_canary(gateway: Running) -> None:
    publish(gateway, kind="full")
    answer = begin(gateway)
    assert answer.status_code == 409
    assert "hone policies promote policy-0001" in answer.json()["error"]["message"]
    assert begin(gateway, "policy-0000").status_code == 409  # it answers everybody already
    assert begin(gateway, "policy-0042").status_code == 404


def test_an_engine_that_refuses_it_leaves_everything_as_it_was(
    gateway: Running, engine: FakeEngine
) -> None:
    publish(gateway)
    engine.refuse[NEW] = "layer 3: NaN"
    answer = begin(gateway)
    assert (answer.status_code, "NaN" in answer.text) == (409, True)
    assert Registry(gateway.redis).aliases() == {"production": "policy-0000"}


def test_two_gateways_draw_the_same_people(
    gateway: Running, start_gateway: Callable[..., Running], redis_url: str, engine: FakeEngine
) -> None:
    publish(gateway)
    begin(gateway)
    other = start_gateway(redis_url, engine)
    assert answers_by(gateway, USERS) == answers_by(other, USERS)


def test_a_rollback_holds_while_redis_is_away_and_is_written_when_it_is_back(
    start_gateway: Callable[..., Running], redis_server: Any, engine: FakeEngine
) -> None:
    gateway = start_gateway(redis_server.url, engine)
    publish(gateway)
    call(gateway, "POST", f"/admin/policies/{NEW}/promote")
    opened = gateway.app.state.gateway
    redis_server.stop(kill=True)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call, gateway, "POST", "/admin/rollback", {"reason": "bad"})
        wait_until(lambda: opened.refresher.live.aliases["production"] == "policy-0000")
        assert ask(gateway, "u1").headers["x-policy-version"] == "policy-0000"
        assert not asked.done()
        time.sleep(0.5)
        redis_server.start()
        answer = asked.result()
    assert (answer.status_code, answer.json()["version"]) == (200, "policy-0000")
    assert Registry(gateway.redis).aliases() == {"production": "policy-0000", "previous": NEW}
    with pytest.raises(openai.NotFoundError):
        ask(gateway, "u1", "policy@canary")
