"""What a person does on the playground, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from playwright.sync_api import Locator, Page, expect

from feedback import eventlog
from feedback.events import Completion, Feedback
from tests.serving.conftest import Running

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Your message")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def ask(page: Page, text: str) -> None:
    box(page).fill(text)
    button(page, "Send").click()


def is_over(page: Page) -> None:
    """Wait until the last answer has ended, however it did."""
    expect(page.locator("article").last).to_have_attribute("aria-busy", "false")


def scroll_width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def completions(gateway: Running) -> list[Completion]:
    return [cast(Completion, event) for _, event in eventlog.read(gateway.redis, "completions")]


def judgements(gateway: Running) -> list[Feedback]:
    return [cast(Feedback, event) for _, event in eventlog.read(gateway.redis, "feedback")]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
