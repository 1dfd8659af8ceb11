"""A stack for one experiment: `hone up` in a temporary folder, ended with all it started."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from feedback.errors import Unavailable
from serving.stack.preflight import choose_port

_PREFERRED_PORT = 8123
_START_S = 600  # the first start unpacks the model, and compiles bytecode
_STOP_S = 60
_PR_SET_PDEATHSIG = 1
_OF_ANOTHER_STACK = ("HONE_SERVING_", "HONE_FEEDBACK_", "HONE_MODERATION_")


@contextmanager
def own_stack(settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Path]:
    """Its data folder, as `--data` names one. The folder stays when the experiment ends in an error.

    What the environment says of another stack does not reach it; HONE_TRAINING_… does, and `settings`. Raises
    Unavailable, with the end of the log, when it does not become ready.
    """
    folder = Path(tempfile.mkdtemp(prefix="hone-prove-"))
    data, log = folder / "data", folder / "up.log"
    port = str(choose_port(_PREFERRED_PORT))
    command = [sys.executable, "-m", "training", "up", "--data", str(data), "--port", port]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_OF_ANOTHER_STACK)}
    environment |= settings
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )
    try:
        _wait_until_ready(process, data, log)
        yield data
    finally:
        process.send_signal(signal.SIGINT)  # `hone up` ends what it started, in order
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its tether ends the rest
            process.wait()
    shutil.rmtree(folder)


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not (data / "ready.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            end = log.read_text(errors="replace")[-1500:]
            raise Unavailable(
                f"the stack did not start; {log.parent} has its logs, and it said: {end}"
            )
        time.sleep(0.2)


def _hear_ctrl_c() -> None:
    """In the child: Linux sends it a Ctrl-C when the experiment dies, kill -9 included; a shell that
    runs a job in the background makes it deaf for that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
