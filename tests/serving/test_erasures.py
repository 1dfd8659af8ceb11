"""An end user erased by an operator: over HTTP, and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import httpx2
import orjson
import pytest
from typer.testing import CliRunner

from feedback import eventlog, keys
from feedback.connection import connect
from feedback.erasure.people import Erased
from feedback.events import Audit
from serving import erasures
from serving.cli import app
from serving.registry import PolicyRecord, Registry
from tests.feedback.archive.logs import completion, fill, judgement
from tests.feedback.test_stored import everything
from tests.serving.conftest import Running

CANARY = "the-canary-sings-at-noon"


def ask(gateway: Running, user: str, *, key: str) -> str:
    client = gateway.openai()
    answer = client.chat.completions.create(
        model="policy",
        messages=[{"role": "user", "content": f"{CANARY} says {user}"}],
        user=user,
        extra_headers={"idempotency-key": key},
    )
    return answer.id


def operator(gateway: Running, method: str, path: str, **options: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {gateway.admin_secret}"}
    return httpx2.request(method, gateway.url + path, headers=headers, **options)


@pytest.fixture
def environment(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """Of the worker that carries erasures out."""
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_FEEDBACK_ARCHIVE_URL", str(tmp_path / "archive"))
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HONE_SERVING_ENGINE_TOKEN", "t" * 16)
    return monkeypatch


def test_an_operator_erases_a_user_and_sees_what_came_of_it(
    gateway: Running, environment: pytest.MonkeyPatch
) -> None:
    gone, stays = ask(gateway, "eve", key="one"), ask(gateway, "bob", key="two")
    assert f"{CANARY} says eve" in everything(gateway.redis)
    asked = operator(gateway, "DELETE", "/admin/users/eve")
    assert asked.status_code == 202
    assert asked.json()["status"] == "queued"
    where = f"/admin/erasures/{asked.json()['id']}"
    assert operator(gateway, "GET", where).json()["report"] == {}
    assert erasures.main() == 0
    done = operator(gateway, "GET", where).json()
    assert (done["status"], done["error"]) == ("done", None)
    assert done["report"]["completions"] == 1
    assert done["report"]["kept_answers"] == 1
    assert "eve" not in str(done)
    assert eventlog.get(gateway.redis, "completions", gone) is None
    assert eventlog.get(gateway.redis, "completions", stays) is not None
    assert f"{CANARY} says bob" in everything(gateway.redis)
    assert f"{CANARY} says eve" not in everything(gateway.redis)
    assert not gateway.redis.exists(keys.ERASURES_QUEUED)
    audits = [cast(Audit, event) for _, event in eventlog.read(gateway.redis, "audit")]
    actions = [audit for audit in audits if audit.action.startswith("erase")]
    assert [audit.action for audit in actions] == ["erase.ask", "erase.user"]
    assert "eve" not in str(actions)
    assert CANARY not in str(actions)
    again = ask(gateway, "eve", key="one")  # a new answer, not the one that was kept
    assert again != gone


def test_only_an_operator_may_erase_and_what_nobody_asked_for_is_not_found(
    gateway: Running,
) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}"}
    for path in ("/admin/users/eve", "/admin/tenants/default"):
        assert httpx2.delete(gateway.url + path, headers=headers).status_code == 403
    assert operator(gateway, "GET", "/admin/erasures/era_none").status_code == 404


def test_an_erasure_that_fails_is_said_so_and_tried_again(
    gateway: Running, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ask(gateway, "eve", key="one")
    where = operator(gateway, "DELETE", "/admin/users/eve").json()["id"]
    (tmp_path / "archive").write_text("not a folder")
    assert erasures.main() == 1
    tried = operator(gateway, "GET", f"/admin/erasures/{where}").json()
    assert (tried["status"], tried["attempts"]) == ("queued", 1)
    assert tried["error"]
    (tmp_path / "archive").unlink()
    assert erasures.main() == 0
    assert operator(gateway, "GET", f"/admin/erasures/{where}").json()["status"] == "done"


def version(name: str, **about: Any) -> PolicyRecord:
    return PolicyRecord(version=name, kind="adapter", path="p", digest="d", created=1.0, **about)


def test_the_command_says_which_snapshots_and_versions_were_made_with_what_is_erased(
    redis_url: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    about = completion(CANARY, end_user="eve")
    bare = judgement(about, form="ranking", body={"tiers": [["a"], ["b"]]})
    with connect(redis_url) as client:
        fill(client, about, bare, completion(end_user="bob"))
        registry = Registry(client)
        registry.add(version("policy-0001", round_id="round-0001"))
        registry.add(version("policy-0002", round_id="round-0002", parent="policy-0001"))
        registry.add(version("policy-0003", round_id="round-0003"))
    for name, row in (("round-0001", bare.id), ("round-0002", "fbk_x"), ("round-0003", "fbk_y")):
        folder = tmp_path / "rounds" / name / "snapshot"
        folder.mkdir(parents=True)
        (folder / "rankings.jsonl").write_bytes(orjson.dumps({"id": row}) + b"\n")
    hone = CliRunner()
    command = ["erase", "--user", "eve", "--tenant", "t", "--data", str(tmp_path)]
    assert hone.invoke(app, command, input="n\n").exit_code == 1
    assert hone.invoke(app, [*command, "--everybody", "--yes"]).exit_code == 2
    assert hone.invoke(app, ["erase", "--yes"]).exit_code == 2
    done = hone.invoke(app, [*command, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["report"]
    assert report["snapshots"] == ["rounds/round-0001/snapshot"]
    assert report["trained_versions"] == ["policy-0001"]
    assert report["later_versions"] == ["policy-0002"]
    assert report["judgements"] == 0  # a ranking without words stays, of answers that are gone
    shown = hone.invoke(app, [*command, "--yes"]).stdout
    assert "1 completions" not in shown  # the second time nothing is left
    assert "aof: rewritten" in shown


def test_nothing_found_is_nothing_listed(tmp_path: Path) -> None:
    found = erasures.traces(Erased(person="p"), data_dir=tmp_path, versions={})
    assert set(map(str, found.values())) == {"[]"}
