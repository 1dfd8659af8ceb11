"""Lineage over HTTP and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
import redis
from typer.testing import CliRunner

from serving import auth
from serving.cli import app
from tests.feedback.archive.logs import completion, fill, judgement
from tests.serving.conftest import Running
from tests.serving.lineage.system import opened, publish


def test_an_operator_sees_all_and_a_viewer_their_tenant(gateway: Running, tmp_path: Path) -> None:
    about = completion(tenant="acme")
    liked = judgement(about, tenant="acme")
    fill(gateway.redis, about, liked)
    viewer, _ = auth.create_key(gateway.redis, name="v", scopes=("view",), tenant="acme")
    stranger, _ = auth.create_key(gateway.redis, name="s", scopes=("view",), tenant="other")

    def get(asked: str, key: str, query: str = "") -> httpx2.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.get(f"{gateway.url}/admin/lineage/{asked}{query}", headers=headers)

    for key in (gateway.admin_secret, viewer):
        found = get(liked.id, key).json()
        assert found["direction"] == "backward"
        answered = {"source": "version:policy-0000", "target": f"completion:{about.id}"}
        assert {**answered, "what": "answered"} in found["edges"]
        assert found["nodes"][0]["id"] == liked.id
    assert get(liked.id, stranger).status_code == 404
    assert get(liked.id, gateway.secret).status_code == 403
    assert get("nothing", viewer).status_code == 404
    assert get("production", stranger).json()["live"] == {"policy-0000": ["production"]}
    assert get("user:eve", gateway.admin_secret).status_code == 400
    assert get("user:eve", gateway.admin_secret, "?forward=true").status_code == 404
    snapshots = get("rounds%2Fround-0001%2Fsnapshot", gateway.admin_secret)
    assert snapshots.status_code == 404


@pytest.fixture
def hone(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("HONE_FEEDBACK_REDIS_URL", redis_url)
    monkeypatch.setenv("HONE_SERVING_DATA_DIR", str(tmp_path))
    return CliRunner()


def test_the_command_tells_a_chain_and_fails_where_a_verified_one_is_broken(
    hone: CliRunner, redis_url: str, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        publish(tmp_path, opened(client, tmp_path), "round-0001", rows={"rankings": ["fbk_1"]})
    told = hone.invoke(app, ["lineage", "production", "--verify"])
    assert told.exit_code == 0, told.output
    assert "gate passed: 1 of 1" in told.stdout
    forward = hone.invoke(app, ["lineage", "rounds/round-0001/snapshot", "--forward", "--json"])
    assert json.loads(forward.stdout)["trained_versions"] == ["policy-0001"]
    (tmp_path / "rounds" / "round-0001" / "snapshot" / "rankings.jsonl").unlink()
    assert hone.invoke(app, ["lineage", "production"]).exit_code == 0
    broken = hone.invoke(app, ["lineage", "production", "--verify"])
    assert broken.exit_code == 1
    assert "BROKEN  rounds/round-0001/snapshot/rankings.jsonl is gone" in broken.stdout
