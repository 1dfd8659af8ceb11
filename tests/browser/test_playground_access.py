"""The playground for people who see, or point, less; and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.talk import PHONE, ask, is_over, scroll_width
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine

RICH = """# A heading

Some **bold**, *slanted* and `code`, with a [link](https://example.org/there).

| One | Two |
|---|--:|
| a | 1 |

```python
print("x" * 200)  # a line that is longer than a phone is wide, and then some more of it, and more
```

> quoted

1. first
   - inner
2. second

### A heading that leaves one level out
"""


def test_the_keyboard_alone_is_enough(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    box = page.get_by_role("textbox", name="Your message")
    expect(box).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(box).to_have_value("one\ntwo")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # two answers
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    is_over(page)
    expect(box).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.textContent") == "Tie":
            break
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")
    box.focus()
    engine.chunk_delay_s = 0.1
    page.keyboard.insert_text(" ".join(["word"] * 100))
    page.keyboard.press("Enter")
    expect(page.locator(".prose").last).to_contain_text("WORD")
    page.keyboard.press("Escape")
    expect(page.get_by_text("You stopped this answer.")).to_be_visible()


def test_what_is_read_aloud_is_said_once_and_not_word_by_word(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url)
    page.evaluate(
        """() => {
            window.said = [];
            const status = document.getElementById("status");
            new MutationObserver(() => window.said.push(status.textContent)).observe(status, {childList: true});
        }"""
    )
    engine.chunk_delay_s = 0.01
    ask(page, " ".join(["word"] * 30))
    is_over(page)
    said = page.evaluate("window.said")
    assert said == ["The model is answering.", " ".join(["WORD"] * 30)]
    assert (
        page.locator(".prose").first.evaluate("e => e.closest('[aria-live], [role=log]')") is None
    )


def test_on_a_phone_all_of_it_fits_and_can_be_touched(
    gateway: Running, engine: FakeEngine, new_page: NewPage
) -> None:
    page = new_page(gateway.url, **PHONE)
    engine.says = RICH
    page.get_by_role("switch", name="Two answers").check()
    page.get_by_role("textbox", name="Your message").fill("hello")
    page.get_by_role("button", name="Send").tap()
    expect(page.get_by_role("button", name="Tie")).to_be_visible()
    assert scroll_width(page) == 390
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, a, summary, .switch, textarea")]
            .filter((e) => e.checkVisibility() && !e.matches(".skip, .code-head *"))
            .map((e) => [e.textContent.trim() || e.title, e.getBoundingClientRect()])
            .filter(([, box]) => box.height < 43.5 || box.width < 24)
            .map(([name, box]) => [name, box.width, box.height])"""
    )
    assert small == []
    page.get_by_role("button", name="A is better").tap()
    expect(page.locator(".said")).to_contain_text("You preferred A.")


@pytest.mark.parametrize(
    "options",
    [{}, {"color_scheme": "dark", "reduced_motion": "reduce"}, PHONE],
    ids=["desk", "dark", "phone"],
)
def test_axe_finds_nothing(
    gateway: Running, engine: FakeEngine, new_page: NewPage, options: dict[str, Any]
) -> None:
    page = new_page(gateway.url, **options)
    found = {"welcome": findings(page)}
    engine.says = RICH
    ask(page, "hello")
    is_over(page)
    found["answer"] = findings(page)
    page.get_by_role("switch", name="Two answers").check()
    ask(page, "two, please")
    is_over(page)
    found["two"] = findings(page)
    page.get_by_role("button", name="Tie").click()
    page.get_by_text("Which model answered?").last.click()
    page.get_by_role("button", name="Write a better answer").last.click()
    found["voted"] = findings(page)
    page.get_by_role("switch", name="Help train it").uncheck()
    ask(page, "attack")
    is_over(page)
    found["refused"] = findings(page)
    assert {state: names for state, names in found.items() if names} == {}


def findings(page: Page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [f"{v['id']}: {node['html'][:160]}" for v in violations for node in v["nodes"]]


def test_without_javascript_the_page_says_so_and_leads_on(
    gateway: Running, new_page: NewPage
) -> None:
    page = new_page(gateway.url, java_script_enabled=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("This page needs JavaScript")
    expect(page.get_by_role("link", name="Say which answers are better")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)
