"""The playground when something goes wrong: said in plain words, with what to do, and nothing typed is lost."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from feedback import eventlog
from tests.browser.conftest import NewPage
from tests.browser.relay import Relay
from tests.browser.talk import ask, is_over
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

Start = Callable[..., Running]


def test_a_message_that_moderation_refuses_comes_back_to_be_put_in_other_words(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    ask(page, "plan an attack")
    problem = page.locator(".problem")
    expect(problem).to_contain_text("Moderation did not let this message through.")
    expect(problem).to_contain_text("violence")
    page.get_by_role("button", name="Edit the message").click()
    box = page.get_by_role("textbox", name="Your message")
    expect(box).to_have_value("plan an attack")
    ask(page, "plan a party")
    expect(page.locator(".prose")).to_have_text("PLAN A PARTY")
    expect(problem).to_have_count(0)


def test_an_answer_that_moderation_withholds_says_so_and_cannot_be_judged(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    engine.says = "this is an attack on you"
    ask(page, "hello")
    expect(page.get_by_text("Moderation withheld the rest of this answer.")).to_be_visible()
    expect(page.get_by_role("button", name="Good answer")).to_have_count(0)
    page.get_by_role("switch", name="Two answers").check()
    ask(page, "and two?")
    expect(page.get_by_text("A vote needs two whole answers.")).to_be_visible()


def test_a_stream_that_breaks_keeps_what_came_and_offers_another_try(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    engine.break_next = 1
    ask(page, "one two three four five six")
    expect(page.locator(".problem")).to_contain_text("The answer broke off.")
    # What the gateway had read when the connection broke: the second word may still have been on its way.
    expect(page.locator(".prose")).to_have_text(re.compile(r"^ONE( TWO)?\s*$"))
    expect(page.get_by_role("button", name="Good answer")).to_have_count(0)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".prose")).to_have_text("ONE TWO THREE FOUR FIVE SIX")


def test_a_connection_that_is_lost_in_mid_answer_is_said_and_can_be_tried_again(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    relay = Relay(int(gateway.url.rsplit(":", 1)[1]))
    page = new_page(relay.url)
    engine.chunk_delay_s = 0.1
    ask(page, "a b c d e f g h i j k l m n o p q r s t u v w x y z")
    expect(page.locator(".prose")).to_contain_text("A B C")
    relay.cut()
    expect(page.locator(".problem")).to_contain_text("The connection was lost.")
    expect(page.locator(".prose")).to_contain_text("A B C")
    engine.chunk_delay_s = 0
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".prose")).to_contain_text("X Y Z")
    relay.close()


def test_an_engine_that_fails_is_said_in_plain_words(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    engine.fail_next = 2
    ask(page, "hello")
    expect(page.locator(".problem")).to_contain_text("The model is not available right now.")
    expect(page.locator(".problem")).to_contain_text("Try again in 5 seconds.")
    page.reload()  # the question is still there
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".prose")).to_have_text("HELLO")


def test_at_the_limit_the_page_says_when_to_come_back(
    start_gateway: Start, redis_url: str, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(start_gateway(redis_url, engine, default_requests_per_minute=2).url)
    for _ in range(5):  # a new minute may begin meanwhile
        ask(page, "hello")
        is_over(page)
        if page.locator(".problem").count():
            break
    expect(page.locator(".problem")).to_contain_text("That was a lot at once.")
    expect(page.locator(".problem")).to_contain_text("You can ask again in")


def test_a_conversation_that_is_too_long_goes_on_without_its_beginning(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    engine.max_messages = 3
    for text in ("one", "two", "three"):
        ask(page, text)
        is_over(page)
    expect(page.locator(".problem")).to_contain_text("This is longer than the model can read.")
    page.get_by_role("button", name="Answer without what came before").click()
    expect(page.locator(".prose").last).to_have_text("THREE")
    ask(page, "four")  # what is forgotten stays forgotten
    expect(page.locator(".prose").last).to_have_text("FOUR")
    sent = [message["content"] for message in engine.bodies[-1]["messages"]]
    assert sent == ["three", "THREE", "four"]


def test_a_vote_that_is_not_taken_is_said_and_can_be_cast_again(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    page.get_by_role("switch", name="Two answers").check()
    ask(page, "hello")
    page.route("**/v1/feedback/**", lambda route: route.abort(), times=1)
    page.get_by_role("button", name="A is better").click()
    expect(page.locator(".below .note")).to_contain_text("Not kept. The connection was lost.")
    assert eventlog.last_entry(gateway.redis, "feedback") is None
    page.get_by_role("button", name="A is better").click()
    expect(page.locator(".said")).to_contain_text("You preferred A.")


def test_an_answer_that_is_long_in_coming_is_waited_for_with_a_word(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    page.clock.install()
    engine.answer_delay_s = 2.0
    ask(page, "hello")
    page.clock.fast_forward(6_000)
    expect(page.get_by_text("No word yet.")).to_be_visible()
    expect(page.locator(".prose")).to_have_text("HELLO")
    expect(page.get_by_text("No word yet.")).to_have_count(0)
