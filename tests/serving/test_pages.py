"""The labeler's page without JavaScript: what a browser would send."""

from __future__ import annotations

import re
import time
from typing import Any, cast

import httpx2

from feedback import eventlog
from feedback.events import Feedback
from serving import auth
from tests.serving.conftest import Running


def browser(gateway: Running) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.url, follow_redirects=True)


def enter(gateway: Running, page: httpx2.Client, *, name: str = "Ann") -> httpx2.Response:
    return page.post("/label", data={"key": gateway.label_secret, "labeler": name})


def offer(gateway: Running, text: str) -> str:
    messages: Any = [{"role": "user", "content": text}]
    return gateway.openai().chat.completions.create(model="policy", messages=messages, n=4).id


def hidden(html: str, name: str) -> list[str]:
    return re.findall(rf'name="{name}" value="([^"]*)"', html)


def test_a_labeler_logs_in_ranks_and_gets_the_next(gateway: Running) -> None:
    completion_id = offer(gateway, "first question")
    offer(gateway, "second question")
    with browser(gateway) as page:
        shown = enter(gateway, page)
        assert "first question" in shown.text
        assert "policy-0000" not in shown.text
        order = hidden(shown.text, "shown")
        form = {
            "token": hidden(shown.text, "token"),
            "completion_id": hidden(shown.text, "completion_id"),
            "shown_at": hidden(shown.text, "shown_at"),
            "shown": order,
            **{f"rank-{index}": ["1" if index == "2" else "2"] for index in order},
        }
        following = page.post("/label/next", data=form)
        assert "second question" in following.text
        page.post("/label/next", data=form)  # the button, pressed twice
    events = [cast(Feedback, event) for _, event in eventlog.read(gateway.redis, "feedback")]
    (event,) = events
    assert (event.form, event.labeler) == ("ranking", "Ann")
    assert event.completion_ids == [completion_id]
    best = "abcd"[order.index("2")]
    assert event.body["tiers"] == [[best], [letter for letter in "abcd" if letter != best]]
    assert event.body["duration_ms"] >= 0


def test_a_form_without_all_ranks_comes_back_with_what_was_chosen(gateway: Running) -> None:
    offer(gateway, "a question")
    with browser(gateway) as page:
        shown = enter(gateway, page)
        form = {
            "token": hidden(shown.text, "token"),
            "completion_id": hidden(shown.text, "completion_id"),
            "shown_at": hidden(shown.text, "shown_at"),
            "shown": hidden(shown.text, "shown"),
            "rank-1": ["3"],
        }
        again = page.post("/label/next", data=form)
        assert again.status_code == 422
        assert "Give every answer a rank." in again.text
        assert re.search(r'name="rank-1" value="3" required checked', again.text)
    assert eventlog.last_entry(gateway.redis, "feedback") is None


def test_skipping_shows_another_set(gateway: Running) -> None:
    offer(gateway, "first question")
    offer(gateway, "second question")
    with browser(gateway) as page:
        shown = enter(gateway, page)
        form = {
            "token": hidden(shown.text, "token"),
            "completion_id": hidden(shown.text, "completion_id"),
            "skip": ["1"],
        }
        assert "second question" in page.post("/label/next", data=form).text


def test_what_a_model_says_is_text_and_never_markup(gateway: Running) -> None:
    offer(gateway, "<script>alert(1)</script>")
    with browser(gateway) as page:
        shown = enter(gateway, page)
    assert "<script" not in shown.text.lower()
    assert "&lt;SCRIPT&gt;" in shown.text
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_a_key_without_the_scope_or_unknown_does_not_log_in(gateway: Running) -> None:
    for key, status in ((gateway.secret, 403), ("sk-unknown", 401), ("", 401)):
        with browser(gateway) as page:
            answer = page.post("/label", data={"key": key})
            assert answer.status_code == status
            assert "set-cookie" not in answer.headers


def test_a_revoked_key_ends_the_session(gateway: Running) -> None:
    with browser(gateway) as page:
        assert "Log out" in enter(gateway, page).text
        auth.revoke_key(gateway.redis, gateway.label_key.id)
        deadline = time.monotonic() + 5
        while "Your key for labeling" not in page.get("/label/next").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_form_of_another_site_is_refused(gateway: Running) -> None:
    offer(gateway, "a question")
    with browser(gateway) as page:
        shown = enter(gateway, page)
        form = {"completion_id": hidden(shown.text, "completion_id"), "skip": ["1"]}
        assert page.post("/label/next", data={**form, "token": ["forged"]}).status_code == 403
    with httpx2.Client(base_url=gateway.url) as page:
        cookie = enter(gateway, page).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_the_first_page_leads_to_labeling_and_to_the_docs(gateway: Running) -> None:
    html = httpx2.get(gateway.url).text
    assert 'href="/label"' in html
    assert 'href="/docs"' in html
    assert (
        httpx2.get(f"{gateway.url}/label/style.css").headers["content-type"].startswith("text/css")
    )
