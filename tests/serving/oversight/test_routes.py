"""What operators and viewers see and do over /admin."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from feedback import eventlog, keys
from feedback.events import Audit
from serving import auth
from serving.bench import invented_rounds
from serving.bench.invented_rounds import Invented
from serving.canary.store import Canaries
from serving.oversight import learning
from serving.registry import Registry
from tests.serving.conftest import Running
from tests.serving.playground.test_pages import ask as chat
from tests.serving.playground.test_pages import judge, session, token_of
from tests.serving.test_admin import call, promote, publish
from tests.serving.test_own_feedback import rate

PROMPT = "How do I boil an egg"


@pytest.fixture
def made(gateway: Running, tmp_path: Path) -> Invented:
    """Six versions with their rounds; the gateway knows them."""
    found = invented_rounds.write(gateway.redis, tmp_path, num_versions=6)
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    return found


def ask(gateway: Running, path: str, *scopes: str, method: str = "GET") -> httpx2.Response:
    """With a new key of these scopes."""
    secret, _ = auth.create_key(gateway.redis, name="somebody", scopes=scopes)
    headers = {"authorization": f"Bearer {secret}"}
    return httpx2.request(method, gateway.url + path, headers=headers, timeout=100)


READS = ("overview", "engines", "audit", "settings", "policies", "rounds", "learning", "canary")


@pytest.mark.parametrize("name", READS)
def test_a_viewer_reads_and_a_developer_does_not(gateway: Running, name: str) -> None:
    assert ask(gateway, f"/admin/{name}", "view").status_code == 200
    assert ask(gateway, f"/admin/{name}", "view_texts").status_code == 200
    assert ask(gateway, f"/admin/{name}", "infer", "label").status_code == 403


CHANGES = (
    *("/admin/rollback", "/admin/learning/pause", "/admin/learning/resume"),
    *("/admin/policies/policy-0001/promote", "/admin/rounds", "/admin/rounds/round-0001/cancel"),
    *("/admin/canary/hold", "/admin/canary/abort", "/admin/keys"),
)


@pytest.mark.parametrize("path", CHANGES)
def test_a_viewer_changes_nothing(gateway: Running, path: str) -> None:
    assert ask(gateway, path, "view", "view_texts", method="POST").status_code in (403, 422)
    assert list(eventlog.read(gateway.redis, "audit")) == []


def test_texts_of_people_are_for_those_who_may_read_them(gateway: Running, made: Invented) -> None:
    version, round_id = made.versions[-1], made.rounds[-2]
    for path in (f"/admin/policies/{version}", f"/admin/rounds/{round_id}"):
        assert PROMPT in ask(gateway, path, "view_texts").text
        shown = ask(gateway, path, "view")
        assert shown.status_code == 200
        assert PROMPT not in shown.text
    assert ask(gateway, f"/admin/rounds/{round_id}/logs/ppo", "view_texts").status_code == 200
    assert ask(gateway, f"/admin/rounds/{round_id}/logs/ppo", "view").status_code == 403


def test_policies_come_in_pages_with_their_verdict(gateway: Running, made: Invented) -> None:
    first = call(gateway, "GET", "/admin/policies?limit=4").json()
    assert [row["version"] for row in first["data"]] == made.versions[:1:-1]
    assert (first["has_more"], first["num_versions"]) == (True, 7)
    assert first["data"][0]["aliases"] == ["production"]
    assert first["data"][0]["gate"]["passed"] is True
    rest = call(gateway, "GET", f"/admin/policies?before={first['data'][-1]['version']}").json()
    assert [row["version"] for row in rest["data"]] == ["policy-0002", "policy-0001", "policy-0000"]
    assert rest["has_more"] is False
    assert "path" not in str(first)


def test_an_alias_shows_what_it_means(gateway: Running, made: Invented) -> None:
    shown = call(gateway, "GET", "/admin/policies/production").json()
    assert shown["version"] == made.versions[-1]
    assert {check["name"] for check in shown["gate_report"]["checks"]} >= {"win_rate", "kl_nats"}
    parent = call(gateway, "GET", f"/admin/policies/{shown['parent']}").json()
    assert shown["version"] in parent["children"]
    assert call(gateway, "GET", "/admin/policies/policy-9999").status_code == 404


def test_rounds_come_in_pages_and_one_shows_its_steps(gateway: Running, made: Invented) -> None:
    page = call(gateway, "GET", "/admin/rounds?limit=3").json()
    assert [state["round_id"] for state in page["data"]] == made.rounds[:-4:-1]
    assert page["has_more"] is True
    assert page["active"] == made.active
    older = call(gateway, "GET", "/admin/rounds?before=3").json()
    assert [state["round_id"] for state in older["data"]] == ["round-0002", "round-0001"]
    shown = call(gateway, "GET", f"/admin/rounds/{made.active}").json()
    assert shown["progress"]["ppo/progress"] == 0.66
    assert shown["steps"]["reward"] is not None
    assert shown["steps"]["ppo"] is None
    curves = call(gateway, "GET", f"/admin/rounds/{made.active}/curves").json()["steps"]
    assert curves["ppo"]["objective/kl"][0][0] == 0
    assert call(gateway, "GET", "/admin/rounds/round-9999").status_code == 404
    assert call(gateway, "GET", f"/admin/rounds/{made.active}/logs/x").status_code == 404


def test_while_a_canary_is_undecided_learning_waits_and_a_request_says_what_it_supersedes(
    gateway: Running, made: Invented
) -> None:
    assert call(gateway, "GET", "/admin/learning").json()["waits_for"] is None
    asked = call(gateway, "POST", "/admin/rounds", {"reason": "try"}).json()
    assert asked["supersedes"] is None
    registry, version = Registry(gateway.redis), made.versions[-2]
    Canaries(gateway.redis).begin(
        registry.get(version), live=registry.snapshot(), share=0.1, actor="x", reason="y"
    )
    assert call(gateway, "GET", "/admin/learning").json()["waits_for"] == version
    for kind, supersedes in (("policy", version), ("moderation", None)):
        asked = call(gateway, "POST", "/admin/rounds", {"reason": "try", "kind": kind}).json()
        assert asked["supersedes"] == supersedes


def test_only_the_round_under_way_is_cancelled(gateway: Running, made: Invented) -> None:
    refused = call(gateway, "POST", f"/admin/rounds/{made.refused}/cancel")
    assert refused.status_code == 409
    done = call(gateway, "POST", f"/admin/rounds/{made.active}/cancel", {"reason": "bad data"})
    assert (done.status_code, done.json()["status"]) == (202, "cancelling")
    ((_, event),) = eventlog.read(gateway.redis, "audit")
    assert isinstance(event, Audit)
    assert event.detail == {"round_id": made.active, "reason": "bad data"}


def test_paused_learning_says_by_whom_and_why_until_it_is_resumed(gateway: Running) -> None:
    paused = call(gateway, "POST", "/admin/learning/pause", {"reason": "odd labels"}).json()
    assert paused["paused"]["reason"] == "odd labels"
    assert paused["paused"]["since"] <= time.time()
    assert gateway.redis.exists(keys.LEARNING_PAUSED)
    assert call(gateway, "POST", "/admin/learning/resume").json()["paused"] is None
    assert not gateway.redis.exists(keys.LEARNING_PAUSED)
    audits = [event for _, event in eventlog.read(gateway.redis, "audit")]
    assert [e.action for e in audits if isinstance(e, Audit)] == [
        "learning.pause",
        "learning.resume",
    ]


def test_a_pause_that_an_older_release_wrote_is_one(gateway: Running) -> None:
    gateway.redis.set(keys.LEARNING_PAUSED, "1")
    assert learning.read(gateway.redis)["paused"] == {"by": "", "reason": "", "since": None}


def test_the_overview_says_what_serves_since_when_and_what_is_wrong(
    gateway: Running, made: Invented
) -> None:
    shown = call(gateway, "GET", "/admin/overview").json()
    assert shown["production"]["version"] == made.versions[-1]
    assert abs(shown["since"] - time.time()) < 60
    assert shown["round"]["round_id"] == made.active
    assert shown["gate"]["round_id"] == made.rounds[-2]
    assert shown["backlog"]["queues"] == {"rank": 0, "compare": 0, "rate": 0, "demonstrate": 0}
    assert any("no engine has" in trouble for trouble in shown["troubles"]) or not shown["troubles"]


def test_labelers_judgements_are_counted_by_the_hour_and_end_users_are_not(
    gateway: Running,
) -> None:
    visitor = token_of(session(gateway))
    assert judge(gateway, visitor, chat(gateway, visitor).id).status_code == 201
    rate(gateway, 5, key=gateway.secret)
    hours = call(gateway, "GET", "/admin/overview").json()["backlog"]["hours"]
    assert len(hours) == 24
    assert sum(hour["judgements"] for hour in hours) == 1


def test_a_promotion_notes_since_when(gateway: Running) -> None:
    publish(gateway, "policy-0001")
    before = time.time()
    promote(gateway, "policy-0001")
    since = call(gateway, "GET", "/policy").json()["production"]["since"]
    assert before <= since <= time.time()
    assert float(gateway.redis.get(keys.LIVE_SINCE) or 0) == since


def test_a_rollback_of_what_is_not_live_any_more_changes_nothing(gateway: Running) -> None:
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    asked = {"production": "policy-0001", "reason": "rude"}
    assert call(gateway, "POST", "/admin/rollback", asked).status_code == 200
    again = call(gateway, "POST", "/admin/rollback", asked)
    assert again.status_code == 409
    assert "policy-0000 is in production by now" in again.json()["error"]["message"]


def test_settings_are_shown_with_secrets_masked(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = call(gateway, "GET", "/admin/settings").text
    assert "HONE_SERVING_ENGINE_TOKEN" in text
    assert gateway.app.state.gateway.settings.engine_token not in text
    rows: list[dict[str, Any]] = [
        row for part in json.loads(text)["data"] for row in part["settings"]
    ]
    token = next(row for row in rows if row["variable"] == "HONE_SERVING_ENGINE_TOKEN")
    assert (token["value"], token["is_secret"]) == ("••••••••", True)
    port = next(row for row in rows if row["variable"] == "HONE_SERVING_PORT")
    assert (port["value"], port["is_default"]) == ("8000", True)
