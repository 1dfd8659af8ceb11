"""Versions of moderation's classifier in the console."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2

from feedback import keys
from moderation.versions import Versions
from serving.bench import invented_moderation
from tests.serving.conftest import Running
from tests.serving.console.test_screens import audits, form, page

__all__ = ["page"]


def test_moderation_shows_its_versions_and_goes_back_and_forth(
    gateway: Running, page: httpx2.Client, tmp_path: Path
) -> None:
    assert "Nothing but what came with hone" in page.get("/console/moderation").text
    made = invented_moderation.write(gateway.redis, tmp_path, num_versions=3)
    new, old = made.versions[-1], made.versions[-2]
    text = page.get("/console/moderation").text
    assert "63 <small>new corrections" in text
    back = {**form(text, "/console/moderation/rollback"), "reason": "flags tea"}
    done = page.post("/console/moderation/rollback", data=back)
    assert "takes it up within a second" in done.text
    assert "flags tea" in done.text
    assert Versions(gateway.redis).live().production == old
    again = page.post("/console/moderation/rollback", data=back)  # the same form once more
    assert (again.status_code, f"{old} serves by now" in again.text) == (409, True)
    path = f"/console/moderation/{new}"
    shown = page.get(path).text
    assert "Heldout loss change" in shown
    assert "harassment" in shown
    fields = form(shown, f"{path}/promote")
    assert page.post(f"{path}/promote", data=fields).status_code == 422  # why?
    assert page.post(f"{path}/promote", data={**fields, "reason": "tea it was"}).status_code == 200
    assert Versions(gateway.redis).live().production == new
    assert page.get("/console/moderation/moderation-0099").status_code == 404
    assert [one.action for one in audits(gateway)] == ["moderation.rollback", "moderation.promote"]


def test_a_round_of_moderation_is_asked_for_where_its_versions_are(
    gateway: Running, page: httpx2.Client
) -> None:
    text = page.get("/console/moderation").text
    asked = page.post("/console/runs", data=form(text, "/console/runs"))
    assert "a round of moderation" in asked.text
    request = json.loads(gateway.redis.get(keys.ROUND_REQUESTED) or b"")
    assert (request["kind"], request["by"]) == ("moderation", audits(gateway)[0].actor)
