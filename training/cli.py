"""The trainer's commands, added to serving's: rounds, prove, train, evaluate, worker, beat, demo. What the
`hone` script calls."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.bench.commands import app as bench_app
from serving.cli import app, main
from serving.commands.options import (
    AsJson,
    DataDir,
    Reason,
    Yes,
    log_change,
    ready,
    redis_of,
    who,
)
from training import train_commands
from training.bench import commands as bench_commands
from training.evaluation import commands as evaluation_commands
from training.prove import commands as prove_commands

if TYPE_CHECKING:
    import redis

    from training.rounds import Rounds

__all__ = ["app", "main"]

_EXIT = {"finished": 0, "refused": 3}  # everything else is 1
_HERE = Path(".hone")

rounds_app = typer.Typer(
    help="Training rounds: start, list, show, cancel, retry, pause.", no_args_is_help=True
)
app.add_typer(rounds_app, name="rounds")
app.add_typer(prove_commands.app, name="prove")
app.add_typer(train_commands.app, name="train")
app.command()(evaluation_commands.evaluate)
bench_app.command()(bench_commands.reward)
bench_app.command()(bench_commands.ppo)
bench_app.command()(bench_commands.rollouts)


@rounds_app.command()
def start(
    data: DataDir = _HERE,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name or .toml file.")] = None,
    kind: Annotated[
        str, typer.Option(help="policy, or moderation: its classifier learns from corrections.")
    ] = "policy",
    reason: Reason = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; exit 3 if refused.")
    ] = False,
) -> None:
    """Ask for a round now, however few judgements are new."""
    from serving import round_decisions
    from training.config import load_recipe
    from training.rounds import STEPS_OF

    if kind not in STEPS_OF:
        raise typer.BadParameter(f"the kinds are {' and '.join(STEPS_OF)}")
    if recipe is not None:
        load_recipe(recipe)  # a wrong one is refused here, not minutes later
    with redis_of(data) as client:
        rounds = _rounds(client, data)
        before = rounds.active()
        if before is not None:
            typer.echo(f"{before} is under way; `hone rounds show {before}` follows it", err=True)
            raise typer.Exit(1)
        asked = round_decisions.request(
            client, kind=kind, recipe=recipe, actor=who(), reason=reason
        )
        log_change(client, "rounds.request", **asked)
        if asked["supersedes"] is not None:
            gives_way = f"{asked['supersedes']} is a canary; it gives way to what this round makes"
            typer.echo(gives_way, err=True)
        round_id = _wait_for_start(rounds)
        typer.echo(round_id)
        if wait:
            raise typer.Exit(_follow(rounds, round_id))


@rounds_app.command("list")
def list_(data: DataDir = _HERE, as_json: AsJson = False) -> None:
    """All rounds, oldest first."""
    with redis_of(data) as client:
        states = _rounds(client, data).list()
    if as_json:
        typer.echo(json.dumps(states))
        return
    for state in states:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(state["started"])))
        typer.echo(
            f"{state['round_id']}  {began}  {state['status']:9} {state['step']:8} {state['reason']}"
        )


@rounds_app.command()
def show(
    round_id: str,
    data: DataDir = _HERE,
    follow: Annotated[bool, typer.Option("--follow", help="Until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """One round: where it is, and what it came to; every check of its gate, with the file it is from."""
    from serving.oversight import gates
    from serving.oversight.round_files import RoundFiles

    with redis_of(data) as client:
        rounds = _rounds(client, data)
        state = rounds.state(round_id)
        if not state:
            typer.echo(f"there is no {round_id}; `hone rounds list` shows what there is", err=True)
            raise typer.Exit(1)
        if follow:
            raise typer.Exit(_follow(rounds, round_id))
    if as_json:
        typer.echo(json.dumps(state))
        return
    for name, value in state.items():
        typer.echo(f"{name:18} {value}")
    for line in gates.lines(RoundFiles(data).report(round_id, "gate") or {}):
        typer.echo(line)


@rounds_app.command()
def cancel(round_id: str, data: DataDir = _HERE, reason: Reason = "", yes: Yes = False) -> None:
    """End a round; what it has made stays on disk, nothing is published."""
    if not yes:
        typer.confirm(f"Cancel {round_id}?", abort=True)
    from serving import round_decisions

    with redis_of(data) as client:
        round_decisions.cancel(client, round_id)
        log_change(client, "rounds.cancel", round_id=round_id, reason=reason)
    typer.echo(f"{round_id} is being cancelled")


@rounds_app.command()
def retry(round_id: str, data: DataDir = _HERE, reason: Reason = "") -> None:
    """Go on with a round that failed or was cancelled, from its last checkpoint."""
    from serving import round_decisions

    with redis_of(data) as client:
        round_decisions.retry(client, round_id, actor=who(), reason=reason)
        log_change(client, "rounds.retry", round_id=round_id, reason=reason)
    typer.echo(f"{round_id} goes on; `hone rounds show {round_id} --follow` shows how")


@rounds_app.command()
def override(
    round_id: str,
    reason: Annotated[str, typer.Option(help="Kept in the log, and in the version.")],
    data: DataDir = _HERE,
    yes: Yes = False,
) -> None:
    """Publish what the gate refused, all the same."""
    from serving import round_decisions

    if not yes:
        typer.confirm(f"Publish {round_id}, which the gate refused?", abort=True)
    with redis_of(data) as client:
        round_decisions.override(client, data, round_id, actor=who(), reason=reason)
        log_change(client, "rounds.override", round_id=round_id, reason=reason)
    typer.echo(f"{round_id} goes on; `hone rounds show {round_id} --follow` shows how")


@rounds_app.command()
def pause(data: DataDir = _HERE, reason: Reason = "") -> None:
    """No round starts until `resume`; one under way goes on."""
    from serving.oversight import learning

    with redis_of(data) as client:
        learning.set_paused(client, by="the command line", reason=reason)
        log_change(client, "learning.pause", reason=reason)
    typer.echo("learning is paused")


@rounds_app.command()
def resume(data: DataDir = _HERE) -> None:
    """Let rounds start again."""
    from serving.oversight import learning

    with redis_of(data) as client:
        learning.set_resumed(client)
        log_change(client, "learning.resume")
    typer.echo("rounds start again")


@app.command()
def worker(
    queue: Annotated[str, typer.Argument(help="control or train")],
) -> None:
    """Run one Celery worker in the foreground."""
    if queue not in ("control", "train"):
        raise typer.BadParameter("the queues are control and train")
    _celery("worker", "-Q", queue, "-n", f"{queue}@%h", "-P", "solo", "-c", "1", "-l", "INFO")


@app.command()
def beat() -> None:
    """Run Celery's clock in the foreground. Of several one works, and another goes on when it dies."""
    _celery("beat", "-l", "INFO", "--pidfile", "")


@app.command()
def demo(
    data: DataDir = _HERE,
    sets: Annotated[int, typer.Option(min=16, help="Candidate sets that the labelers rank.")] = 480,
    heldout: Annotated[int, typer.Option(min=8, help="Prompts kept apart, to measure on.")] = 96,
    seed: Annotated[int, typer.Option(help="Of prompts and labelers.")] = 0,
    out: Annotated[Path, typer.Option(help="Where demo.png and demo.json go.")] = Path(),
) -> None:
    """Simulated people use the running stack until a better version answers; measures how much
    better."""
    from rich.console import Console

    from training.demo import Options, run

    stack = ready(data)
    options = Options(data_dir=data, num_sets=sets, num_heldout=heldout, seed=seed, out=out)
    story = run(stack, options, console=Console())
    raise typer.Exit(_EXIT.get(story.status, 1))


def _rounds(client: redis.Redis, data: Path) -> Rounds:
    from serving.settings import ServingSettings
    from training.rounds import Rounds
    from training.settings import TrainingSettings

    # The CLI reads and asks; it never speaks to an engine, so it needs no token.
    return Rounds(client, ServingSettings(data_dir=data, engine_token="-" * 16), TrainingSettings())


def _wait_for_start(rounds: Rounds, *, timeout_s: float = 30) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (round_id := rounds.active()) is not None:
            return round_id
        time.sleep(0.2)
    typer.echo("nobody took the request: are the control worker and beat running?", err=True)
    raise typer.Exit(1)


def _follow(rounds: Rounds, round_id: str) -> int:
    from training.worker import progress_of

    shown: tuple[Any, ...] = ()
    while True:
        state = rounds.state(round_id)
        progress = progress_of(state)
        line = (state.get("step"), progress.get("iteration"), state.get("status"))
        if line != shown:
            figures = " ".join(
                f"{name}={value:.3g}"
                for name, value in progress.items()
                if name.startswith(("objective/", "reward/")) and isinstance(value, (int, float))
            )
            typer.echo(f"{state.get('step', ''):9} {progress.get('iteration', '')!s:>4} {figures}")
            shown = line
        if "ended" in state:
            typer.echo(f"{round_id} {state['status']}: {state.get('detail', '')}")
            return _EXIT.get(state["status"], 1)
        time.sleep(0.5)


def _celery(*arguments: str) -> None:
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "training.tasks", *arguments])
