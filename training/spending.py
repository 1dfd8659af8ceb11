"""What a round's step under way costs, how far it is, and when the round will be done."""

from __future__ import annotations

import json
import time
from pathlib import Path

import redis

from serving import round_states
from training import budget, files, forecast
from training.budget import OverBudget
from training.job import Job
from training.rounds import STEPS_OF, Rounds
from training.settings import TrainingSettings


class Cancelled(Exception):
    """An operator ended the round."""


class Spending:
    """Of one attempt at one step."""

    def __init__(
        self, rounds: Rounds, round_id: str, folder: Path, step: str, settings: TrainingSettings
    ) -> None:
        state = rounds.state(round_id)
        self._rounds, self._round_id, self._folder, self._step = rounds, round_id, folder, step
        self._settings = settings
        self._steps = STEPS_OF[rounds.kind(round_id)]
        self._spent_before = float(state.get("spent_s", 0.0))
        self._began = time.monotonic()
        self._former = rounds.former_seconds(state)
        if step == "ppo":
            self._check_episodes()

    def report(self) -> None:
        """Show it; look whether the round was cancelled or costs too much. Redis away: later."""
        elapsed_s = time.monotonic() - self._began
        spent_s = self._spent_before + elapsed_s
        is_on_gpu = self._settings.device != "cpu" and has_gpu()
        num_gpus = self._settings.num_processes if is_on_gpu else 0
        why = budget.exceeded(self._settings, spent_s=spent_s, num_gpus=num_gpus)
        if why is not None:
            raise OverBudget(why)
        try:
            self._rounds.update(self._round_id, **self._shown(elapsed_s, spent_s))
            is_cancelled = (
                self._rounds.state(self._round_id).get("status") == round_states.CANCELLING
            )
        except (redis.ConnectionError, redis.TimeoutError):
            return
        if is_cancelled:
            raise Cancelled

    def _shown(self, elapsed_s: float, spent_s: float) -> dict[str, str | float]:
        now = time.time()
        shown: dict[str, str | float] = {"heartbeat": now, "spent_s": round(spent_s, 1)}
        line = "".join(files.end_of(self._folder / "metrics.jsonl")[-1:])
        if line:
            shown["progress"] = line
        left = forecast.remaining_s(
            self._steps,
            self._step,
            elapsed_s=elapsed_s,
            share=share_done(line, self._step),
            former=self._former,
        )
        if left is not None:
            shown["expected_end"] = round(now + left, 1)
        return shown

    def _check_episodes(self) -> None:
        ppo = Job.open(self._folder).recipe.ppo
        num_episodes = ppo.iterations * ppo.episodes_per_iteration
        why = budget.too_many_episodes(self._settings, num_episodes=num_episodes)
        if why is not None:
            raise OverBudget(why)


def has_gpu() -> bool:
    """Without torch, which this process does not load."""
    return Path("/dev/nvidiactl").exists()


def share_done(line: str, step: str) -> float | None:
    """How much of a step is done, by the newest line of the curves."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if row["step"] != step:
        return None
    return next((v for name, v in row.items() if name.endswith("/progress")), None)
