"""The labelers' pages without JavaScript: what a browser would send."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from feedback import keys
from feedback.labeling import guidelines, own_figures
from feedback.labeling.labelers import Labelers
from feedback.labeling.own_figures import OwnFigures, Share
from serving import auth
from tests.conftest import RedisServer
from tests.label_work import LabelWork
from tests.serving.conftest import Running

PASSWORD = "correct horse battery"


@pytest.fixture
def work(redis_url: str) -> LabelWork:
    return LabelWork(redis_url)


@pytest.fixture
def browser(gateway: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, follow_redirects=True) as client:
        yield client


def join(
    page: httpx2.Client, work: LabelWork, *, name: str = "Ann", trusted: bool = True
) -> httpx2.Response:
    token = work.invite(is_trusted=trusted)
    return page.post(f"/label/join/{token}", data={"name": name, "password": PASSWORD})


def hidden(html: str) -> dict[str, str]:
    """The hidden fields of the work form."""
    form = html.split('id="work"')[1].split("</form>")[0]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


def ticked(html: str) -> set[tuple[str, str]]:
    return set(re.findall(r'name="([\w-]+)" value="([^"]*)"(?: required)? checked', html))


def ranks(**of: int) -> dict[str, str]:
    return {f"rank-{letter}": str(rank) for letter, rank in of.items()}


def test_an_invited_labeler_joins_ranks_and_gets_the_next(
    browser: httpx2.Client, work: LabelWork
) -> None:
    first = work.offer("first question", ["w", "x", "y", "z"])
    work.offer("second question", ["x", "y"])
    assert "Hello, Ann" in join(browser, work).text
    shown = browser.get("/label/next")
    assert "first question" in shown.text
    assert "policy-0000" not in shown.text
    form = (
        hidden(shown.text)
        | ranks(a=2, b=1, c=2, d=3)
        | {"likert-b": "6", "flag-d": "hallucination"}
    )
    assert "second question" in browser.post("/label/next", data=form).text
    browser.post("/label/next", data=form)  # the button, pressed twice
    (said,) = work.said()
    assert (said.form, said.source) == ("ranking", "labeler")
    assert said.labeler.startswith("lab_")
    assert said.completion_ids == [first.id]
    assert said.body["tiers"] == [["b"], ["a", "c"], ["d"]]
    assert said.body["ratings"]["b"]["likert"] == 6
    assert said.body["ratings"]["d"]["flags"] == {"hallucination": True}
    assert said.body["shown_order"] == ["a", "b", "c", "d"]
    assert "1 done today" in browser.get("/label/next").text


def test_a_judgement_that_was_changed_is_another_one(
    browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("a question", ["x", "y"])
    join(browser, work)
    fields = hidden(browser.get("/label/next").text)
    browser.post("/label/next", data=fields | ranks(a=1, b=2))
    browser.post("/label/next", data=fields | ranks(a=2, b=1))  # after Back
    first, second = work.said()
    assert second.replaces == first.id


def test_a_form_without_all_ranks_comes_back_with_what_was_chosen(
    browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("a question", ["x", "y", "z"])
    join(browser, work)
    form = hidden(browser.get("/label/next").text) | ranks(b=3)
    form |= {"likert-a": "7", "flag-c": "harmful_advice", "all_bad": "1", "note": "odd <b>"}
    again = browser.post("/label/next", data=form)
    assert again.status_code == 422
    assert "Give a rank to A and C." in again.text
    assert ticked(again.text) == {
        ("rank-b", "3"),
        ("likert-a", "7"),
        ("flag-c", "harmful_advice"),
        ("all_bad", "1"),
    }
    assert "odd &lt;b&gt;</textarea>" in again.text
    assert work.said() == []


@pytest.mark.parametrize(
    ("task", "answers", "missing"),
    [
        ("compare", ["x", "y"], "Choose which one is better."),
        ("rate", ["x"], "Choose how good it is, from 1 to 7."),
        ("demonstrate", ["x"], "Write the"),
    ],
)
def test_every_task_says_what_is_missing(
    browser: httpx2.Client, work: LabelWork, task: Any, answers: list[str], missing: str
) -> None:
    work.offer("a question", answers, task=task)
    join(browser, work)
    fields = hidden(browser.get(f"/label/next?task={task}").text)
    again = browser.post("/label/next", data=fields)
    assert (again.status_code, missing in again.text) == (422, True)


def test_what_is_written_is_kept_to_the_letter(browser: httpx2.Client, work: LabelWork) -> None:
    work.offer("a question", ["x"], task="demonstrate")
    join(browser, work)
    fields = hidden(browser.get("/label/next?task=demonstrate").text)
    written = {"prompt": "how?", "completion": "\r\n    if x:\r\n        y()\r\n\r\n"}
    browser.post("/label/next", data=fields | written)
    assert work.said()[0].body["completion"] == "    if x:\n        y()"


def test_one_answer_is_rated_though_there_are_more(browser: httpx2.Client, work: LabelWork) -> None:
    completion = work.offer("a question", ["x", "y"], task="rate")
    join(browser, work)
    shown = browser.get("/label/next?task=rate").text
    assert shown.count('class="card"') == 1
    browser.post(
        "/label/next", data=hidden(shown) | {"likert-a": "4", "flag-a": "expresses_opinion"}
    )
    (said,) = work.said()
    assert said.body["completion_id"] == completion.id
    assert (said.body["likert"], said.body["flags"]) == (4, {"expresses_opinion": True})


def test_a_script_is_answered_in_json(browser: httpx2.Client, work: LabelWork) -> None:
    work.offer("a question", ["x", "y"])
    join(browser, work)
    fields, json = hidden(browser.get("/label/next").text), {"accept": "application/json"}
    refused = browser.post("/label/next", data=fields | ranks(a=1), headers=json)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "rank-b")
    sent = browser.post("/label/next", data=fields | ranks(a=1, b=2), headers=json)
    assert (sent.status_code, sent.json()) == (200, {"next": "/label/next?task=rank"})


def test_skipping_says_why_and_shows_another(browser: httpx2.Client, work: LabelWork) -> None:
    work.offer("first question", ["x", "y"])
    work.offer("second question", ["x", "y"])
    join(browser, work)
    fields = hidden(browser.get("/label/next").text)
    assert browser.post("/label/skip", data=fields | {"skip": "no reason"}).status_code == 422
    assert "second question" in browser.post("/label/skip", data=fields | {"skip": "broken"}).text
    (said,) = work.said()
    assert (said.form, said.body["reason"]) == ("skip", "broken")


def test_undo_takes_back_and_fills_in_what_was_said(
    browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("a question", ["x", "y"])
    join(browser, work)
    fields = hidden(browser.get("/label/next").text)
    browser.post("/label/next", data=fields | ranks(a=2, b=1) | {"note": "hm", "likert-a": "3"})
    again = browser.post("/label/undo", data=fields)
    assert ticked(again.text) == {("rank-a", "2"), ("rank-b", "1"), ("likert-a", "3")}
    assert "hm</textarea>" in again.text
    assert [said.form for said in work.said()] == ["ranking", "retraction"]
    assert browser.get("/label/next?again=fbk_erased").status_code == 200
    assert "nothing left to undo" in browser.post("/label/undo", data=fields).text


def test_a_lease_is_renewed_while_somebody_looks(
    gateway: Running, browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("a question", ["x", "y"])
    join(browser, work)
    fields = hidden(browser.get("/label/next").text)
    assert browser.post("/label/renew", data=fields).status_code == 204
    with httpx2.Client(base_url=gateway.url, follow_redirects=True) as other:
        token = re.search(r'name="token" value="(\w+)"', join(other, work, name="Bob").text)
        assert token is not None
        stolen = {**fields, "token": token[1]}
        assert other.post("/label/renew", data=stolen).status_code == 404


def test_what_a_model_says_is_text_and_never_markup(
    browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("<script>alert(0)</script>", ["<script>alert(1)</script>", "</div></form>"])
    join(browser, work)
    shown = browser.get("/label/next")
    assert "<script>" not in shown.text
    assert "&lt;script&gt;alert(1)" in shown.text
    assert shown.text.count("</form>") == len(re.findall("<form", shown.text))
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_names_and_passwords_log_in_and_nothing_else_does(
    browser: httpx2.Client, work: LabelWork
) -> None:
    page = join(browser, work).text
    token = re.findall(r'name="token" value="(\w+)"', page)[0]
    assert "Password" in browser.post("/label/leave", data={"token": token}).text
    wrong = browser.post("/label", data={"name": "Ann", "password": "wrong horse battery"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    assert 'value="Ann"' in wrong.text
    entered = browser.post("/label", data={"name": "ann", "password": PASSWORD})
    assert "Hello, Ann" in entered.text


def test_logging_in_cannot_be_tried_for_ever(browser: httpx2.Client) -> None:
    form = {"name": "Ann", "password": "wrong horse battery"}
    answers = [browser.post("/label", data=form).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]


def test_an_invitation_holds_once_and_asks_for_a_good_password(
    browser: httpx2.Client, work: LabelWork
) -> None:
    link = f"/label/join/{work.invite()}"
    assert "Welcome" in browser.get(link).text
    short = browser.post(link, data={"name": "Ann", "password": "short"})
    assert (short.status_code, 'value="Ann"' in short.text) == (422, True)
    assert "Hello" in browser.post(link, data={"name": "Ann", "password": PASSWORD}).text
    assert browser.get(link).status_code == 404
    made_up = browser.get("/label/join/made-up")
    assert (made_up.status_code, "This invitation was used" in made_up.text) == (404, True)


@pytest.mark.parametrize("change", ["block", "new password"])
def test_a_blocked_labeler_and_a_new_password_end_the_session(
    browser: httpx2.Client, work: LabelWork, change: str
) -> None:
    assert "Hello" in join(browser, work).text

    async def carry_out(client: Any) -> None:
        labelers = Labelers(client)
        (labeler,) = await labelers.all()
        if change == "block":
            await labelers.set_status(labeler.id, "blocked")
        else:
            await labelers.set_password(labeler.id, "another horse battery")

    work.run(carry_out)
    assert "Password" in browser.get("/label").text
    assert "Password" in browser.get("/label/next").text


def test_who_is_in_screening_is_told_of_the_test_while_there_is_one(
    browser: httpx2.Client, work: LabelWork
) -> None:
    assert "no test to take" in join(browser, work, trusted=False).text
    work.know("a test", ["x", "y"], [[0], [1]])
    assert "0 of 6 done" in browser.get("/label").text
    fields = hidden(browser.get("/label/next").text)
    assert "0 of 6 done" in browser.get("/label").text  # it is on the screen now
    browser.post("/label/skip", data=fields | {"skip": "unclear"})
    assert "no test to take" in browser.get("/label").text


def test_an_api_key_for_labeling_logs_in_until_it_is_revoked(
    gateway: Running, browser: httpx2.Client
) -> None:
    form = {"key": gateway.label_secret, "labeler": "Ann"}
    assert "Hello, Ann" in browser.post("/label", data=form).text
    auth.revoke_key(gateway.redis, gateway.label_key.id)
    deadline = time.monotonic() + 5
    while "Password" not in browser.get("/label/next").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_key_without_the_scope_or_unknown_does_not_log_in(
    gateway: Running, browser: httpx2.Client
) -> None:
    for key, status in ((gateway.secret, 403), ("sk-unknown", 401), ("", 401)):
        answer = browser.post("/label", data={"key": key})
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers


def test_a_form_of_another_site_is_refused(
    gateway: Running, browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("a question", ["x", "y"])
    join(browser, work)
    forged = hidden(browser.get("/label/next").text) | ranks(a=1, b=2) | {"token": "forged"}
    again = browser.post("/label/next", data=forged)
    assert again.status_code == 403
    assert ("rank-a", "1") in ticked(again.text)  # who logged in anew loses nothing
    assert browser.post("/label/skip", data=forged | {"skip": "broken"}).status_code == 403
    assert browser.post("/label/undo", data=forged).status_code == 403
    assert browser.post("/label/leave", data=forged).status_code == 403
    assert work.said() == []
    elsewhere = {"origin": "https://evil.example"}
    form = {"key": gateway.label_secret}
    assert browser.post("/label", data=form, headers=elsewhere).status_code == 403
    with httpx2.Client(base_url=gateway.url) as fresh:
        cookie = fresh.post("/label", data=form).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_what_was_typed_outlives_a_store_that_is_away(
    start_gateway: Any, engine: Any, redis_server: RedisServer
) -> None:
    gateway, work = start_gateway(redis_server.url, engine), LabelWork(redis_server.url)
    work.offer("a question", ["x", "y"])
    with httpx2.Client(base_url=gateway.url, follow_redirects=True) as page:
        join(page, work)
        form = hidden(page.get("/label/next").text) | ranks(a=1, b=2) | {"note": "typed"}
        redis_server.stop()
        away = page.post("/label/next", data=form)
        assert (away.status_code, 'value="typed"' in away.text) == (503, True)
        redis_server.start()
        kept = dict(re.findall(r'name="([\w-]+)" value="([^"]*)"', away.text))
        deadline = time.monotonic() + 10
        while page.post("/label/next", data=kept).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert [said.body["note"] for said in work.said()] == ["typed"]


def test_what_was_typed_outlives_the_session(
    gateway: Running, browser: httpx2.Client, work: LabelWork
) -> None:
    work.offer("a question", ["x", "y"])
    join(browser, work)
    form = hidden(browser.get("/label/next").text) | ranks(a=1, b=2) | {"note": "typed"}
    browser.cookies.clear()
    out = browser.post("/label/next", data=form)
    assert (out.status_code, 'name="note" value="typed"' in out.text) == (401, True)
    time.sleep(1.1)  # a session is named by its second
    browser.post("/label", data={"name": "Ann", "password": PASSWORD})
    again = browser.post("/label/next", data=form)  # "Send it again"
    assert (again.status_code, "typed</textarea>" in again.text) == (403, True)
    fresh = hidden(again.text) | ranks(a=1, b=2) | {"note": "typed"}
    assert browser.post("/label/next", data=fresh).status_code == 200
    assert [said.body["note"] for said in work.said()] == ["typed"]


def test_operators_write_the_guidelines(
    gateway: Running, browser: httpx2.Client, work: LabelWork
) -> None:
    join(browser, work)
    assert "Helpful" in browser.get("/label/guidelines").text
    guidelines.write(gateway.redis, "# Ours\n\n*Be kind* <script>", tenant="default")
    shown = browser.get("/label/guidelines").text
    assert "<em>Be kind</em> &lt;script&gt;" in shown
    assert "Helpful" not in shown


def test_labelers_see_how_far_they_agree_once_that_says_something(
    gateway: Running, browser: httpx2.Client, work: LabelWork
) -> None:
    join(browser, work)
    shown = re.search("lab_[0-9a-z]+", "".join(map(str, gateway.redis.hkeys(keys.LABELERS))))
    assert shown is not None
    for num_units, is_shown in ((4, False), (30, True)):
        agreement = Share(value=0.75, low=0.61, high=0.86, num_units=num_units)
        figures = OwnFigures(made=1.0, num_judged=1_200, agreement=agreement, median_s=41.7)
        own_figures.write(gateway.redis, {shown[0]: figures}, through="1-1")
        page = browser.get("/label").text
        assert ("75 %" in page, "61 % to 86 %" in page) == (is_shown, is_shown)
        assert "1,200" in page


def test_scripts_and_styles_are_kept_by_browsers_until_they_change(browser: httpx2.Client) -> None:
    style = re.findall(r'href="(/label/static/[^"]+)"', browser.get("/label").text)[0]
    answer = browser.get(style)
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    old = browser.get("/label/static/old/work.js")
    assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")
    assert browser.get("/label/static/old/../pages.py").status_code == 404
