from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.connection import connect
from serving import round_decisions
from serving.registry import Registry
from serving.settings import ServingSettings
from training.budget import OverBudget
from training.rounds import Rounds
from training.settings import TrainingSettings
from training.spending import Cancelled, Spending, share_done


@pytest.fixture
def rounds(redis_url: str, tmp_path: Path) -> Rounds:
    serving = ServingSettings(data_dir=tmp_path, engine_token="t" * 16)
    found = Rounds(connect(redis_url), serving, TrainingSettings(recipe="tiny"))
    Registry(found.redis).ensure_base("base", "d")
    return found


def test_a_step_under_way_shows_its_progress_its_cost_and_when_the_round_will_be_done(
    rounds: Rounds,
) -> None:
    before = rounds.start(reason="test")
    took = {"seconds:reward": 5.0, "seconds:ppo": 50.0, "seconds:gate": 7.0, "seconds:publish": 1.0}
    rounds.update(before, **took)
    rounds.redis.delete("hone:round_active")
    round_id = rounds.start(reason="test")
    folder = rounds.prepare(round_id)
    line = json.dumps({"step": "ppo", "iteration": 3, "ppo/progress": 0.5, "t": 1.0})
    (folder / "metrics.jsonl").write_text(line + "\n")
    rounds.update(round_id, spent_s=100.0)
    Spending(rounds, round_id, folder, "ppo", TrainingSettings()).report()
    state = rounds.state(round_id)
    assert state["progress"] == line
    assert float(state["spent_s"]) >= 100.0
    assert 7.9 < float(state["expected_end"]) - float(state["heartbeat"]) < 60.0


def test_a_round_that_costs_too_much_is_stopped(rounds: Rounds) -> None:
    round_id = rounds.start(reason="test")
    folder = rounds.prepare(round_id)
    rounds.update(round_id, spent_s=3600.0)
    with pytest.raises(OverBudget, match="ROUND_HOURS is 1"):
        Spending(rounds, round_id, folder, "reward", TrainingSettings(round_hours=1)).report()
    with pytest.raises(OverBudget, match="episodes"):
        Spending(rounds, round_id, folder, "ppo", TrainingSettings(round_episodes=1))


def test_a_cancelled_one_is_stopped_too(rounds: Rounds) -> None:
    round_id = rounds.start(reason="test")
    spending = Spending(rounds, round_id, rounds.prepare(round_id), "reward", TrainingSettings())
    spending.report()
    round_decisions.cancel(rounds.redis, round_id)
    with pytest.raises(Cancelled):
        spending.report()


def test_a_step_s_share_is_its_own_and_half_a_line_says_nothing() -> None:
    line = json.dumps({"step": "reward", "reward/progress": 0.25})
    assert share_done(line, "reward") == 0.25
    assert share_done(line, "ppo") is None
    assert share_done(line[:-3], "reward") is None
