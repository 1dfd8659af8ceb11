"""The images, built and run: minutes, root and buildah, so only where HONE_TEST_IMAGES names a folder for them.

    HONE_TEST_IMAGES=/var/tmp/hone-images make test ARGS=tests/images/test_built.py

The folder keeps layers (6 GB, with all four images), so that a second run takes a minute.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from packaging.utils import canonicalize_name

from feedback.archive.plan import YOUNGEST_S
from feedback.connection import connect
from serving import auth
from serving.stack import parts
from serving.stack.supervisor import Supervisor
from tests.conftest import RedisServer, free_port
from tests.images.containers import NEEDED, USER, Container, Images, Wish, container
from tests.images.dockerfile import ROOT
from tests.tiny_model import write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MB = 1_000_000
ANN = {"role": "user", "content": "What is the capital of France?"}


@pytest.fixture(scope="module")
def images() -> Images:
    folder = os.environ.get("HONE_TEST_IMAGES")
    if not folder:
        pytest.skip("builds images for minutes: HONE_TEST_IMAGES=FOLDER asks for it")
    if os.geteuid() != 0:
        pytest.skip("needs root: debootstrap, buildah and runc here do")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"not installed: apt-get install {' '.join(missing)}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Images(Path(folder))


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image, with its files where they can be read."""

    image: str
    size: int  # bytes
    config: dict[str, Any]
    root: Path


def _built(images: Images, target: str) -> Iterator[Built]:
    image = images.build(target)
    with images.mounted(image) as root:
        yield Built(image=image, size=images.size(image), config=images.config(image), root=root)


@pytest.fixture(scope="module")
def gateway(images: Images) -> Iterator[Built]:
    yield from _built(images, "gateway")


@pytest.fixture(scope="module")
def moderation(images: Images) -> Iterator[Built]:
    yield from _built(images, "moderation")


@pytest.fixture(scope="module")
def worker(images: Images) -> Iterator[Built]:
    yield from _built(images, "worker")


@pytest.fixture(scope="module")
def engine(images: Images) -> Iterator[Built]:
    yield from _built(images, "engine")


def test_the_gateway_is_small_and_holds_what_its_lock_says(gateway: Built) -> None:
    assert gateway.size <= 400 * MB
    listed = (gateway.root / "opt/hone/packages.txt").read_text().split()
    locked = (ROOT / "requirements/images/gateway.lock").read_text().split()
    assert {_pin(line) for line in listed} == {_pin(line) for line in (*locked, "hone-llm==0.1.0")}


@pytest.mark.parametrize("target", ["gateway", "moderation"])
def test_nothing_of_the_builder_stays(target: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(target).root
    for left in ("etc/pip.conf", "src", "wheel", "opt/build"):
        assert not (root / left).exists(), left
    assert not list((root / "opt/hone").rglob("pip-*.dist-info"))
    assert not list((root / "opt/hone").rglob("torch"))


@pytest.mark.parametrize(("target", "path"), [("gateway", "/healthz"), ("moderation", "/healthz")])
def test_it_is_healthy_and_ends_when_told(
    target: str, path: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With no Redis, no engine and nothing to write on but its volumes."""
    built, port = request.getfixturevalue(target), free_port()
    environment = {
        f"HONE_{'SERVING' if target == 'gateway' else 'MODERATION'}_PORT": str(port),
        "HONE_SERVING_ENGINE_TOKEN": "-" * 32,
        "HONE_FEEDBACK_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    with _running(built, tmp_path, name=target, environment=environment) as (one, process):
        _wait_for(f"http://127.0.0.1:{port}{path}", process=process)
        check = one.run(*built.config["Healthcheck"]["Test"][1:])
        assert check.returncode == 0, check.stderr
        # Where the image has its code: not to be written, not even by its own user.
        assert one.run("sh", "-c", "echo > /opt/hone/x").returncode != 0
        assert one.run("id", "-u", "-n").stdout.strip() == "hone"
        process.terminate()
        assert process.wait(timeout=20) == 0


async def test_people_chat_and_judge_through_the_containers(
    gateway: Built, moderation: Built, redis_server: RedisServer, tmp_path: Path
) -> None:
    """A real engine and a real Redis outside, and the archive through the packages of the gateway's image."""
    containers = {"gateway": gateway, "moderation": moderation}
    async with _stack(containers, redis_server, tmp_path) as (plan, running):
        headers = {"authorization": f"Bearer {plan.secrets.api_key}"}
        async with aiohttp.ClientSession(plan.url, headers=headers) as person:
            chat = {"model": "policy", "messages": [ANN], "n": 2, "max_tokens": 8, "user": "ann"}
            answer, version = await _post(person, "/v1/chat/completions", chat)
            assert version == "policy-0000"
            assert len(answer["choices"]) == 2
            assert await _streamed(person, {**chat, "n": 1, "stream": True}) > 0

            scores, _ = await _post(person, "/v1/moderations", {"input": "I will kill you"})
            assert scores["results"][0]["flagged"] is True

            both = [{"completion_id": answer["id"], "index": index} for index in (0, 1)]
            ranking = {"candidates": both, "tiers": [["a"], ["b"]], "labeler": "lea"}
            await _post(person, "/v1/feedback/rankings", ranking)

            rating = {"completion_id": answer["id"], "index": 0, "likert": 6, "labeler": "lea"}
            redis_server.stop()
            await _post(person, "/v1/feedback/ratings", {**rating, "index": 1})
            outbox = tmp_path / "gateway-outbox" / "outbox.sqlite"
            assert outbox.stat().st_uid == USER
            redis_server.start()
            assert await _num_feedback(plan.redis_url, at_least=2) == 2

            # An operator's commands, inside. What is archived leaves Redis, and is still known.
            await asyncio.sleep(YOUNGEST_S + 2)
            aged = ("HONE_FEEDBACK_LOG_KEEP_S=0", "HONE_FEEDBACK_ARCHIVE_EVERY_S=1")
            gone = running["gateway"].run("env", *aged, "hone", "log", "archive", "--json")
            assert json.loads(gone.stdout)["events"] >= 4, gone.stderr
            await _post(person, "/v1/feedback/ratings", rating)
        logs = "".join(log.read_text() for log in (plan.data_dir / "logs").glob("*.log"))
        assert "Read-only file system" not in logs


async def test_a_worker_and_beat_take_up_their_work(
    worker: Built, redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = {
        "HONE_SERVING_ENGINE_TOKEN": "-" * 32,
        "HONE_FEEDBACK_REDIS_URL": redis_server.url,
    }
    for name, arguments, says in (
        ("control", ("worker", "control"), " ready."),
        ("train", ("worker", "train"), " ready."),
        ("beat", ("beat",), "beat: Starting"),
    ):
        with _running(
            worker, tmp_path, name=name, environment=environment, arguments=arguments
        ) as (_, process):
            _wait_for_line(tmp_path / f"{name}.log", says, process=process)
            process.terminate()
            assert process.wait(timeout=30) == 0


async def test_the_engine_s_image_unpacks_the_model_and_answers(
    engine: Built, redis_server: RedisServer, tmp_path: Path
) -> None:
    """As the chart does: first `hone model prepare`, then `hone engine`, on one volume."""
    environment = {"HONE_SERVING_ENGINE_TOKEN": "-" * 32}
    prepare = ("model", "prepare")
    with _running(engine, tmp_path, name="model", environment=environment, arguments=prepare) as (
        _,
        process,
    ):
        assert process.wait(timeout=600) == 0
    assert (tmp_path / "data/models/smollm2-135m-instruct/DONE").exists()
    async with _stack({"engine": engine}, redis_server, tmp_path) as (plan, _):
        headers = {"authorization": f"Bearer {plan.secrets.api_key}"}
        async with aiohttp.ClientSession(plan.url, headers=headers) as person:
            chat = {"model": "policy", "messages": [ANN], "max_tokens": 12, "temperature": 0}
            answer, _ = await _post(person, "/v1/chat/completions", chat)
            assert "Paris" in answer["choices"][0]["message"]["content"]


def _pin(line: str) -> tuple[str, str]:
    name, version = line.split("==")
    return canonicalize_name(name), version


class _Running:
    """A container's process, for as long as the block lasts."""

    def __init__(self, one: Container, log: Path) -> None:
        self._one, self._log = one, log

    def __enter__(self) -> tuple[Container, subprocess.Popen[bytes]]:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._one.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._one, self._process

    def __exit__(self, *_exception: object) -> None:
        self._one.remove()
        self._process.wait(timeout=30)


def _running(
    built: Built,
    folder: Path,
    *,
    name: str,
    environment: dict[str, str],
    arguments: tuple[str, ...] = (),
) -> _Running:
    wish = Wish(
        name=name, arguments=arguments, environment=environment, volumes=_volumes(folder, name)
    )
    one = container(wish, config=built.config, root=built.root, folder=folder / "containers")
    return _Running(one, folder / f"{name}.log")


def _volumes(folder: Path, name: str) -> dict[str, Path]:
    """/data is everybody's; a gateway has an outbox of its own."""
    volumes = {"/data": folder / "data"}
    if name == "gateway":
        volumes["/outbox"] = folder / "gateway-outbox"
    for path in volumes.values():
        path.mkdir(exist_ok=True)
    return volumes


@asynccontextmanager
async def _stack(
    containers: dict[str, Built], redis_server: RedisServer, folder: Path
) -> AsyncIterator[tuple[parts.Plan, dict[str, Container]]]:
    """Gateway, moderation and engine: those named as containers, the others as processes here."""
    pytest.importorskip("vllm", reason="no vLLM on this machine")
    data = folder / "data"
    data.mkdir(exist_ok=True)
    model = data / "models" / "smollm2-135m-instruct"
    if not model.exists():
        write_tiny_model(model)
    plan = parts.plan(
        data_dir=data,
        base_model=model,
        host="127.0.0.1",
        port=free_port(),
        redis_url=redis_server.url,
    )
    environment = parts.environment(plan) | {"HONE_SERVING_MAX_MODEL_LEN": "256"}
    # Where its volumes are an image knows by itself.
    told = {
        name: value
        for name, value in environment.items()
        if name.startswith("HONE_") and not value.startswith(str(data))
    }
    running: dict[str, Container] = {}
    chosen = []
    for part in parts.parts(plan):
        if part.name in containers:
            built = containers[part.name]
            volumes = _volumes(folder, part.name)
            wish = Wish(name=part.name, environment=told, volumes=volumes)
            one = container(
                wish, config=built.config, root=built.root, folder=folder / "containers"
            )
            running[part.name] = one
            part = replace(part, command=one.command)
        if part.name in ("engine", "gateway", "moderation"):
            chosen.append(replace(part, start_timeout_s=900.0))
    supervisor = Supervisor(
        chosen,
        stack=plan.stack,
        environment=environment,
        log_dir=data / "logs",
        on_change=lambda _: None,
    )
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(data)], check=True)
    stopping = asyncio.Event()
    try:
        async with supervisor:
            watching = asyncio.create_task(supervisor.run(stopping))
            while not supervisor.all_ready:
                await asyncio.sleep(0.2)
            with connect(plan.redis_url) as client:
                auth.ensure_key(client, plan.secrets.api_key, name="test", scopes=auth.SCOPES)
            try:
                yield plan, running
            finally:
                stopping.set()
                await watching
    finally:
        for one in running.values():
            one.remove()


async def _post(
    person: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """What is answered, and by which version. A key is known to a gateway a moment after it is made."""
    async with person.post(path, json=body) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status < 300, answer
        return answer, response.headers.get("x-policy-version")


async def _streamed(person: aiohttp.ClientSession, body: dict[str, Any]) -> int:
    """How many chunks came."""
    async with person.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        return len(re.findall(r"^data: \{", (await response.text()), flags=re.MULTILINE))


async def _num_feedback(redis_url: str, *, at_least: int) -> int:
    """Judgements in Redis, once what waited in the outbox has come."""
    from feedback import keys

    with connect(redis_url) as client:
        for _ in range(300):
            found = int(client.xlen(keys.stream("feedback")))  # type: ignore[arg-type]
            if found >= at_least:
                return found
            await asyncio.sleep(0.1)
    return found


def _wait_for(url: str, *, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _wait_for_line(log: Path, text: str, *, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while text not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
