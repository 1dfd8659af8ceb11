from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.bench.test_ppo import TINY
from training.bench import growth
from training.prove.plotting import save


def test_the_exponent_is_that_of_the_power_law() -> None:
    rows = [{"tokens": n, "cpu_s": 3 * n**1.25} for n in (10, 70, 300)]
    assert growth.exponent(rows) == pytest.approx(1.25)


def test_every_axis_is_measured_over_the_tokens_it_takes_and_drawn(tmp_path: Path) -> None:
    axes = {axis: sizes[:2] for axis, sizes in list(growth.AXES.items())[:3]}
    found = growth.measure(TINY, axes)
    # 8 rankings; 4 prompts with 2 answers each.
    assert {axis: [row["tokens"] for row in rows] for axis, rows in found.items()} == {
        "answers of a ranking (K)": [8 * (64 + 2 * 32), 8 * (64 + 4 * 32)],
        "prompt tokens": [4 * (64 + 2 * 32), 4 * (128 + 2 * 32)],
        "answer tokens": [4 * (64 + 2 * 16), 4 * (64 + 2 * 32)],
    }
    assert all(row["seconds"] > 0 and row["cpu_s"] > 0 for rows in found.values() for row in rows)
    exponents = {axis: growth.exponent(rows) for axis, rows in found.items()}
    save(tmp_path / "growth.png", lambda on: growth._draw(on, found, exponents))
    assert (tmp_path / "growth.png").stat().st_size > 10_000
