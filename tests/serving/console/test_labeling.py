"""The console's labeling page: what a browser would send, and what it gets."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx2
import pytest

from feedback.quality import kept, report
from feedback.quality.report import People
from serving import auth
from serving.console.labeling import view
from tests.feedback.quality.people import ranked
from tests.feedback.quality.test_report import NOW, crowd, labeler
from tests.serving.conftest import Running


@pytest.fixture
def figures(gateway: Running) -> None:
    rows, people = crowd(lab_lazy0=labeler("lab_lazy0", status="screening"))
    kept.write(gateway.redis, report.report(rows, people, now=NOW).as_json())


def browser(gateway: Running) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.url, follow_redirects=True)


def enter(page: httpx2.Client, secret: str) -> httpx2.Response:
    return page.post("/console", data={"key": secret})


def test_an_operator_logs_in_and_sees_every_labeler(gateway: Running, figures: None) -> None:
    with browser(gateway) as page:
        assert "API key of scope admin or view" in page.get("/console/labeling").text
        enter(page, gateway.admin_secret)
        shown = page.get("/console/labeling")
    assert shown.url.path == "/console/labeling"
    for text in ("Good0", "Adversarial0", "screening", "Position bias:", "Krippendorff", "<svg"):
        assert text in shown.text
    assert shown.text.index("Adversarial0") < shown.text.index("Good0")


def test_before_anybody_judged_the_page_says_so(gateway: Running) -> None:
    with browser(gateway) as page:
        enter(page, gateway.admin_secret)
        assert "There are no figures yet" in page.get("/console/labeling").text


def test_a_report_of_one_judgement_is_shown(gateway: Running) -> None:
    rows = [ranked("x", "key_1", 1, 2, source="key", created=1.0)]
    found = report.report(rows, People(labelers={}, known={}))
    kept.write(gateway.redis, found.as_json())
    with browser(gateway) as page:
        enter(page, gateway.admin_secret)
        shown = page.get("/console/labeling").text
    assert "No set was judged by two yet" in shown
    assert "key_1" in shown


def test_only_a_key_of_an_operator_or_a_viewer_logs_in(gateway: Running) -> None:
    for secret, status in (
        (gateway.secret, 403),
        (gateway.label_secret, 403),
        ("sk-no", 401),
        ("", 401),
    ):
        with browser(gateway) as page:
            answer = enter(page, secret)
            assert answer.status_code == status
            assert "set-cookie" not in answer.headers


def test_a_labeler_s_cookie_is_no_operator_s(gateway: Running) -> None:
    secret, _ = auth.create_key(gateway.redis, name="both", scopes=("label", "admin"))
    with httpx2.Client(base_url=gateway.url) as page:
        cookie = page.post("/label", data={"key": secret, "labeler": "Ann"}).cookies["hone_label"]
        answer = page.get("/console/labeling", headers={"cookie": f"hone_console={cookie}"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console?next=/console/labeling"


def test_a_revoked_key_ends_the_session(gateway: Running) -> None:
    secret, record = auth.create_key(gateway.redis, name="op2", scopes=("admin",))
    with browser(gateway) as page:
        assert "Log out" in enter(page, secret).text
        auth.revoke_key(gateway.redis, record.id)
        deadline = time.monotonic() + 5
        while "Log out" in page.get("/console/labeling").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_key_that_is_no_operator_s_any_more_ends_the_session(gateway: Running) -> None:
    secret, _ = auth.create_key(gateway.redis, name="op2", scopes=("admin",))
    with browser(gateway) as page:
        assert "Log out" in enter(page, secret).text
        auth.ensure_key(gateway.redis, secret, name="op2", scopes=("infer",))
        deadline = time.monotonic() + 5
        while "Log out" in page.get("/console/labeling").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_logging_out_takes_a_form_of_ours_and_forgets_the_cookie(gateway: Running) -> None:
    with browser(gateway) as page:
        shown = enter(page, gateway.admin_secret).text
        assert page.post("/console/leave", data={"token": "forged"}).status_code == 403
        assert "Log out" in page.get("/console/labeling").text
        token = re.findall(r'name="token" value="([^"]+)"', shown)[0]
        page.post("/console/leave", data={"token": token})
        assert "Log out" not in page.get("/console/labeling").text


def test_the_page_s_policy_forbids_all_but_its_own_files(gateway: Running, figures: None) -> None:
    with httpx2.Client(base_url=gateway.url) as page:
        cookie = enter(page, gateway.admin_secret).headers["set-cookie"].lower()
        shown = page.get("/console/labeling")
        sheet = re.findall(r'href="(/console/static/[^"]+)"', shown.text)[0]
        assert page.get(sheet).headers["content-type"].startswith("text/css")
    assert {"httponly", "samesite=strict", "path=/console"} <= set(cookie.split("; "))
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "no-store"
    assert " style=" not in shown.text  # the policy would drop it
    assert "<script>" not in shown.text
    assert "unsafe" not in shown.headers["content-security-policy"]


def test_a_labeler_s_name_is_text(gateway: Running) -> None:
    rows, people = crowd()
    made: dict[str, Any] = report.report(rows, people, now=NOW).as_json()
    made["people"][0]["name"] = "<script>alert(1)</script>"
    kept.write(gateway.redis, made)
    with browser(gateway) as page:
        enter(page, gateway.admin_secret)
        assert "<script>alert" not in page.get("/console/labeling").text


def test_the_view_says_how_old_the_figures_are_and_draws_within_the_drawing() -> None:
    rows, people = crowd()
    made = report.report(rows, people, now=NOW).as_json()
    shown = view(made, now=NOW + 130)
    assert shown["age"] == "2 min ago"
    assert view(made, now=NOW + 3 * 3600)["age"] == "3 h ago"
    chart = shown["weeks"]
    assert len(chart.marks) == len(made["by_week"])
    for mark in chart.marks:
        assert chart.left < mark.x < chart.right
        assert 0 < mark.high <= mark.y <= mark.low <= chart.bottom
    bars = shown["positions"][4].bars
    assert [bar.label for bar in bars] == ["1.", "2.", "3.", "4."]
    assert all(bar.y + bar.height == pytest.approx(shown["positions"][4].bottom) for bar in bars)
