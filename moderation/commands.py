"""`hone moderation …`: serve; fit the default classifier, score files with it, judge it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from feedback.errors import NotFound

if TYPE_CHECKING:
    from moderation.classifier import Classifier
    from moderation.dataset import Row

app = typer.Typer(
    help="The moderation classifier: serve it, score texts, judge it, fit it again.",
    no_args_is_help=True,
)

_CACHE = Path(tempfile.gettempdir()) / "hone-moderation"

Data = Annotated[
    Path,
    typer.Option(help='JSON lines, .gz or not: {"text", "source", "labels": {"hate": 0}}.'),
]
Cache = Annotated[Path, typer.Option(help="Folder where the texts' vectors are kept.")]
HeadsFile = Annotated[
    Path | None, typer.Option("--heads", help="heads.npz to use. Default: the one on board.")
]


@app.command()
def serve() -> None:
    """Run the moderation server in the foreground; settings from HONE_MODERATION_…."""
    os.execv(sys.executable, [sys.executable, "-m", "moderation", "serve"])


@app.command()
def score(
    file: Annotated[str, typer.Argument(help='JSON lines with "text"; - for standard input.')],
    heads: HeadsFile = None,
) -> None:
    """Write every line of FILE again with its `scores`, in order."""
    from moderation.scoring import scored_lines

    with _opened(file) as lines:
        scorer = _classifier(heads)
        for line in scored_lines(lines, scorer=scorer, name=file):
            sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="heads.npz to write; report.json stands beside it.")],
    cache: Cache = _CACHE,
    model: Annotated[str, typer.Option(help="Name given in answers.")] = "hone-moderation-4",
) -> None:
    """Fit the heads on labelled texts, and judge them on held-out ones."""
    from moderation.classifier import write_heads
    from moderation.train import digest
    from moderation.train import train as fit

    heads, report = fit(_rows(data), cache=cache, model=model, say=_say)
    write_heads(out, heads)
    report["heads_digest"] = digest(out)
    out.with_name("report.json").write_text(json.dumps(report, indent=1) + "\n")
    _show({name: report[name] for name in ("model", "heads_digest", "test")})


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled JSON lines; or plain lines, all benign.")],
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    heads: HeadsFile = None,
) -> None:
    """Areas with intervals, identity terms, obfuscation, other packages; or the share of benign lines flagged."""
    from moderation.evaluate import benign
    from moderation.evaluate import evaluate as judge

    if {".jsonl", ".gz"} & set(file.suffixes):
        _show(judge(_classifier(heads), rows=_chosen(_rows(file), split=split)))
        return
    lines = [line for line in _existing(file).read_text(encoding="utf-8").splitlines() if line]
    _show(benign(_classifier(heads), texts=lines))


@app.command()
def transfer(data: Data, cache: Cache = _CACHE) -> None:
    """Judge the fit on sources it has not seen: groups of sources are left out in turn."""
    from moderation.transfer import transfer as judge

    _show(judge(_rows(data), cache=cache, say=_say))


@app.command()
def bench(heads: HeadsFile = None) -> None:
    """Latency, throughput and memory on one core."""
    from moderation.speed import bench as measure

    _show(measure(_classifier(heads)))


def _classifier(heads: Path | None) -> Classifier:
    from moderation.classifier import load
    from moderation.settings import ModerationSettings

    settings = ModerationSettings()
    return load(settings if heads is None else settings.model_copy(update={"heads": heads}))


def _rows(file: Path) -> list[Row]:
    from moderation import dataset

    return dataset.read(_existing(file))


def _chosen(rows: list[Row], *, split: str) -> list[Row]:
    from moderation import dataset

    if split == "all":
        return rows
    if split not in dataset.SPLITS:
        raise typer.BadParameter(f"{split} is no split: use {', '.join(dataset.SPLITS)} or all.")
    return [rows[i] for i in dataset.split(rows)[split]]


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise NotFound(f"{file} is not a file.")
    return file


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with _existing(Path(file)).open("rb") as lines:
        yield lines


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _show(report: object) -> None:
    typer.echo(json.dumps(report, indent=1))
