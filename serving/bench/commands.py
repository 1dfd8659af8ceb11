"""`hone bench …`"""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.commands.options import AsJson, DataDir, redis_of

app = typer.Typer(
    help="Measure: the gateway's cost, an engine through it, swaps under load, archiving, the console.",
    no_args_is_help=True,
)

_HERE = Path(".hone")
_SIZES, _STREAMS, _FEW = [1, 16, 64], [100, 500], [1, 8]
_NUM_EVENTS = [100_000, 1_000_000]

Sizes = Annotated[list[int], typer.Option(min=1, help="Requests at a time; several times.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="Of one load.")]
Rounds = Annotated[int, typer.Option(min=1, help="In each, every target once.")]
Tokens = Annotated[int, typer.Option(min=1, help="Of every answer.")]


@app.command()
def gateway(
    concurrency: Sizes = _SIZES,
    streams: Annotated[
        list[int], typer.Option(min=1, help="Paced streams at a time; several times.")
    ] = _STREAMS,
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    litellm: Annotated[
        Path | None, typer.Option(help="LiteLLM's executable, of an environment of its own.")
    ] = None,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """The gateway on one core before a mock upstream, beside going direct and LiteLLM's proxy."""
    from serving.bench.gateway import run

    report = run(
        data_dir=data,
        concurrency=concurrency,
        streams=streams,
        seconds=seconds,
        rounds=rounds,
        litellm=litellm,
        say=_say,
    )
    _show(report, as_json=as_json)


@app.command()
def feedback(
    concurrency: Sizes = _SIZES,
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Judgements that one gateway on one core takes, each durable, beside the log alone."""
    from serving.bench.feedback import run

    report = run(data_dir=data, concurrency=concurrency, seconds=seconds, rounds=rounds, say=_say)
    _show(report, as_json=as_json)


@app.command()
def engine(
    concurrency: Sizes = _FEW,
    seconds: Seconds = 10.0,
    rounds: Rounds = 3,
    tokens: Tokens = 32,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """The running stack's vLLM, direct and through its gateway."""
    from serving.bench.engine import run

    report = run(
        data_dir=data,
        concurrency=concurrency,
        seconds=seconds,
        rounds=rounds,
        num_tokens=tokens,
        say=_say,
    )
    _show(report, as_json=as_json)


@app.command()
def swap(
    full: Annotated[
        bool, typer.Option("--full", help="Full weights; a copy of the base is published.")
    ] = False,
    swaps: Annotated[int, typer.Option(min=1)] = 20,
    streams: Annotated[int, typer.Option(min=1, help="In flight.")] = 8,
    tokens: Tokens = 128,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Swap versions of the running stack under streams: what is dropped, wrong, or made to wait."""
    from serving.bench.swap import run

    with redis_of(data) as client:
        report = run(
            client,
            data_dir=data,
            kind="full" if full else "adapter",
            num_swaps=swaps,
            num_streams=streams,
            num_tokens=tokens,
            say=_say,
        )
        _show(report, as_json=as_json)


@app.command()
def archive(
    events: Annotated[int, typer.Option(min=100, help="And then ten times as many.")] = 20_000,
    tokens: Tokens = 200,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Old events from a Redis of its own to Parquet, beside reading and writing alone."""
    from serving.bench.archive import run

    report = run(data_dir=data, num_events=events, num_tokens=tokens, say=_say)
    _show(report, as_json=as_json)


@app.command()
def snapshot(
    events: Annotated[
        list[int], typer.Option(min=11, help="In the log; several times.")
    ] = _NUM_EVENTS,
    folder: Annotated[
        Path | None, typer.Option(help="Where there is room: a GB for each million events.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Freeze an invented log of N events, and of ten times as many: time, and memory at its highest."""
    from serving.bench.snapshot import run

    _show(run(sizes=events, folder=folder, say=_say), as_json=as_json)


@app.command()
def console(
    completions: Annotated[int, typer.Option(min=1, help="In Redis: 1.2 GB a million.")] = 100_000,
    versions: Annotated[int, typer.Option(min=2, help="With their rounds, on disk.")] = 200,
    times: Annotated[int, typer.Option(min=1, help="Every screen.")] = 40,
    data: DataDir = _HERE,
    as_json: AsJson = False,
) -> None:
    """Every screen of the console with a large store: milliseconds until the page is here."""
    from serving.bench.console import run

    report = run(
        data_dir=data,
        num_completions=completions,
        num_versions=versions,
        num_times=times,
        say=_say,
    )
    _show(report, as_json=as_json)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _show(report: Coroutine[Any, Any, dict[str, Any]], *, as_json: bool) -> None:
    import asyncio

    from rich.console import Console

    from serving.bench.report import show

    found = asyncio.run(report)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        show(found, Console(width=None if sys.stdout.isatty() else 140))
