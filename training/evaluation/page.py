"""The report as one HTML page that needs nothing else: no script, no font, no picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from training.evaluation import charts
from training.evaluation.report import (
    NUM_SAMPLES,
    Report,
    cell_text,
    difference_text,
    marked_difference,
)

Samples = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # label -> part -> what was said


def render(report: Report, samples: Samples) -> str:
    labels = [str(policy["label"]) for policy in report.policies]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    drawn = [
        (row, chart)
        for row in report.rows
        if (chart := charts.of_row(row, labels=labels, baseline=report.baseline)) is not None
    ]
    return environment.get_template("page.html").render(
        report=report,
        labels=labels,
        charts=drawn,
        samples=side_by_side(samples, labels=labels),
        cell_text=cell_text,
        difference_text=difference_text,
        marked_difference=marked_difference,
    )


def side_by_side(
    samples: Samples, *, labels: Sequence[str], count: int = NUM_SAMPLES
) -> dict[str, list[dict[str, Any]]]:
    """By part: a prompt and what each policy said to it. A prefix is part of what was asked, not shown."""
    first = samples.get(labels[0], {})
    return {
        part: [
            {
                "prompt": sample["prompt"],
                "said": {label: _said(samples[label][part][i]) for label in labels},
            }
            for i, sample in enumerate(list(kept)[:count])
        ]
        for part, kept in first.items()
        if kept and all(part in samples.get(label, {}) for label in labels)
    }


def _said(sample: Mapping[str, Any]) -> str:
    if "answers" in sample:
        return str(sample["answers"][0]["text"])
    return str(sample["answer"])
