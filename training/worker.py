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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from feedback import keys
from serving import otlp, round_states
from training import files
from training.budget import OverBudget
from training.lease import FENCE, Keeper, Lease, LeaseLost
from training.rounds import MAX_ATTEMPTS, MODERATION, POLICY, STEPS_OF, Rounds, is_done
from training.settings import TrainingSettings
from training.spending import Cancelled, Spending

log = logging.getLogger(__name__)

EXIT_REFUSED = 3  # of the gate step: the candidate must not be published
EXIT_FINAL = 4  # what the step was given cannot be learnt from: once more would be the same
_PARALLEL = ("reward", "ppo", "sft", "ppo_init")
_WATCH_S = 0.5
_KILLED = (  # the process itself can say nothing any more
    "killed by signal 9: most often Linux was out of memory; lower [model] tokens_per_pass in the round's "
    "recipe.json, then `hone rounds retry`"
)
_RETRY_S = 5.0


# Runs a step; returns its exit code. Raises LeaseLost, Cancelled or OverBudget.
RunStep = Callable[[Rounds, str, Path, str, "Holder"], int]


class Holder(Protocol):
    """Who holds the round's lease."""

    token: str
    is_lost: bool


def run(rounds: Rounds, round_id: str) -> None:
    """Work on a round until it is finished, refused, failed or cancelled."""
    lease = Lease.acquire(rounds.redis)
    if lease is None:
        log.info("another worker has the lease")
        return
    with Keeper(lease) as keeper, _traced(rounds, round_id) as run_step:
        work(rounds, round_id, keeper, run_step=run_step)


@contextmanager
def _traced(rounds: Rounds, round_id: str) -> Iterator[RunStep]:
    """Steps as child processes, and as spans where those are wanted (serving.otlp)."""
    protocol = otlp.wanted_protocol()
    if protocol is None:
        yield run_child
        return
    from serving.otel import exporter
    from training.round_spans import spans_of

    with spans_of(rounds, round_id, run_child, exporter(protocol)) as run_step:
        yield run_step


def work(rounds: Rounds, round_id: str, holder: Holder, *, run_step: RunStep) -> None:
    """The same, with the lease in hand."""
    if rounds.active() != round_id:
        return
    round_states.record(rounds.redis, round_id)  # what a worker before left
    try:
        _run_steps(rounds, round_id, holder, run_step)
    except LeaseLost:
        log.warning("lease lost", extra={"round": round_id})
    except Cancelled:
        rounds.finish(round_id, round_states.CANCELLED_NOW, token=holder.token)


def _run_steps(rounds: Rounds, round_id: str, holder: Holder, run_step: RunStep) -> None:
    folder = rounds.prepare(round_id)
    if (override := rounds.state(round_id).get("override")) is not None:
        files.write_text(folder / "gate" / "override.json", override)
    kind = rounds.kind(round_id)
    for step in STEPS_OF[kind]:
        while not is_done(folder, step):
            _check(rounds.begin_step(round_id, step, token=holder.token))
            attempt = int(rounds.redis.hincrby(keys.round_state(round_id), f"attempts:{step}", 1))
            if attempt > MAX_ATTEMPTS:
                _fail(rounds, round_id, step, last_words(folder / f"{step}.log"), holder)
                return
            began = time.monotonic()
            try:
                code = run_step(rounds, round_id, folder, step, holder)
            except OverBudget as error:
                _fail(rounds, round_id, step, str(error), holder)
                return
            if code == EXIT_REFUSED:
                report = json.loads((folder / "gate" / "report.json").read_text())
                failed = [check["name"] for check in report["checks"] if not check["passed"]]
                ended = rounds.finish(
                    round_id, round_states.REFUSE, token=holder.token, failed_checks=failed
                )
                _check(ended)
                return
            if code == EXIT_FINAL:
                _fail(rounds, round_id, step, last_words(folder / f"{step}.log"), holder)
                return
            if code == -signal.SIGKILL:
                _append(folder / f"{step}.log", _KILLED)
            if code != 0:
                log.error("step failed", extra={"round": round_id, "step": step, "code": code})
                rounds.update(round_id, error=f"{step}: {last_words(folder / f'{step}.log')}")
                time.sleep(_RETRY_S)
            else:
                rounds.update(round_id, **{f"seconds:{step}": time.monotonic() - began})
        rounds.step_done(round_id, step)
        if step == "snapshot":
            manifest = json.loads((folder / "snapshot" / "manifest.json").read_text())
            rounds.mark_trained(manifest["bounds"], kind=kind)
    _check(rounds.begin_step(round_id, STEPS_OF[kind][-1], token=holder.token))
    published = json.loads((folder / "publish" / "result.json").read_text())
    _check(rounds.finish(round_id, round_states.FINISH, token=holder.token, **published))


def _check(outcome: round_states.Outcome) -> None:
    """Raises Cancelled where somebody asked for that, LeaseLost where the round is another's by now."""
    if outcome.is_done:
        return
    if outcome.found == round_states.CANCELLING:
        raise Cancelled
    raise LeaseLost


def _fail(rounds: Rounds, round_id: str, step: str, error: str, holder: Holder) -> None:
    _check(rounds.finish(round_id, round_states.FAIL, token=holder.token, step=step, error=error))


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


def run_child(rounds: Rounds, round_id: str, folder: Path, step: str, holder: Holder) -> int:
    """Run one step in a process of its own, which is ended where this raises."""
    settings = TrainingSettings()
    spending = Spending(rounds, round_id, folder, step, settings)
    command = step_command(step, folder, kind=rounds.kind(round_id))
    environment = os.environ | {FENCE: holder.token}
    with (folder / f"{step}.log").open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        while child.poll() is None:
            time.sleep(_WATCH_S)
            if holder.is_lost:
                raise LeaseLost
            spending.report()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return int(child.returncode)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def last_words(log: Path, *, after: int = 0) -> str:
    """Why a step failed: what it says of itself behind byte `after` of its log, else its last line.
    torchrun's summary, if any, comes after its words."""
    lines = files.end_of(log, after=after)
    own = [line.partition(" failed: ")[2] for line in lines if " failed: " in line]
    return [*(lines or ["it said nothing"])[-1:], *own][-1]


def progress_of(state: dict[str, str]) -> dict[str, Any]:
    """The newest metrics line of a round's state."""
    try:
        return dict(json.loads(state.get("progress", "{}")))
    except ValueError:
        return {}
