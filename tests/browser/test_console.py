"""The console's labeling page in a real Chromium: desk, phone, dark; axe finds nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from feedback.quality import kept, report
from tests.browser.conftest import NewPage
from tests.feedback.quality.test_report import NOW, crowd, labeler
from tests.serving.conftest import Running

# Pictures of what an operator sees are kept where this names a folder.
SHOTS = os.environ.get("HONE_BROWSER_SHOTS")


def opened(gateway: Running, new_page: NewPage, **options: Any) -> Page:
    rows, people = crowd(lab_lazy0=labeler("lab_lazy0", status="screening"))
    kept.write(gateway.redis, report.report(rows, people, now=NOW).as_json())
    page = new_page(f"{gateway.url}/console/labeling", **options)
    page.get_by_label("API key of scope admin or view").fill(gateway.admin_secret)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Labeling").wait_for()
    return page


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desk", {}),
        ("phone", {"viewport": {"width": 390, "height": 844}}),
        ("dark", {"color_scheme": "dark"}),
        ("dark-phone", {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}),
    ],
)
def test_the_labeling_page_fits_and_axe_finds_nothing(
    gateway: Running, new_page: NewPage, name: str, options: dict[str, Any]
) -> None:
    page = opened(gateway, new_page, **options)
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"console-{name}.png", full_page=True)
    width = options.get("viewport", {"width": 1280})["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.locator("svg circle").count() >= 4
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("API key of scope admin or view").wait_for()
