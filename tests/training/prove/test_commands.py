from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from training.prove import report
from training.prove.report import Mark, Proof


def proof_of(mark: Mark) -> Proof:
    return Proof(experiment="exact", seed=3, figures={"runs": [{"a": 1.0}]}, marks=[mark])


def test_asking_for_the_proofs_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from training.cli import app\n"
        "app(['prove', '--help'], standalone_mode=False)\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "exact" in run.stdout
    loaded = set(run.stdout.splitlines()[-1].split())
    assert loaded & {"torch", "transformers", "numpy", "matplotlib"} == set()


def test_a_mark_that_fails_ends_the_command_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    report.conclude([proof_of(report.at_least("J/J*", 0.9, 0.9))], as_json=True)
    with pytest.raises(typer.Exit) as exit_:
        report.conclude([proof_of(report.at_least("J/J*", 0.89, 0.9))], as_json=True)
    assert exit_.value.exit_code == 1
    good, bad = (json.loads(line)[0] for line in capsys.readouterr().out.splitlines())
    assert (good["passed"], bad["passed"]) == (True, False)
    assert bad["marks"][0] == {"name": "J/J*", "value": 0.89, "limit": 0.9, "passed": False}


def test_a_figure_that_could_not_be_measured_fails_its_mark() -> None:
    nan = float("nan")
    assert not report.at_least("share", nan, 0.0).passed
    assert not report.at_most("tax", nan, 1.0).passed
    assert not report.below("mutant", nan, 0.5).passed


def test_a_person_sees_the_figures_and_which_mark_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit):
        report.conclude([proof_of(report.at_most("tax", 2.0, 1.0))], as_json=False)
    shown = capsys.readouterr().out
    assert "exact, seed 3" in shown
    assert "FAILED" in shown
