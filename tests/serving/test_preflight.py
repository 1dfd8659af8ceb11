from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from serving.stack import preflight
from serving.stack.preflight import CannotStart


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_port_in_use_is_refused_with_its_holder_and_the_cure(taken_port: int) -> None:
    with pytest.raises(CannotStart, match=rf"port {taken_port} is in use by .*\(pid \d+\).*--port"):
        preflight.check_port("127.0.0.1", taken_port)


def test_a_port_that_closed_a_moment_ago_is_free(taken_port: int) -> None:
    client = socket.create_connection(("127.0.0.1", taken_port))
    client.close()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    preflight.check_port("127.0.0.1", port)


def test_an_inner_port_gives_way_to_whoever_has_it(taken_port: int) -> None:
    chosen = preflight.choose_port(taken_port)
    assert chosen != taken_port
    assert preflight.is_free("127.0.0.1", chosen)


@pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM on this machine")
def test_a_library_that_no_wheel_brings_is_asked_for_by_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    preflight.check_libraries()
    monkeypatch.setattr(preflight, "NUMA", "libnuma.so.absent")
    with pytest.raises(CannotStart, match=r"libnuma.so.absent, .*: apt-get install libnuma1"):
        preflight.check_libraries()


def test_a_full_disk_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"make room, or put the data elsewhere with --data"):
        preflight.check_disk(tmp_path / "not" / "yet", needed_bytes=10**18, purpose="the model")


def test_a_model_larger_than_the_memory_is_refused_with_the_cure() -> None:
    with pytest.raises(CannotStart, match=r"smaller --model"):
        preflight.check_memory(10**15, kv_cache_bytes=0)


def test_a_second_holder_of_the_data_is_refused_and_told_who_is_the_first(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from serving.stack.preflight import hold_data\n"
        f"with hold_data(Path({str(tmp_path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdout is not None
    assert first.stdout.readline() == b"held\n"
    with (
        pytest.raises(CannotStart, match=rf"already running on .* \(pid {first.pid}\)"),
        preflight.hold_data(tmp_path),
    ):
        pass
    first.kill()
    first.communicate()
    with preflight.hold_data(tmp_path):  # the lock went with its holder, killed as it was
        assert (tmp_path / "lock").read_text() != ""


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CannotStart, match=r"cannot be written.*--data"),
        preflight.hold_data(tmp_path / "file" / "data"),
    ):
        pass


def test_a_redis_is_found_that_runs() -> None:
    said = subprocess.run(
        [preflight.redis_binary(), "--version"], capture_output=True, text=True, check=True
    )
    assert "v=" in said.stdout
