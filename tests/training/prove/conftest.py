from __future__ import annotations

import pytest

from training.prove import runs
from training.prove.runs import Problem


@pytest.fixture(scope="session")
def problem() -> Problem:
    return runs.pose(seed=0)
