from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.connection import connect
from serving.round_states import ENDED, UNDER_WAY
from serving.settings import ServingSettings
from training.retention import past, prune
from training.rounds import Rounds
from training.settings import TrainingSettings


@given(st.lists(st.sampled_from([*ENDED, *UNDER_WAY]), max_size=30), st.integers(1, 10))
def test_the_newest_that_ended_and_those_under_way_are_kept(statuses: list[str], keep: int) -> None:
    states = [{"round_id": str(i), "status": status} for i, status in enumerate(statuses)]
    gone = past(states, keep=keep)
    kept = [state for state in states if state["round_id"] not in gone]
    assert all(state["status"] in ENDED for state in states if state["round_id"] in gone)
    ended = [state for state in kept if state["status"] in ENDED]
    assert len(ended) == min(keep, sum(status in ENDED for status in statuses))
    assert all(int(g) < int(k["round_id"]) for g in gone for k in ended)


def test_weights_of_old_rounds_go_and_what_was_said_of_them_stays(
    redis_url: str, tmp_path: Path
) -> None:
    serving = ServingSettings(data_dir=tmp_path, engine_token="t" * 16)
    rounds = Rounds(connect(redis_url), serving, TrainingSettings(recipe="tiny"))
    for number in range(1, 4):
        state = {"status": "finished", "recipe": "tiny"}
        rounds.redis.hset(
            f"hone:round:round-000{number}", mapping=state | {"round_id": f"round-000{number}"}
        )
        rounds.redis.incr("hone:round_seq")
        folder = tmp_path / "rounds" / f"round-000{number}"
        for file in ("ppo/state-000016/tensors.safetensors", "ppo/candidate/policy.json"):
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_bytes(b"1234")
        for file in ("metrics.jsonl", "ppo/report.json", "ppo/DONE"):
            (folder / file).write_text("kept")
    version = tmp_path / "policies" / "policy-0001" / "adapter_model.safetensors"
    version.parent.mkdir(parents=True)
    version.write_bytes(b"served")
    assert prune(rounds, tmp_path, keep=2) == 8
    assert prune(rounds, tmp_path, keep=2) == 0
    left = sorted(
        str(path.relative_to(tmp_path / "rounds/round-0001"))
        for path in (tmp_path / "rounds/round-0001").rglob("*")
        if path.is_file()
    )
    assert left == ["metrics.jsonl", "ppo/DONE", "ppo/report.json"]
    assert (tmp_path / "rounds/round-0002/ppo/candidate/policy.json").exists()
    assert version.read_bytes() == b"served"


def test_at_least_one_round_is_kept() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        TrainingSettings(keep_rounds=0)
