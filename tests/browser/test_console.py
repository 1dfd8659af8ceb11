"""The console's screens in a real Chromium: desk, phone, dark; axe finds nothing; live, and without scripts."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from feedback import keys
from feedback.quality import kept, report
from moderation.versions import Versions
from serving.bench import invented_moderation, invented_rounds
from serving.bench.invented_rounds import Invented
from serving.canary.store import Canaries
from serving.registry import Registry
from tests.browser.conftest import NewPage
from tests.feedback.quality.test_report import NOW, crowd, labeler
from tests.serving.conftest import Running
from tests.serving.test_admin import promote, publish, served_by

# A page looks again every three seconds; on a busy machine an answer takes its time.
expect.set_options(timeout=30_000)
# Pictures of what an operator sees are kept where this names a folder.
SHOTS = os.environ.get("HONE_BROWSER_SHOTS")
PHONE = {"width": 390, "height": 844}
MODES = [
    pytest.param("desk", {}, id="desk"),
    pytest.param("phone", {"viewport": PHONE}, id="phone", marks=pytest.mark.slow),
    pytest.param("dark", {"color_scheme": "dark"}, id="dark", marks=pytest.mark.slow),
    pytest.param("dark-phone", {"viewport": PHONE, "color_scheme": "dark"}, id="dark-phone"),
]


@pytest.fixture
def made(gateway: Running, tmp_path: Path) -> Invented:
    """A system that has worked for a while, with a canary under way."""
    client, rng = gateway.redis, random.Random(0)
    invented_moderation.write(client, tmp_path, num_versions=6)
    found = invented_rounds.write(client, tmp_path, num_versions=30)
    rows, people = crowd(lab_lazy0=labeler("lab_lazy0", status="screening"))
    kept.write(client, report.report(rows, people, now=NOW).as_json())
    for ago in range(24):
        client.set(keys.judged_in(time.time() - 3600 * ago), rng.randrange(90))
    registry = Registry(client)
    Canaries(client).begin(
        registry.get(found.versions[-2]),
        live=registry.snapshot(),
        share=0.1,
        actor="key_op",
        reason="better in the gate",
    )
    gateway.run(gateway.app.state.gateway.refresher.refresh())
    return found


def opened(gateway: Running, new_page: NewPage, path: str = "", **options: Any) -> Page:
    page = new_page(f"{gateway.url}/console{path}", **options)
    page.get_by_label("API key of scope admin or view").fill(gateway.admin_secret)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("navigation", name="Screens").wait_for()
    return page


def paths(made: Invented) -> dict[str, str]:
    names = ("policies", "canary", "moderation", "rewards", "labeling", "runs", "engines", "audit")
    return {
        "overview": "",
        **{name: f"/{name}" for name in names},
        "settings": "/settings",
        "classifier": "/moderation/moderation-0005",
        "policy": f"/policies/{made.versions[-1]}",
        "lineage": "/lineage?of=production",
        "run": f"/runs/{made.active}",
        "refused": f"/runs/{made.refused}",
        "failed": "/runs/round-0008",  # of moderation
    }


def is_clean(page: Page, name: str, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    found = Axe().run(page)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"


@pytest.mark.parametrize(("mode", "options"), MODES)
def test_every_screen_fits_and_axe_finds_nothing(
    gateway: Running, made: Invented, new_page: NewPage, mode: str, options: dict[str, Any]
) -> None:
    page = opened(gateway, new_page, **options)
    width = options.get("viewport", {"width": 1280})["width"]
    for name, path in paths(made).items():
        page.goto(f"{gateway.url}/console{path}")
        page.get_by_role("heading", level=1).wait_for()
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"console-{name}-{mode}.png", full_page=True)
        is_clean(page, name, width)
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("API key of scope admin or view").wait_for()


def test_forms_that_are_open_are_clean_as_well(
    gateway: Running, made: Invented, new_page: NewPage
) -> None:
    page = opened(gateway, new_page, viewport=PHONE)
    rounds = (f"/runs/{made.active}", f"/runs/{made.refused}", "/runs/round-0008")
    classifiers = ("/moderation", "/moderation/moderation-0005")
    for path in ("", "/canary", "/runs", *rounds, "/policies/policy-0003", *classifiers):
        page.goto(f"{gateway.url}/console{path}")
        for summary in page.locator("details.act > summary").all():
            summary.click()
        is_clean(page, path, PHONE["width"])


def test_two_clicks_and_a_reason_roll_back(gateway: Running, new_page: NewPage) -> None:
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    page = opened(gateway, new_page)
    page.get_by_text("Roll back …").click()
    page.get_by_label("Reason").first.fill("rude about cats")
    page.get_by_role("button", name="Roll back to policy-0000").click()
    expect(page.get_by_role("status").filter(has_text="Rolled back")).to_be_visible()
    assert served_by(gateway) == "policy-0000"


def test_two_clicks_and_a_reason_roll_moderation_back_and_the_page_follows(
    gateway: Running, new_page: NewPage, tmp_path: Path
) -> None:
    invented_moderation.write(gateway.redis, tmp_path, num_versions=2)
    page = opened(gateway, new_page, "/moderation")
    page.goto(f"{gateway.url}/console/moderation")
    page.get_by_text("Roll back …").click()
    page.get_by_label("Reason").first.fill("flags tea")
    page.get_by_role("button", name="Roll back to moderation-0001").click()
    expect(page.get_by_role("status").filter(has_text="takes it up")).to_be_visible()
    versions = Versions(gateway.redis)
    assert versions.live().production == "moderation-0001"
    versions.promote("moderation-0002", by="round-0009")  # somebody else does
    serving = page.get_by_role("region", name="Serving")
    expect(serving.locator(".large")).to_contain_text("moderation-0002")
    expect(page.locator("#said")).to_have_text("moderation-0002 judges")


def test_a_refused_round_is_overridden_without_scripts(
    gateway: Running, made: Invented, new_page: NewPage
) -> None:
    gateway.redis.delete(keys.ROUND_ACTIVE)
    page = opened(gateway, new_page, java_script_enabled=False)
    page.goto(f"{gateway.url}/console/runs/{made.refused}")
    page.get_by_text("Override the gate …").click()
    page.locator("#why-override").fill("the labels were wrong")
    page.get_by_role("button", name=f"Publish {made.refused} all the same").click()
    expect(page.get_by_role("status").filter(has_text="The gate is overridden")).to_be_visible()
    assert gateway.redis.hget(keys.round_state(made.refused), "status") == b"running"


def test_it_works_without_scripts(gateway: Running, made: Invented, new_page: NewPage) -> None:
    page = opened(gateway, new_page, java_script_enabled=False)
    page.get_by_text("Pause learning …").click()
    page.locator("#why-pause").fill("odd labels")
    page.get_by_role("button", name="Pause learning").click()
    expect(page.get_by_text("odd labels")).to_be_visible()
    assert gateway.redis.exists(keys.LEARNING_PAUSED)
    page.get_by_role("link", name="Policies", exact=True).click()
    expect(page.get_by_role("table", name="Versions, newest first")).to_be_visible()
    expect(page.get_by_role("button", name="Live")).to_be_hidden()


def test_a_page_follows_what_happens_and_leaves_what_somebody_does(
    gateway: Running, new_page: NewPage
) -> None:
    publish(gateway, "policy-0001")
    promote(gateway, "policy-0001")
    publish(gateway, "policy-0002")
    page = opened(gateway, new_page)
    page.get_by_text("Roll back …").click()
    reason = page.get_by_label("Reason").first
    reason.fill("half a sent")
    promote(gateway, "policy-0002")
    serving = page.get_by_role("region", name="Serving")
    expect(serving.get_by_role("link", name="policy-0002")).to_be_visible()
    # A screen reader is told of it once; what was typed, and what it is about, stay.
    expect(page.locator("#said")).to_have_text("policy-0002 serves")
    expect(reason).to_have_value("half a sent")
    expect(reason).to_be_focused()
    page.get_by_role("button", name="Roll back to policy-0000").click()
    expect(page.get_by_role("alert")).to_contain_text("policy-0002 is in production by now")
    assert served_by(gateway) == "policy-0002"


def test_it_can_be_paused(gateway: Running, new_page: NewPage) -> None:
    publish(gateway, "policy-0001")
    page = opened(gateway, new_page)
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")
    promote(gateway, "policy-0001")
    page.wait_for_timeout(4_000)
    serving = page.get_by_role("region", name="Serving")
    expect(serving.get_by_role("link", name="policy-0001")).to_have_count(0)
    page.get_by_role("button", name="Paused").click()
    expect(serving.get_by_role("link", name="policy-0001")).to_be_visible()


def test_a_gateway_that_is_away_is_said(gateway: Running, new_page: NewPage) -> None:
    page = opened(gateway, new_page)
    page.route("**/console", lambda route: route.abort())
    expect(page.get_by_text("The gateway does not answer")).to_be_visible()
    page.unroute("**/console")
    expect(page.get_by_text("The gateway does not answer")).to_be_hidden()
