"""A simulated labeler who joins by an invitation and ranks at /label, with the forms that a browser would send."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import aiohttp

from training.demo_people import Failed

Order = Callable[[list[str]], list[int]]  # answers -> their positions, best first

_PASSWORD = "a simulated labeler's"  # of a stack that ends with the experiment
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


class Labeler:
    """One person with a browser of their own."""

    def __init__(self, *, url: str, name: str, order: Order) -> None:
        self.name = name
        self._order = order
        self._session = aiohttp.ClientSession(
            base_url=url,
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # an address, not a name
        )

    async def join(self, token: str) -> None:
        """By an invitation's token. Raises Failed."""
        await self._send(f"/label/join/{token}", {"name": self.name, "password": _PASSWORD})

    async def rank(self, *, limit: int, on_ranking: Callable[[], None] = lambda: None) -> int:
        """What waits, until nothing does or `limit` is reached. Returns how many sets were ranked."""
        async with self._session.get("/label/next") as response:
            page = await response.text()
        done = 0
        while done < limit and (form := _form_of(page)) is not None:
            answers = answers_of(page)
            letters = list(answers)
            order = self._order(list(answers.values()))
            ranks = {f"rank-{letters[i]}": str(rank) for rank, i in enumerate(order, start=1)}
            page = await self._send("/label/next", form | ranks)
            done += 1
            on_ranking()
        return done

    async def leave(self) -> None:
        await self._session.close()

    async def _send(self, path: str, form: dict[str, str]) -> str:
        """The page that follows."""
        async with self._session.post(path, data=form) as response:
            page = await response.text()
            if response.status >= 400:
                raise Failed(response.status, f"{path} {page[-500:]}")
            return page


def answers_of(page: str) -> dict[str, str]:
    """Letter on the screen -> the answer, as it was written."""
    reader = _Answers()
    reader.feed(page)
    reader.close()
    return {letter: "".join(parts) for letter, parts in reader.parts.items()}


def _form_of(page: str) -> dict[str, str] | None:
    """Hidden fields of the form of a set, or None where there is nothing to do."""
    _, found, rest = page.partition('id="work"')
    return dict(_HIDDEN.findall(rest.partition("</form>")[0])) if found else None


class _Answers(HTMLParser):
    """What the switch "Raw text" shows of each card."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, list[str]] = {}
        self._letter = ""  # of the card that is read
        self._is_raw = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        fields = dict(attrs)
        if tag == "section" and "data-letter" in fields:
            self._letter = fields["data-letter"]
            self.parts[self._letter] = []
        self._is_raw |= bool(self._letter) and fields.get("class") == "raw"

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._letter = ""
        self._is_raw &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._is_raw:
            self.parts[self._letter].append(data)
