from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from training.evaluation import charts, page, report
from training.evaluation.measures import Values
from training.evaluation.policies import Policy
from training.evaluation.report import Report

VALUES: dict[str, Values] = {
    "sft": {"truthfulqa/mc1": [0.0, 1.0] * 40, "tax/text": [2.0, 3.0] * 40},
    "ppo": {
        "preference/win_rate": [0.75, 1.0] * 40,
        "truthfulqa/mc1": [0.0, 1.0] * 40,
        "tax/text": [2.5, 3.5] * 40,
    },
}


def policy(label: str) -> Policy:
    return Policy(
        label=label,
        version=label,
        kind="adapter",
        folder=Path("x"),
        base_model=Path("models/sft"),
        digest="d" * 64,
    )


@pytest.fixture
def made() -> Report:
    return Report(
        made="2026-01-01",
        command="hone evaluate sft ppo --out x",
        baseline="sft",
        seed=0,
        count=80,
        policies=[report.policy_row(policy(label)) for label in VALUES],
        rows=report.rows(VALUES, baseline="sft"),
        comparisons=[report.compare(VALUES, baseline=label) for label in VALUES],
        data={"eval/truthfulqa.csv": "e" * 64},
        judge=None,
        notes=["A <note> with & in it."],
    )


def test_a_difference_is_marked_where_its_interval_leaves_out_0(made: Report) -> None:
    by_name = {row.measure: row for row in made.rows}
    assert by_name["tax/text"].cells["ppo"].verdict == "worse"
    assert by_name["tax/text"].cells["sft"].verdict == "same"
    assert by_name["truthfulqa/mc1"].cells["ppo"].verdict == "same"
    assert by_name["preference/win_rate"].cells["ppo"].verdict == "better"
    assert report.difference_text(by_name["tax/text"], "ppo") == "+0.500 [+0.500, +0.500]"


def test_a_cell_holds_value_interval_and_mark(made: Report) -> None:
    row = next(row for row in made.rows if row.measure == "tax/text")
    assert re.fullmatch(r"3\.000 \[2\.\d{3}, 3\.\d{3}\] ▼", report.cell_text(row, "ppo"))


def test_what_was_not_measured_is_a_dash(made: Report) -> None:
    row = next(row for row in made.rows if row.measure == "preference/win_rate")
    assert report.cell_text(row, "sft") == "–"


def test_the_markdown_has_a_row_per_measure_and_a_column_per_policy(made: Report) -> None:
    lines = report.table(made)
    assert len(lines) == 2 + len(made.rows)
    assert {line.count("|") for line in lines} == {4}
    assert "hone evaluate sft ppo" in report.as_markdown(made)


def test_differences_from_another_policy_are_a_table_of_their_own(made: Report) -> None:
    (from_ppo,) = made.comparisons[1:]
    lines = report.comparison_table(made, from_ppo)
    assert lines[0] == "Differences from ppo, unit by unit:"
    assert (
        "| loss on text that nothing was trained on, nats/token | -0.500 [-0.500, -0.500] ▲ |"
        in (lines)
    )
    assert not any("win rate" in line for line in lines)  # it is against the baseline alone
    assert "Differences from ppo" in page.render(made, {label: {} for label in VALUES})


def test_the_json_is_json(made: Report) -> None:
    assert json.loads(json.dumps(report.as_json(made)))["rows"][0]["cells"]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "line", "circle", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open[-1:]:
            self.open.pop()
        else:
            assert tag in ("line", "circle"), (tag, self.open)


def test_the_page_needs_nothing_else(made: Report) -> None:
    said: dict[str, Any] = {
        label: {"truthfulqa": [{"prompt": "<b>Q</b>", "answer": f"{label} & co"}]}
        for label in VALUES
    }
    html = page.render(made, said)
    tags = _Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.seen.count("svg") == len(made.rows)
    assert not {"script", "link", "img"} & set(tags.seen)
    assert "http" not in html
    assert "prefers-color-scheme: dark" in html
    assert "&lt;b&gt;Q&lt;/b&gt;" in html
    assert "A &lt;note&gt; with &amp; in it." in html


def test_answers_stand_side_by_side_only_where_everybody_answered() -> None:
    samples = {
        "a": {"bias": [{"prompt": "p", "answer": "1"}], "more": [{"prompt": "q", "answer": "1"}]},
        "b": {"bias": [{"prompt": "p", "answers": [{"text": "2"}]}]},
    }
    assert page.side_by_side(samples, labels=["a", "b"]) == {
        "bias": [{"prompt": "p", "said": {"a": "1", "b": "2"}}]
    }


def test_intervals_lie_within_the_drawing_and_hold_their_value(made: Report) -> None:
    for row in made.rows:
        chart = charts.of_row(row, labels=["sft", "ppo"], baseline="sft")
        assert chart is not None
        for mark in chart.marks:
            assert chart.left <= mark.low <= mark.x <= mark.high <= chart.right


def test_nothing_is_drawn_of_nothing() -> None:
    (row,) = report.rows({"a": {"people/likert": [math.nan]}}, baseline="a")
    assert charts.of_row(row, labels=["a"], baseline="a") is None
