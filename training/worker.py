"""The train worker's part: take the lease, run each step as a child process, record.

torch lives in the child, so its memory ends with it; the child ends when this process does.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import redis

from feedback import keys
from training.lease import FENCE, Keeper, Lease
from training.rounds import MAX_ATTEMPTS, MODERATION, POLICY, STEPS_OF, Rounds, is_done
from training.settings import TrainingSettings

log = logging.getLogger(__name__)

EXIT_REFUSED = 3  # of the gate step: the candidate must not be published
_PARALLEL = ("reward", "ppo", "sft", "ppo_init")
_WATCH_S = 0.5
_KILLED = (  # the process itself can say nothing any more
    "killed by signal 9: most often Linux was out of memory; lower [model] tokens_per_pass in the round's "
    "recipe.json, then `hone rounds retry`"
)
_RETRY_S = 5.0


class LeaseLost(Exception):
    """Another worker has the round, or Redis forgot us. Nothing may be written any more."""


class Cancelled(Exception):
    """An operator ended the round."""


def run(rounds: Rounds, round_id: str) -> None:
    """Work on a round until it is finished, refused, failed or cancelled."""
    lease = Lease.acquire(rounds.redis)
    if lease is None:
        log.info("another worker has the lease")
        return
    with Keeper(lease) as keeper:
        try:
            _run_steps(rounds, round_id, keeper)
        except LeaseLost:
            log.warning("lease lost", extra={"round": round_id})
        except Cancelled:
            rounds.finish(round_id, status="cancelled")


def _run_steps(rounds: Rounds, round_id: str, keeper: Keeper) -> None:
    if rounds.active() != round_id:
        return
    folder = rounds.prepare(round_id)
    kind = rounds.kind(round_id)
    for step in STEPS_OF[kind]:
        while not is_done(folder, step):
            attempt = int(rounds.redis.hincrby(keys.round_state(round_id), f"attempts:{step}", 1))
            if attempt > MAX_ATTEMPTS:
                error = last_words(folder / f"{step}.log")
                rounds.finish(round_id, status="failed", step=step, error=error)
                return
            rounds.update(round_id, step=step, status="running")
            command = step_command(step, folder, kind=kind)
            code = _run_child(rounds, round_id, folder, step, command, keeper)
            if code == EXIT_REFUSED:
                report = json.loads((folder / "gate" / "report.json").read_text())
                failed = [check["name"] for check in report["checks"] if not check["passed"]]
                rounds.finish(round_id, status="refused", failed_checks=failed)
                return
            if code == -signal.SIGKILL:
                _append(folder / f"{step}.log", _KILLED)
            if code != 0:
                log.error("step failed", extra={"round": round_id, "step": step, "code": code})
                rounds.update(round_id, error=f"{step}: {last_words(folder / f'{step}.log')}")
                time.sleep(_RETRY_S)
        rounds.record(round_id, "step_done", step=step)
        if step == "snapshot":
            manifest = json.loads((folder / "snapshot" / "manifest.json").read_text())
            rounds.mark_trained(manifest["bounds"], kind=kind)
    published = json.loads((folder / "publish" / "result.json").read_text())
    rounds.finish(round_id, status="finished", **published)


def step_command(
    step: str, folder: Path, *, kind: str = POLICY, num_processes: int | None = None
) -> list[str]:
    """How a step is started: those that train in several processes, if so many are wanted."""
    name = "training.moderation.step" if kind == MODERATION else "training.step"
    module = ["-m", name, step, "--round-dir", str(folder)]
    num_processes = num_processes or TrainingSettings().num_processes
    if num_processes == 1 or step not in _PARALLEL:
        return [sys.executable, *module]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return [sys.executable, *torchrun, str(num_processes), *module]


def _run_child(
    rounds: Rounds, round_id: str, folder: Path, step: str, command: list[str], keeper: Keeper
) -> int:
    """Run one step; returns its exit code. Raises LeaseLost or Cancelled after ending the child."""
    environment = os.environ | {FENCE: keeper.token}
    with (folder / f"{step}.log").open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        while child.poll() is None:
            time.sleep(_WATCH_S)
            if keeper.is_lost:
                raise LeaseLost
            _report(rounds, round_id, folder)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return int(child.returncode)


def _report(rounds: Rounds, round_id: str, folder: Path) -> None:
    """Show the newest metrics; look whether the round was cancelled. Redis away: later."""
    try:
        progress = _last_line(folder / "metrics.jsonl")
        if progress:
            rounds.update(round_id, progress=progress, heartbeat=time.time())
        if rounds.state(round_id).get("status") == "cancelling":
            raise Cancelled
    except (redis.ConnectionError, redis.TimeoutError):
        return


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def _last_line(path: Path) -> str:
    return lines[-1] if (lines := _end_of(path)) else ""


def last_words(log: Path, *, after: int = 0) -> str:
    """Why a step failed: what it says of itself behind byte `after` of its log, else its last line.
    torchrun's summary, if any, comes after its words."""
    lines = _end_of(log, after=after)
    own = [line.partition(" failed: ")[2] for line in lines if " failed: " in line]
    return [*(lines or ["it said nothing"])[-1:], *own][-1]


def _end_of(path: Path, *, after: int = 0) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(after, path.stat().st_size - 16_384))
        return file.read().decode(errors="replace").strip().splitlines()


def progress_of(state: dict[str, str]) -> dict[str, Any]:
    """The newest metrics line of a round's state."""
    try:
        return dict(json.loads(state.get("progress", "{}")))
    except ValueError:
        return {}
