from __future__ import annotations

import pytest

from training.bench.rollouts import Sample, row_of


def test_the_share_is_taken_within_each_round_and_then_the_median() -> None:
    """The machine is half as fast in the second round, for both: a share of medians would not see it."""
    rows = {
        ("base", "http"): [(100, 1.0), (100, 2.0), (100, 1.0)],
        ("base", "alone"): [(100, 0.9), (100, 1.9), (100, 0.5)],
    }
    samples = {
        key: [
            Sample(tokens=tokens, seconds=seconds, cpu_s=1.5 * seconds) for tokens, seconds in found
        ]
        for key, found in rows.items()
    }
    row = row_of("base", samples)
    assert row["share"] == pytest.approx(0.9)
    assert (row["http_tokens_per_s"], row["alone_tokens_per_s"]) == (100, pytest.approx(100 / 0.9))
    assert row["cpu_share"] == pytest.approx(0.9)
    assert row["http_cores_busy"] == pytest.approx(1.5)
    assert row["http_cpu_ms_per_token"] == pytest.approx(15)
