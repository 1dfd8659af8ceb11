"""What forms of the console change that tests of its screens do not: rounds that ended badly."""

from __future__ import annotations

import json

import httpx2

from feedback import keys
from serving.bench.invented_rounds import Invented
from tests.serving.conftest import Running
from tests.serving.console.test_screens import audits, form, made, page

__all__ = ["made", "page"]


def test_a_refused_round_is_overridden_for_a_reason(
    gateway: Running, page: httpx2.Client, made: Invented
) -> None:
    path = f"/console/runs/{made.refused}"
    text = page.get(path).text
    assert "Checks of the gate" in text  # who overrides sees what
    fields = form(text, f"{path}/override")
    busy = page.post(f"{path}/override", data={**fields, "reason": "urgent"})
    assert busy.status_code == 409
    assert f"{made.active} is under way" in busy.text
    gateway.redis.delete(keys.ROUND_ACTIVE)
    assert page.post(f"{path}/override", data=fields).status_code == 422  # why?
    done = page.post(f"{path}/override", data={**fields, "reason": "the labels were wrong"})
    assert "The gate is overridden" in done.text
    assert gateway.redis.get(keys.ROUND_ACTIVE) == made.refused.encode()
    said = json.loads(gateway.redis.hget(keys.round_state(made.refused), "override"))
    (audit,) = audits(gateway)
    assert (audit.action, audit.actor) == ("rounds.override", said["actor"])
    assert said["reason"] == "the labels were wrong"


def test_a_failed_round_goes_on_and_one_that_runs_offers_neither(
    gateway: Running, page: httpx2.Client, made: Invented
) -> None:
    text = page.get(f"/console/runs/{made.active}").text
    assert "/retry" not in text
    assert "/override" not in text
    gateway.redis.delete(keys.ROUND_ACTIVE)
    gateway.redis.hset(keys.round_state(made.active), "status", "failed")
    path = f"/console/runs/{made.active}"
    done = page.post(f"{path}/retry", data=form(page.get(path).text, f"{path}/retry"))
    assert "goes on where it was" in done.text
    assert gateway.redis.hget(keys.round_state(made.active), "status") == b"running"
    assert page.post(f"{path}/retry", data=form(done.text, f"{path}/cancel")).status_code == 409
