"""`hone keys …` and `hone policies …` against a real Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from feedback import eventlog
from feedback.connection import connect
from feedback.errors import BadRequest, NotFound, Unprocessable
from feedback.events import Audit
from serving import auth
from serving.cli import app
from serving.registry import PolicyRecord, Registry
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine


@pytest.fixture
def hone(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    return CliRunner()


def test_a_key_is_made_listed_without_its_secret_and_revoked(hone: CliRunner) -> None:
    made = json.loads(
        hone.invoke(app, ["keys", "create", "--name", "ann", "--scope", "label", "--json"]).stdout
    )
    listed = hone.invoke(app, ["keys", "list", "--json"]).stdout
    assert [key["id"] for key in json.loads(listed)] == [made["id"]]
    assert json.loads(listed)[0]["scopes"] == ["label"]
    assert made["key"] not in listed
    assert "ann" in hone.invoke(app, ["keys", "list"]).stdout
    assert "revoked" in hone.invoke(app, ["keys", "revoke", made["id"]]).stdout
    assert json.loads(hone.invoke(app, ["keys", "list", "--json"]).stdout) == []


def test_a_rotated_key_is_shown_once_more(hone: CliRunner) -> None:
    made = json.loads(hone.invoke(app, ["keys", "create", "--name", "x", "--json"]).stdout)
    rotated = hone.invoke(app, ["keys", "rotate", made["id"], "--grace", "0", "--json"])
    again = json.loads(rotated.stdout)
    assert again["id"] == made["id"]
    assert again["key"] != made["key"]


def test_a_key_s_moderation_is_set_shown_and_set_back(hone: CliRunner) -> None:
    made = json.loads(hone.invoke(app, ["keys", "create", "--name", "x", "--json"]).stdout)
    command = ["keys", "moderation", made["id"]]
    options = ["--prompt", "hate=flag", "--prompt", "all=allow", "--answer", "sexual=block"]
    shown = hone.invoke(app, [*command, *options]).stdout
    assert "hate: flag, all: allow" in shown
    wanted = {"prompt": {"hate": "flag", "all": "allow"}, "completion": {"sexual": "block"}}
    (listed,) = json.loads(hone.invoke(app, ["keys", "list", "--json"]).stdout)
    assert listed["moderation"] == wanted
    assert json.loads(hone.invoke(app, [*command, "--json"]).stdout)["moderation"] == {}
    with pytest.raises(Unprocessable, match="'hat' is no moderation category"):
        hone.invoke(app, [*command, "--prompt", "hat=flag"], catch_exceptions=False)
    with pytest.raises(Unprocessable, match="say allow, flag, block"):
        hone.invoke(app, [*command, "--prompt", "hate"], catch_exceptions=False)


def test_a_change_of_keys_on_the_command_line_is_in_the_log(
    hone: CliRunner, redis_url: str
) -> None:
    made = json.loads(hone.invoke(app, ["keys", "create", "--name", "x", "--json"]).stdout)
    hone.invoke(app, ["keys", "rotate", made["id"]])
    hone.invoke(app, ["keys", "revoke", made["id"]])
    with connect(redis_url) as client:
        audits = [cast(Audit, event) for _, event in eventlog.read(client, "audit")]
    assert [audit.action for audit in audits] == ["keys.create", "keys.rotate", "keys.revoke"]
    assert {audit.detail["id"] for audit in audits} == {made["id"]}
    assert all(audit.actor.startswith("cli:") for audit in audits)
    assert made["key"] not in str(audits)


def test_watching_says_what_answers_and_what_each_engine_has(
    gateway: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    ready = {"url": gateway.url, "admin_key": gateway.admin_secret}
    (tmp_path / "ready.json").write_text(json.dumps(ready))
    watch = ["policies", "watch", "--no-follow", "--data", str(tmp_path)]
    shown = CliRunner().invoke(app, watch).stdout
    assert "production policy-0000" in shown
    assert f"{engine.url}  policy-0000" in shown


def test_a_key_without_scope_may_infer_and_no_more(hone: CliRunner) -> None:
    made = json.loads(hone.invoke(app, ["keys", "create", "--name", "x", "--json"]).stdout)
    assert made["scopes"] == ["infer"]


def test_policies_are_listed_with_the_aliases_that_mean_them(
    hone: CliRunner, redis_url: str
) -> None:
    with connect(redis_url) as client:
        registry = Registry(client)
        for version in ("policy-0000", "policy-0001"):
            record = PolicyRecord(
                version=version, kind="adapter", path="p", digest="d" * 64, created=1.0
            )
            registry.add(record)
            registry.promote(record.version)
    listed = json.loads(hone.invoke(app, ["policies", "list", "--json"]).stdout)
    assert [policy["version"] for policy in listed["policies"]] == ["policy-0000", "policy-0001"]
    assert listed["aliases"] == {"production": "policy-0001", "previous": "policy-0000"}
    shown = json.loads(hone.invoke(app, ["policies", "show", "production", "--json"]).stdout)
    assert (shown["version"], shown["aliases"]) == ("policy-0001", ["production"])
    assert "policy-0001" in hone.invoke(app, ["policies", "list"]).stdout


def test_a_version_that_is_not_there_is_said_so(hone: CliRunner) -> None:
    result = hone.invoke(app, ["policies", "show", "policy-0009"])
    assert isinstance(result.exception, NotFound)
    assert "policy-0009" in result.exception.message


def test_a_promotion_is_asked_about_first(hone: CliRunner, tmp_path: Path) -> None:
    arguments = ["policies", "promote", "policy-0001", "--data", str(tmp_path)]
    assert hone.invoke(app, arguments, input="n\n").exit_code == 1
    confirmed = hone.invoke(app, arguments, input="y\n")
    assert isinstance(confirmed.exception, NotFound)  # no stack runs on this folder


def test_the_playground_is_closed_by_revoking_its_key_and_opened_again(
    hone: CliRunner, redis_url: str
) -> None:
    opened = json.loads(hone.invoke(app, ["keys", "playground", "--json"]).stdout)
    again = json.loads(hone.invoke(app, ["keys", "playground", "--json"]).stdout)
    assert again == opened
    assert "playground" in hone.invoke(app, ["keys", "list"]).stdout
    with connect(redis_url) as client:
        with pytest.raises(BadRequest):
            auth.rotate_key(client, opened["id"], grace_s=0)  # its secret would be everybody's
        hone.invoke(app, ["keys", "revoke", opened["id"]])
        assert auth.playground_key(client) is None
    reopened = json.loads(hone.invoke(app, ["keys", "playground", "--json"]).stdout)
    assert reopened["id"] != opened["id"]
