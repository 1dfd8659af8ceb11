"""What a person sees of `hone train`: a bar, samples, and the figures in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.standalone import Show

_UNTOLD = ("t", "step", "iteration", "digest", "episode")  # of a curve's last line


@contextmanager
def shown(step: str) -> Iterator[Show]:
    """A bar on a terminal; samples there and elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    console = stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(step, total=1.0, figures="")

        def show(line: Mapping[str, Any]) -> None:
            if "answer" in line:
                console.print(_sample(line), markup=False, highlight=False)
                return
            share = next((v for name, v in line.items() if name.endswith("/progress")), None)
            progress.update(task, completed=share, figures=_figures(line))

        yield show


def stderr() -> Console:
    return Console(stderr=True)


def _sample(line: Mapping[str, Any]) -> str:
    prompt, answer = (" ".join(line[name].split()) for name in ("prompt", "answer"))
    return (
        f"[{line['iteration']}] score {line['score']:.2f}, KL {line['kl_nats']:.2f}  "
        f"{prompt[-60:]!r} -> {answer[:120]!r}"
    )


def _figures(line: Mapping[str, Any]) -> str:
    shown = (
        "sft/loss",
        "sft/score",
        "reward/loss",
        "reward/accuracy",
        "objective/scores",
        "objective/kl",
    )
    return "  ".join(f"{name.partition('/')[2]} {line[name]:.3g}" for name in shown if name in line)


def told(report: Mapping[str, Any], *, of: str = "") -> Iterator[str]:
    """A line for each figure; lists are in the file, and so is how long things took."""
    for name, value in report.items():
        if name in _UNTOLD or name.startswith(("time/", "memory/", "ppo/")):
            continue
        if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
            shown = f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
            yield f"{of + name:32} {shown}"
        elif isinstance(value, dict):
            yield from told(value, of=f"{of}{name}/")
        elif isinstance(value, float):
            yield f"{of + name:32} {value:.4g}"
        elif not isinstance(value, list):
            yield f"{of + name:32} {value}"
