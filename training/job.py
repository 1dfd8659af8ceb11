"""What a step of a round works on: its directory, plan, recipe and device, and whether it still may."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import redis

from feedback.connection import connect
from feedback.errors import Conflict
from feedback.settings import FeedbackSettings
from training.config import Recipe, load_recipe, read_recipe, save_recipe
from training.lease import FENCE, Lease
from training.rounds import Plan, read_plan
from training.settings import TrainingSettings

DONE = "DONE"


@dataclass(frozen=True, kw_only=True)
class Work:
    """A round of any kind as one step sees it."""

    folder: Path
    plan: Plan
    settings: TrainingSettings
    is_mine: Callable[[], bool]  # False: another worker has the round, write nothing any more

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The round of a directory."""
        return cls(
            folder=folder,
            plan=read_plan(folder),
            settings=TrainingSettings(),
            is_mine=_lease_check(),
        )

    def step_folder(self, step: str) -> Path:
        """Where a step writes; made if it is not there."""
        folder = self.folder / step
        folder.mkdir(exist_ok=True)
        return folder

    def check_mine(self) -> None:
        """Raises Conflict when another worker has the round: two writers would mix their states."""
        if not self.is_mine():
            raise Conflict(
                f"another worker has {self.plan.round_id}; this step stops without writing"
            )


@dataclass(frozen=True, kw_only=True)
class Job(Work):
    """A round of the policy."""

    recipe: Recipe

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The round of a directory. Its recipe is resolved once and kept beside the results."""
        plan = read_plan(folder)
        resolved = folder / "recipe.json"
        if not resolved.exists():
            # Several processes may be the first.
            partial = resolved.with_suffix(f".{os.getpid()}.partial")
            save_recipe(load_recipe(plan.recipe), partial)
            partial.rename(resolved)
        return cls(
            folder=folder,
            plan=plan,
            recipe=read_recipe(resolved),
            settings=TrainingSettings(),
            is_mine=_lease_check(),
        )

    @property
    def snapshot(self) -> Path:
        """The dataset."""
        return Path(self.plan.snapshot or self.folder / "snapshot")

    @property
    def reward_folder(self) -> Path:
        """The reward model."""
        return Path(self.plan.reward or self.folder / "reward")


def _lease_check() -> Callable[[], bool]:
    if FENCE not in os.environ:
        return lambda: True
    lease = Lease.from_environment(connect(FeedbackSettings().redis_url))

    def is_mine() -> bool:
        try:
            return lease.is_mine()
        except (redis.ConnectionError, redis.TimeoutError):
            return True  # while Redis is away nobody else can take the lease

    return is_mine
