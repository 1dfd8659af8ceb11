"""The playground in a real Chromium: a new user's first minutes, and what the page promises."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from feedback import eventlog
from serving import auth
from tests.browser.conftest import NewPage
from tests.browser.talk import ask, box, button, completions, judgements, wait_for
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

Start = Callable[..., Running]


def test_a_new_users_first_five_minutes_end_in_a_vote_in_the_log(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    # 1. The page says what it is; one click asks something.
    expect(page.get_by_role("heading", level=1)).to_have_text("Ask it. Then say how it did.")
    page.get_by_role("button", name="Why is the sky blue?").click()
    expect(page.locator(".prose")).to_have_text("WHY IS THE SKY BLUE? TELL A CHILD.")
    # 2. A thumb.
    button(page, "Good answer").click()
    expect(button(page, "Good answer")).to_have_attribute("aria-pressed", "true")
    # 3. Two answers; nobody says who wrote them.
    page.get_by_role("switch", name="Two answers, side by side").check()
    ask(page, "and at sunset?")
    expect(button(page, "B is better")).to_be_visible()
    pair = page.locator("article").last
    expect(pair.locator(".prose")).to_have_text(["AND AT SUNSET?", "AND AT SUNSET?"])
    assert "policy-0000" not in pair.inner_html()
    expect(pair.get_by_text("Which model answered?")).to_have_count(0)
    # 4. The vote; then the version.
    button(page, "B is better").click()
    expect(pair.locator(".said")).to_contain_text(
        "You preferred B. Both were written by policy-0000"
    )
    expect(pair.locator(".said")).to_be_focused()
    pair.get_by_text("Which model answered?").click()
    expect(pair.locator("dd").first).to_have_text("policy-0000")
    expect(pair.locator("dl")).to_contain_text("b" * 64)
    # 5. All of it is in the log, as one person's.
    first, second = completions(gateway)
    thumb, vote = judgements(gateway)
    assert (thumb.form, thumb.body["thumb"]) == ("rating", "up")
    assert (vote.form, vote.completion_ids) == ("comparison", [second.id])
    assert vote.body["preference"] < 0
    assert vote.body["b"]["index"] != vote.body["a"]["index"]
    assert not vote.body["both_bad"]
    assert vote.body["duration_ms"] > 0
    assert (vote.labeler, vote.source) == (second.end_user, "end_user")
    assert first.end_user == second.end_user == thumb.labeler
    # 6. The conversation that the model saw goes on with what came before.
    contents = [message["content"] for message in second.request["messages"]]
    assert contents[1:] == ["WHY IS THE SKY BLUE? TELL A CHILD.", "and at sunset?"]


@pytest.mark.parametrize(
    ("name", "preference", "both_bad"), [("Tie", 0, False), ("Both are bad", 0, True)]
)
def test_a_tie_is_not_both_bad(
    gateway: Running, new_page: NewPage, name: str, preference: int, both_bad: bool
) -> None:
    page = new_page(gateway.url)
    page.get_by_role("switch", name="Two answers").check()
    ask(page, "hello")
    button(page, name).click()
    expect(page.locator(".said")).to_contain_text("Your vote is kept")
    (vote,) = judgements(gateway)
    assert (vote.body["preference"], vote.body["both_bad"]) == (preference, both_bad)


def test_the_sides_are_shuffled_and_the_vote_is_for_the_answer_that_was_read(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    page.get_by_role("switch", name="Two answers").check()
    lefts = set()
    for turn in range(12):  # all on one side by chance: once in 2,000
        ask(page, f"question {turn}")
        button(page, "A is better").click()
        expect(page.locator(".said")).to_have_count(turn + 1)
        vote = judgements(gateway)[-1]
        assert vote.body["preference"] > 0
        lefts.add(vote.body["a"]["index"])
        if len(lefts) == 2:
            break
    assert lefts == {0, 1}


def test_with_training_off_nothing_is_stored_and_nothing_can_be_judged(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    page.get_by_role("switch", name="Help train it").uncheck()
    expect(page.locator("#notice")).to_contain_text("The server keeps nothing from now on")
    ask(page, "a secret")
    expect(page.locator(".prose")).to_have_text("A SECRET")
    expect(page.get_by_text("Not kept, so it cannot be judged.")).to_be_visible()
    expect(button(page, "Good answer")).to_have_count(0)
    expect(button(page, "Write a better answer")).to_have_count(0)
    page.get_by_role("switch", name="Two answers").check()
    ask(page, "another secret")
    expect(page.get_by_text("there is nothing to vote on")).to_be_visible()
    expect(button(page, "Tie")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("switch", name="Help train it")).not_to_be_checked()
    for kind in ("completions", "feedback"):
        assert eventlog.last_entry(gateway.redis, kind) is None
    assert b"secret" not in b"".join(
        gateway.redis.dump(name) or b"" for name in gateway.redis.scan_iter()
    )


def test_stop_keeps_what_came_and_stops_the_engine(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    engine.chunk_delay_s = 0.1
    page = new_page(gateway.url)
    ask(page, " ".join(f"word{i}" for i in range(300)))
    expect(page.locator(".prose")).to_contain_text("WORD3")
    button(page, "Stop").click()
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()
    wait_for(lambda: engine.num_cancelled == 1)
    assert page.locator(".prose").inner_text().startswith("WORD0 WORD1")
    expect(button(page, "Send")).to_be_visible()
    expect(button(page, "Good answer")).to_have_count(0)
    wait_for(lambda: [c.complete for c in completions(gateway)] == [False])


def test_asking_again_and_editing_replace_the_last_question_only(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    ask(page, "first")
    expect(page.locator(".prose")).to_have_text("FIRST")
    ask(page, "secnd")
    expect(page.locator(".prose").last).to_have_text("SECND")
    button(page, "Ask again").click()
    expect(button(page, "Ask again")).to_be_visible()
    expect(page.locator("article")).to_have_count(2)
    box(page).fill("a draft")
    button(page, "Edit").click()
    expect(box(page)).to_have_value("secnd")
    ask(page, "second")
    expect(page.locator(".prose")).to_have_text(["FIRST", "SECOND"])
    expect(box(page)).to_have_value("a draft")
    sent = [message["content"] for message in engine.bodies[-1]["messages"]]
    assert sent == ["first", "FIRST", "second"]


def test_a_better_answer_is_kept_with_the_one_it_is_better_than(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    ask(page, "hello")
    button(page, "Write a better answer").click()
    area = page.get_by_role("textbox", name="A better answer")
    expect(area).to_have_value("HELLO")
    expect(area).to_be_focused()
    area.fill("Hello! How can I help?")
    page.reload()  # what was typed is not lost
    expect(area).to_have_value("Hello! How can I help?")
    button(page, "Send it").click()
    expect(page.get_by_text("Your better answer is kept")).to_be_visible()
    (said,) = judgements(gateway)
    assert said.form == "demonstration"
    assert said.body["completion"] == "Hello! How can I help?"
    assert said.body["parent"] == completions(gateway)[0].id


def test_a_thumb_can_be_changed_and_taken_back(gateway: Running, new_page: NewPage) -> None:
    page = new_page(gateway.url)
    ask(page, "hello")
    for name, number in (("Good answer", 1), ("Bad answer", 2), ("Bad answer", 3)):
        button(page, name).click()
        wait_for(lambda number=number: len(judgements(gateway)) == number)  # type: ignore[misc]
        expect(page.get_by_role("status")).to_have_text(re.compile("kept|back"))
    expect(button(page, "Bad answer")).to_have_attribute("aria-pressed", "false")
    first, second, third = judgements(gateway)
    assert [first.body["thumb"], second.body["thumb"]] == ["up", "down"]
    assert second.replaces == first.id
    assert third.form == "retraction"
    assert third.body["of"] == second.id


def test_the_conversation_lasts_in_this_browser_until_it_is_cleared(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    ask(page, "hello")
    expect(page.locator(".prose")).to_have_text("HELLO")
    box(page).fill("half a thou")
    page.reload()
    expect(page.locator(".prose")).to_have_text("HELLO")
    expect(box(page)).to_have_value("half a thou")
    button(page, "New conversation").click()
    expect(page.locator("article")).to_have_count(0)
    expect(box(page)).to_have_value("half a thou")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("article")).to_have_count(0)


def test_where_a_key_is_asked_for_it_stays_in_the_tab(
    start_gateway: Start, redis_url: str, engine: FakeEngine, new_page: NewPage
) -> None:
    gateway = start_gateway(redis_url, engine, playground="key")
    page = new_page(gateway.url)
    ask(page, "hello")
    key = page.get_by_label("API key", exact=True)
    key.fill("sk-wrong")
    button(page, "Use this key").click()
    expect(page.locator("#door-reason")).to_contain_text("This API key is not accepted.")
    key.fill(gateway.secret)
    button(page, "Use this key").click()
    expect(page.locator(".prose")).to_have_text("HELLO")  # what was asked before is answered
    button(page, "Good answer").click()
    wait_for(lambda: len(judgements(gateway)) == 1)
    assert judgements(gateway)[0].source == "key"
    assert completions(gateway)[0].key_id == gateway.key.id
    assert gateway.secret not in str(page.evaluate("JSON.stringify(localStorage)"))
    assert gateway.secret in str(page.evaluate("JSON.stringify(sessionStorage)"))
    auth.revoke_key(gateway.redis, gateway.key.id)
    time.sleep(1)
    ask(page, "still there?")
    expect(key).to_be_visible()
    expect(page.locator(".asked").last).to_contain_text("still there?")


def test_a_visit_that_is_over_is_begun_again_without_a_word(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    spoil: Any = lambda route: route.continue_(  # noqa: E731
        headers={**route.request.headers, "authorization": "Bearer visit-old.1.2"}
    )
    page.route("**/v1/chat/completions", spoil, times=1)
    ask(page, "hello")
    expect(page.locator(".prose")).to_have_text("HELLO")
