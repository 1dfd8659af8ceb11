"""A labeler's day in real Chromium: the test, work by keyboard, by touch, without scripts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.conftest import NewPage
from tests.label_work import LabelWork
from tests.serving.conftest import Running

PASSWORD = "correct horse battery"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
WORSE_TO_BETTER = ["awful", "poor", "good", "best"]


@pytest.fixture
def work(redis_url: str) -> LabelWork:
    return LabelWork(redis_url)


def join(
    new_page: NewPage, gateway: Running, work: LabelWork, *, trusted: bool = True, **options: Any
) -> Any:
    """A labeler who has just joined, on their start page."""
    page = new_page(f"{gateway.url}/label/join/{work.invite(is_trusted=trusted)}", **options)
    page.fill("[name=name]", "Ann")
    page.fill("[name=password]", PASSWORD)
    page.click("text=Join")
    page.wait_for_url(re.compile("/label$"))
    return page


def letters_of(page: Any, texts: list[str]) -> dict[str, str]:
    """Text of an answer -> its letter on this screen."""
    shown = {
        card.inner_text().strip(): card.evaluate("it => it.closest('.card').dataset.letter")
        for card in page.query_selector_all(".card .md")
    }
    return {text: shown[text] for text in texts}


def press_in_order(page: Any, keys_by_letter: dict[str, str]) -> None:
    """One key per card from the first on: each rank goes on to the next card without one."""
    for letter in sorted(keys_by_letter):
        page.keyboard.press(keys_by_letter[letter])


def submit(page: Any) -> None:
    with page.expect_navigation():
        page.keyboard.press("Control+Enter")


def test_a_new_labeler_passes_the_test_and_then_works(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    for number in range(6):
        work.know(f"test {number}", WORSE_TO_BETTER, [[3], [2], [1], [0]])
    page = join(new_page, gateway, work, trusted=False)
    assert "0 of 6 done" in page.inner_text("main")
    page.click("text=Start")
    for _ in range(6):
        letter_of = letters_of(page, WORSE_TO_BETTER)
        ranks = {letter_of[text]: str(4 - place) for place, text in enumerate(WORSE_TO_BETTER)}
        press_in_order(page, ranks)
        submit(page)
    assert "You are in" in page.inner_text("main")
    assert "100 % of the pairs" in page.inner_text("main")
    work.offer("a real one", WORSE_TO_BETTER)
    page.goto(f"{gateway.url}/label")
    page.click("text=Start to rank")
    assert "a real one" in page.inner_text(".prompt")


def test_who_does_not_pass_is_told_kindly_and_gets_no_work(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    for number in range(6):
        work.know(f"test {number}", WORSE_TO_BETTER, [[3], [2], [1], [0]])
    page = join(new_page, gateway, work, trusted=False)
    page.click("text=Start")
    for _ in range(6):
        letter_of = letters_of(page, WORSE_TO_BETTER)
        ranks = {letter_of[text]: str(place + 1) for place, text in enumerate(WORSE_TO_BETTER)}
        press_in_order(page, ranks)
        submit(page)
    assert "Thank you for trying" in page.inner_text("main")
    page.goto(f"{gateway.url}/label/next")
    assert page.url.endswith("/label")


def test_twenty_sets_by_keyboard_alone_with_ties(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    for number in range(20):
        work.offer(f"question {number:02}", ["one", "two", "three", "four"])
    page = join(new_page, gateway, work)
    page.goto(f"{gateway.url}/label/next")
    for _ in range(20):
        for key in ("2", "1", "=", "4", "Shift+6"):
            page.keyboard.press(key)
        submit(page)
    assert "Nothing waits" in page.inner_text("main")
    said = work.said()
    assert len(said) == 20
    assert {str(event.body["tiers"]) for event in said} == {str([["b", "c"], ["a"], ["d"]])}
    assert all(event.body["ratings"] == {"d": {"likert": 6, "flags": {}}} for event in said)
    assert {event.source for event in said} == {"labeler"}
    page.goto(f"{gateway.url}/label")
    assert "20" in page.inner_text(".figures")


def test_sets_by_touch_on_a_phone(new_page: NewPage, gateway: Running, work: LabelWork) -> None:
    for number in range(2):
        work.offer(f"question {number}", ["one", "two", "three"])
    page = join(new_page, gateway, work, **PHONE)
    page.tap("text=Start to rank")
    page.wait_for_selector("#work")
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for letter, rank in {"a": 2, "b": 1, "c": 1}.items():
            page.tap(f"label:has([name=rank-{letter}][value='{rank}'])")
        page.tap("#card-a .flags summary")
        page.tap("#card-a label:has([value=hallucination])")
        with page.expect_navigation():
            page.tap(".submit")
    said = work.said()
    assert [event.body["tiers"] for event in said] == [[["b", "c"], ["a"]]] * 2
    assert said[0].body["ratings"] == {"a": {"likert": None, "flags": {"hallucination": True}}}


def test_a_set_without_javascript(new_page: NewPage, gateway: Running, work: LabelWork) -> None:
    work.offer("first question", ["one", "two"], task="rank")
    work.offer("second question", ["one", "two"], task="rank")
    page = join(new_page, gateway, work, java_script_enabled=False)
    page.click("text=Start to rank")
    first = page.inner_text(".prompt")
    page.check("[name=rank-a][value='2']", force=True)
    page.check("[name=rank-b][value='1']", force=True)
    page.fill("[name=note]", "typed without scripts")
    page.click(".submit")
    assert page.inner_text(".prompt") != first
    page.click("#skip summary")
    page.click("text=Harmful to read")
    assert "Nothing waits" in page.inner_text("main")
    ranking, skip = work.said()
    assert ranking.body["tiers"] == [["b"], ["a"]]
    assert ranking.body["note"] == "typed without scripts"
    assert (skip.form, skip.body["reason"]) == ("skip", "harmful")


def test_compare_rate_and_write_by_keyboard(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    work.offer("compare these", ["one", "two"], task="compare")
    work.offer("rate this", ["one"], task="rate")
    page = join(new_page, gateway, work)
    page.goto(f"{gateway.url}/label/next?task=compare")
    page.keyboard.press("b")
    page.keyboard.press("b")
    submit(page)
    page.goto(f"{gateway.url}/label/next?task=rate")
    page.keyboard.press("5")
    submit(page)
    page.goto(f"{gateway.url}/label/next?task=demonstrate")
    if page.query_selector("[name=prompt]"):
        page.fill("[name=prompt]", "Write a haiku about rain.")
    page.fill("[name=completion]", "1 drop, then 2, then 3")  # digits are text here
    submit(page)
    comparison, rating, demonstration = work.said()
    assert comparison.body["preference"] == -3
    assert rating.body["likert"] == 5
    assert demonstration.body["completion"] == "1 drop, then 2, then 3"


def test_undo_brings_the_last_one_back_as_it_was(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    work.offer("a question", ["one", "two", "three"])
    page = join(new_page, gateway, work)
    page.goto(f"{gateway.url}/label/next")
    for key in ("3", "2", "1", "Shift+7"):
        page.keyboard.press(key)
    submit(page)
    page.goto(f"{gateway.url}/label")
    with page.expect_navigation():
        page.click("text=Undo my last judgement")
    assert "C  ›  B  ›  A" in page.text_content("#order")
    assert page.is_checked("[name=likert-c][value='7']")
    page.keyboard.press("k")
    page.keyboard.press("j")
    page.keyboard.press("2")
    submit(page)
    assert [event.form for event in work.said()] == ["ranking", "retraction", "ranking"]


def test_flags_guidelines_and_skipping_by_keyboard(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    work.offer("first question", ["one", "two"])
    work.offer("second question", ["one", "two"])
    page = join(new_page, gateway, work)
    page.goto(f"{gateway.url}/label/next")
    page.keyboard.press("j")
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("f")
    assert page.inner_text("#card-b .count") == "1"
    with page.context.expect_page() as opened:
        page.keyboard.press("g")
    assert opened.value.url.endswith("/label/guidelines")
    page.bring_to_front()
    page.keyboard.press("s")
    with page.expect_navigation():
        page.keyboard.press("4")
    assert "second question" in page.inner_text(".prompt")
    (said,) = work.said()
    assert (said.form, said.body["reason"]) == ("skip", "harmful")


def test_keys_are_explained_once_and_can_be_turned_off(
    new_page: NewPage, gateway: Running, work: LabelWork
) -> None:
    work.offer("a question", ["one", "two"])
    page = join(new_page, gateway, work)
    page.goto(f"{gateway.url}/label/next")
    assert page.is_visible("#legend")
    page.keyboard.press("?")
    page.reload()
    assert page.is_hidden("#legend")
    page.fill("[name=note]", "12?s")
    page.keyboard.press("1")
    assert page.query_selector("[name=rank-a]:checked") is None
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.uncheck("#keys-on")
    page.keyboard.press("1")
    assert page.query_selector("[name=rank-a]:checked") is None
    page.reload()
    page.keyboard.press("1")
    assert page.query_selector("[name=rank-a]:checked") is None
