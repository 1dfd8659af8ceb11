"""The console's screens: what a browser without scripts would send, and what it gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from feedback import eventlog, keys
from feedback.events import Audit
from serving import auth
from serving.bench import invented_moderation, invented_rounds
from serving.bench.invented_rounds import Invented
from serving.canary.store import Canaries
from serving.registry import Registry
from tests.conftest import RedisServer
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.test_admin import promote, publish, served_by

PROMPT = "How do I boil an egg"


@pytest.fixture
def made(gateway: Running, tmp_path: Path) -> Invented:
    invented_moderation.write(gateway.redis, tmp_path, num_versions=2)
    found = invented_rounds.write(gateway.redis, tmp_path, num_versions=8)
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    return found


@pytest.fixture
def page(gateway: Running) -> Iterator[httpx2.Client]:
    """An operator's browser."""
    with browser(gateway, gateway.admin_secret) as opened:
        yield opened


@contextmanager
def browser(gateway: Running, secret: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, follow_redirects=True, timeout=100) as opened:
        opened.post("/console", data={"key": secret})
        yield opened


@contextmanager
def viewer(gateway: Running, *scopes: str) -> Iterator[httpx2.Client]:
    secret, _ = auth.create_key(gateway.redis, name="looker", scopes=scopes)
    with browser(gateway, secret) as opened:
        yield opened


def form(text: str, action: str) -> dict[str, str]:
    """The hidden fields of a form on a page."""
    found = re.search(
        rf'<form method="post" action="{re.escape(action)}".*?</form>', text, re.DOTALL
    )
    assert found is not None, action
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found.group()))


def screens(made: Invented) -> list[str]:
    names = ("policies", "canary", "rewards", "labeling", "runs", "engines", "audit", "settings")
    return [
        "/console",
        *(f"/console/{name}" for name in names),
        f"/console/policies/{made.versions[-1]}",
        "/console/policies/policy-0000",
        "/console/lineage?of=production",
        "/console/lineage",
        *("/console/moderation", "/console/moderation/moderation-0002"),
        "/console/moderation/moderation-0000",
        *(f"/console/runs/{name}" for name in (made.active, made.refused, made.rounds[0])),
    ]


def audits(gateway: Running) -> list[Audit]:
    return [e for _, e in eventlog.read(gateway.redis, "audit") if isinstance(e, Audit)]


def test_every_screen_is_whole_without_scripts_and_names_where_one_is(
    page: httpx2.Client, made: Invented
) -> None:
    for path in screens(made):
        shown = page.get(path)
        assert shown.status_code == 200, (path, shown.text[:500])
        assert shown.text.count("<h1") == 1, path
        assert '<main id="main"' in shown.text
        assert 'aria-current="page"' in shown.text
        assert " style=" not in shown.text, path  # the policy would drop it
        assert "<script>" not in shown.text
        assert shown.headers["cache-control"] == "no-store"


def test_each_check_of_a_gate_names_the_file_it_is_from(
    page: httpx2.Client, made: Invented
) -> None:
    for path in (f"policies/{made.versions[-1]}", f"runs/{made.refused}"):
        text = page.get(f"/console/{path}").text
        assert text.count("<code>gate/answers.jsonl</code>") == 7, path
        assert "Win rate" in text


def test_checks_of_a_gate_are_named_in_words(made: Invented, page: httpx2.Client) -> None:
    shown = page.get(f"/console/runs/{made.refused}").text
    assert '<th scope="row">KL nats</th>' in shown
    assert '<th scope="row">Win rate</th>' in shown


def test_every_screen_is_there_before_anything_happened(page: httpx2.Client) -> None:
    for name in ("", "/policies", "/canary", "/rewards", "/runs", "/engines", "/audit"):
        shown = page.get(f"/console{name}")
        assert shown.status_code == 200, name
    assert "No round has run yet" in page.get("/console/runs").text
    assert "No reward model was trained yet" in page.get("/console/rewards").text
    assert "No canary runs" in page.get("/console/canary").text


def test_what_is_not_there_is_a_page_that_says_so(page: httpx2.Client) -> None:
    for path in ("/console/policies/policy-9999", "/console/runs/round-9999"):
        shown = page.get(path)
        assert shown.status_code == 404
        assert "There is nothing here" in shown.text
        assert "<html" in shown.text


def test_nobody_sees_a_screen_without_logging_in_and_then_comes_back_to_it(
    gateway: Running, made: Invented
) -> None:
    with httpx2.Client(base_url=gateway.url, follow_redirects=False) as nobody:
        for path in screens(made)[1:]:
            answer = nobody.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"] == f"/console?next={path.partition('?')[0]}"
        sent = {"key": gateway.admin_secret, "next": "/console/runs"}
        assert nobody.post("/console", data=sent).headers["location"] == "/console/runs"
        for elsewhere in (
            "//evil.example",
            "https://evil.example",
            "/console//x",
            "/label",
            "/\\x",
        ):
            sent["next"] = elsewhere
            assert nobody.post("/console", data=sent).headers["location"] == "/console"


def test_two_forms_roll_back_with_a_reason_and_the_log_keeps_it(
    gateway: Running, page: httpx2.Client
) -> None:
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    fields = form(page.get("/console").text, "/console/rollback")
    assert fields["production"] == "policy-0001"
    assert page.post("/console/rollback", data=fields).status_code == 422  # without a reason
    assert served_by(gateway) == "policy-0001"
    done = page.post("/console/rollback", data={**fields, "reason": "rude about cats"})
    assert done.url.path == "/console"
    assert "Rolled back" in done.text
    assert served_by(gateway) == "policy-0000"
    last = audits(gateway)[-1]
    assert (last.action, last.detail["reason"]) == ("rollback", "rude about cats")
    assert last.actor.startswith("key_")
    assert "rude about cats" in page.get("/console/audit").text


def test_a_page_that_is_out_of_date_rolls_nothing_back(
    gateway: Running, page: httpx2.Client
) -> None:
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    fields = {**form(page.get("/console").text, "/console/rollback"), "reason": "x"}
    page.post("/console/rollback", data=fields)
    again = page.post("/console/rollback", data=fields)
    assert again.status_code == 409
    assert "policy-0000 is in production by now" in again.text
    assert served_by(gateway) == "policy-0000"


def test_a_form_of_another_site_changes_nothing(gateway: Running, page: httpx2.Client) -> None:
    for token in ("", "forged"):
        sent = {"token": token, "reason": "x"}
        answer = page.post("/console/learning/pause", data=sent)
        assert answer.status_code == 403
    assert not gateway.redis.exists(keys.LEARNING_PAUSED)


CHANGES = (
    *("/console/rollback", "/console/learning/pause", "/console/learning/resume", "/console/runs"),
    *("/console/canary", "/console/canary/hold", "/console/canary/abort"),
    *("/console/moderation/rollback", "/console/moderation/moderation-0001/promote"),
    *("/console/runs/round-0004/retry", "/console/runs/round-0004/override"),
)


def test_a_viewer_sees_all_screens_and_no_form_but_the_way_out(
    gateway: Running, made: Invented
) -> None:
    with viewer(gateway, "view") as looking:
        for path in screens(made):
            text = looking.get(path).text
            assert re.findall(r'<form method="post" action="([^"]+)"', text) == ["/console/leave"]
            assert PROMPT not in text
        token = form(looking.get("/console").text, "/console/leave")["token"]
        for path in (*CHANGES, f"/console/runs/{made.active}/cancel"):
            answer = looking.post(path, data={"token": token, "reason": "x", "version": "x"})
            assert answer.status_code == 403, path
            assert "look, not change" in answer.text
    assert audits(gateway) == []


def test_texts_of_people_are_shown_to_those_who_may_read_them(
    gateway: Running, page: httpx2.Client, made: Invented
) -> None:
    policy, run = f"/console/policies/{made.versions[-1]}", f"/console/runs/{made.active}"
    assert PROMPT in page.get(policy).text
    assert "of 480 done" in page.get(run).text
    with viewer(gateway, "view_texts") as reading:
        assert PROMPT in reading.get(policy).text
    with viewer(gateway, "view") as looking:
        assert "are shown to keys of scope" in looking.get(policy).text
        assert "of 480 done" not in looking.get(run).text


def test_learning_is_paused_and_resumed(gateway: Running, page: httpx2.Client) -> None:
    fields = form(page.get("/console").text, "/console/learning/pause")
    paused = page.post("/console/learning/pause", data={**fields, "reason": "odd labels"}).text
    assert "odd labels" in paused
    assert gateway.redis.exists(keys.LEARNING_PAUSED)
    page.post("/console/learning/resume", data=form(paused, "/console/learning/resume"))
    assert not gateway.redis.exists(keys.LEARNING_PAUSED)


def test_a_round_is_asked_for_and_the_one_under_way_cancelled(
    gateway: Running, page: httpx2.Client, made: Invented
) -> None:
    fields = form(page.get("/console/runs").text, "/console/runs")
    refused = page.post("/console/runs", data={**fields, "recipe": "../x"})
    assert refused.status_code == 422
    asked = page.post("/console/runs", data={**fields, "recipe": "tiny", "reason": "try"})
    assert "A round was asked for" in asked.text
    request = json.loads(gateway.redis.get(keys.ROUND_REQUESTED) or b"")
    assert (request["recipe"], request["kind"]) == ("tiny", "policy")
    path = f"/console/runs/{made.active}"
    fields = form(page.get(path).text, f"{path}/cancel")
    assert "is being cancelled" in page.post(f"{path}/cancel", data={**fields, "reason": "x"}).text
    assert gateway.redis.hget(keys.round_state(made.active), "status") == b"cancelling"


def test_a_canary_is_begun_held_and_aborted(gateway: Running, page: httpx2.Client) -> None:
    publish(gateway, "policy-0001")
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    fields = form(page.get("/console/canary").text, "/console/canary")
    wanted = {**fields, "version": "policy-0001", "percent": "20", "reason": "try"}
    assert page.post("/console/canary", data=wanted).status_code == 409  # no gate, no word why
    assert page.post("/console/canary", data={**wanted, "percent": "x"}).status_code == 422
    begun = page.post("/console/canary", data={**wanted, "override": "a test"})
    assert "20 %" in begun.text
    assert "a test" in begun.text
    held = page.post(
        "/console/canary/hold",
        data={**form(begun.text, "/console/canary/hold"), "reason": "weekend"},
    )
    assert ">held<" in held.text
    over = page.post(
        "/console/canary/abort",
        data={**form(held.text, "/console/canary/abort"), "reason": "rude"},
    )
    assert "No canary runs" in over.text
    assert ">aborted<" in over.text


def test_what_people_said_of_a_canary_stands_beside_what_the_reward_model_promised(
    gateway: Running, page: httpx2.Client, made: Invented
) -> None:
    assert "No canary with blind pairs is over yet" in page.get("/console/rewards").text
    registry, canaries = Registry(gateway.redis), Canaries(gateway.redis)
    version = made.versions[-2]
    canary = canaries.begin(
        registry.get(version), live=registry.snapshot(), share=0.1, actor="x", reason="y"
    )
    pairs = {"win_rate": 0.25, "low": 0.1, "high": 0.4, "votes": 200}
    canaries.end(canary, "rolled_back", actor="canary", reason="worse", figures={"pairs": pairs})
    text = page.get("/console/rewards").text
    assert re.search(rf"{version}: by the reward model 0\.\d+, by people 0\.25, 0\.1 to 0\.4", text)
    assert 'class="dot odd"' in text


def test_a_version_is_promoted_from_its_page(gateway: Running, page: httpx2.Client) -> None:
    publish(gateway, "policy-0001")
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    path = "/console/policies/policy-0001"
    fields = {**form(page.get(path).text, f"{path}/promote"), "reason": "try"}
    assert page.post(f"{path}/promote", data=fields).status_code == 409  # no gate has passed it
    done = page.post(f"{path}/promote", data={**fields, "override": "a test"})
    assert "Promoted" in done.text
    assert served_by(gateway) == "policy-0001"


def test_lists_go_on_to_older_pages(gateway: Running, page: httpx2.Client, tmp_path: Path) -> None:
    made = invented_rounds.write(gateway.redis, tmp_path, num_versions=60)
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    first = page.get("/console/policies").text
    older = re.findall(r'href="(/console/policies\?before=[^"]+)"', first)
    assert "policy-0001<" not in first
    assert "policy-0001<" in page.get(older[0]).text
    older = re.findall(r'href="(/console/runs\?before=[^"]+)"', page.get("/console/runs").text)
    assert made.rounds[0] in page.get(older[0]).text


def test_an_engine_s_figures_are_shown(
    gateway: Running, page: httpx2.Client, engine: FakeEngine
) -> None:
    gateway.run(gateway.app.state.gateway.vitals.look())
    text = page.get("/console/engines").text
    assert "37 %" in text
    assert engine.url in text


def test_lineage_goes_from_a_version_to_its_rounds_and_from_a_round_forward(
    gateway: Running, page: httpx2.Client, made: Invented
) -> None:
    back = page.get("/console/lineage?of=production").text
    assert made.rounds[-2] in back
    assert "policy cpu-demo · reward model right in" in back
    assert "policy-0000" in back
    assert "cannot be read" not in back
    assert "other weights" not in back
    assert "there is no chatcmpl-0" in page.get("/console/lineage?of=chatcmpl-0").text
    forward = page.get(f"/console/lineage?of={made.rounds[0]}&way=forward").text
    assert "Trained on it" in forward
    assert made.versions[0] in forward


def test_secrets_are_masked(gateway: Running, page: httpx2.Client) -> None:
    text = page.get("/console/settings").text
    assert gateway.app.state.gateway.settings.engine_token not in text
    assert "••••••••" in text
    for secret in (gateway.secret, gateway.admin_secret):
        assert secret not in text


def test_what_people_and_files_say_is_text(gateway: Running, page: httpx2.Client) -> None:
    evil = "<script>alert(1)</script>"
    fields = form(page.get("/console").text, "/console/learning/pause")
    page.post("/console/learning/pause", data={**fields, "reason": evil})
    for path in ("/console", "/console/audit", "/console/runs"):
        text = page.get(path).text
        assert evil not in text
        assert "&lt;script&gt;" in text


def test_while_redis_is_away_the_overview_says_what_it_knows(
    start_gateway: Any, redis_server: RedisServer, engine: FakeEngine
) -> None:
    gateway: Running = start_gateway(redis_server.url, engine)
    with browser(gateway, gateway.admin_secret) as page:
        assert "policy-0000" in page.get("/console").text
        redis_server.stop()
        shown = page.get("/console")
        assert shown.status_code == 200
        assert "policy-0000" in shown.text
        assert "nothing is known of rounds" in shown.text
        assert page.get("/console/runs").status_code == 503
        assert "Redis does not answer" in page.get("/console/runs").text
        redis_server.start()
