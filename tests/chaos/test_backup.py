"""The commands of helm/OPERATIONS.md, as they are written there: backup, disaster, restore."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from feedback.archive.reader import Archive
from feedback.connection import connect
from feedback.history import History
from serving import artifact
from serving.registry import PRODUCTION, Registry
from tests.conftest import RedisServer
from tests.feedback.archive import logs
from tests.serving.conftest import *  # noqa: F403  its gateway, engine and moderation
from tests.serving.conftest import Running
from tests.serving.fake_engine import FakeEngine
from tests.serving.lineage import system

PAGE = Path(__file__).resolve().parents[2] / "helm" / "OPERATIONS.md"
HELLO: Any = [{"role": "user", "content": "hello there my friend"}]


def commands(name: str) -> str:
    """The block of the page that begins with this comment."""
    blocks = re.findall(r"```bash\n# (\w+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return dict(blocks)[name]


def run(name: str, **environment: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(name)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def converse(gateway: Running, count: int) -> list[str]:
    """Answers and judgements that were acknowledged: their ids."""
    ids = []
    client = gateway.openai()
    headers = {"authorization": f"Bearer {gateway.secret}"}
    for number in range(count):
        answer = client.chat.completions.create(model="policy", messages=HELLO, store=True)
        body = {"completion_id": answer.id, "likert": 1 + number % 7}
        said = httpx2.post(f"{gateway.url}/v1/feedback/ratings", json=body, headers=headers)
        said.raise_for_status()
        ids += [answer.id, said.json()["id"]]
    return ids


def kept(redis_url: str, archive: Archive) -> Counter[str]:
    """How often each event is in the log, archive and Redis together."""
    with connect(redis_url) as client:
        history = History(client, archive)
        return Counter(
            event.id for kind in ("completions", "feedback") for _, event in history.read(kind)
        )


def version_of(gateway: Running) -> str:
    raw = gateway.openai().chat.completions.with_raw_response.create(
        model="policy", messages=HELLO, store=False
    )
    return str(raw.headers["x-policy-version"])


def wait_for_version(gateway: Running, version: str) -> None:
    deadline = time.monotonic() + 60
    while version_of(gateway) != version:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_a_restored_backup_has_every_event_once_and_answers_with_the_same_version(
    start_gateway: Callable[..., Running], redis_server: RedisServer, tmp_path: Path
) -> None:
    if shutil.which("redis-cli") is None or shutil.which("redis-server") is None:
        pytest.skip("redis-cli is missing: the backup's commands need it")
    data, backup = tmp_path, tmp_path.parent / f"{tmp_path.name}-backup"
    backup.mkdir()
    where = {"DATA": str(data), "BACKUP": str(backup)}
    before = where | {"REDIS_URL": redis_server.url}
    settings = logs.settings(redis_server.url, data / "archiver")
    archive = Archive.of(settings)

    with connect(redis_server.url) as client:
        registry = system.opened(client, data)
        base = registry.get("policy-0000")
        engine = FakeEngine(base_digest=base.digest)
        engine.start()
        gateway = start_gateway(redis_server.url, engine)
        acknowledged = converse(gateway, 10)
        logs.archiver(client, settings).run()
        record = system.publish(data, registry, "round-0001")
    wait_for_version(gateway, record.version)
    acknowledged += converse(gateway, 10)

    redis_part, _, folders_part = commands("backup").partition("\n")
    assert redis_part.startswith("redis-cli")
    assert folders_part.startswith('ls -A "$DATA"')
    run("backup", **before)
    with connect(redis_server.url) as client:  # it goes on meanwhile: the archive is ahead of Redis
        assert logs.archiver(client, settings).run().num_events > 0
    subprocess.run(["bash", "-ec", folders_part], env=os.environ | where, check=True)
    converse(gateway, 3)  # after the backup: lost

    gateway.stop()
    redis_server.stop(kill=True)
    for folder in ("models", "policies", "rounds", "archiver"):
        shutil.rmtree(data / folder)
    for each in redis_server.folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()

    run("restore", REDIS_DIR=str(redis_server.folder), **where)  # of Redis it knows a folder only
    redis_server.start()
    counts = kept(redis_server.url, archive)
    assert {one: counts[one] for one in acknowledged} == dict.fromkeys(acknowledged, 1)
    with connect(redis_server.url) as client:
        logs.archiver(
            client, settings
        ).run()  # finds what it had archived, and takes it out of Redis
        live = Registry(client).snapshot()
    assert kept(redis_server.url, archive) == counts
    production = live.resolve(PRODUCTION)
    assert production == record
    artifact.check_files(Path(record.path), artifact.read_manifest(Path(record.path)))
    again = start_gateway(redis_server.url, engine)
    assert version_of(again) == record.version
    assert converse(again, 1)
    engine.stop()
