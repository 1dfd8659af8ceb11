"""A real Chromium before a gateway on a port; skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.serving.conftest import engine, gateway, moderation, start_gateway

__all__ = ["engine", "gateway", "moderation", "start_gateway"]

NewPage = Callable[..., Page]


# Not the session's: Playwright's loop would then run under the asynchronous tests of other folders.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[NewPage]:
    """Opens pages, each with a browser profile of its own; options are the context's. At the end no page
    may have had an error, asked another server for anything, or tried what its policy forbids."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(url: str, **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("console", lambda line: _note(complaints, line.type, line.text))
        page.on("request", lambda request: _note_request(complaints, url, request.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _note(complaints: list[str], kind: str, text: str) -> None:
    # A status of 400 and up is an error of the console; the tests of such answers look at the page.
    if kind in ("error", "warning") and "Failed to load resource" not in text:
        complaints.append(f"{kind}: {text}")


def _note_request(complaints: list[str], ours: str, asked: str) -> None:
    if urlsplit(asked).scheme != "data" and urlsplit(asked).netloc != urlsplit(ours).netloc:
        complaints.append(f"request: {asked}")
