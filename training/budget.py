"""How much a round may cost: pure."""

from __future__ import annotations

from training.settings import TrainingSettings


class OverBudget(Exception):
    """The round has cost what it may."""


def exceeded(settings: TrainingSettings, *, spent_s: float, num_gpus: int) -> str | None:
    """Why a round that was worked on for so long must end; None while it may go on."""
    hours = spent_s / 3600
    if settings.round_hours and hours > settings.round_hours:
        return f"worked for {hours:.2f} h: {_cure('ROUND_HOURS', settings.round_hours)}"
    if settings.round_gpu_hours and num_gpus * hours > settings.round_gpu_hours:
        cure = _cure("ROUND_GPU_HOURS", settings.round_gpu_hours)
        return f"worked for {num_gpus * hours:.2f} GPU hours: {cure}"
    return None


def too_many_episodes(settings: TrainingSettings, *, num_episodes: int) -> str | None:
    """Why a recipe asks for more than a round may have."""
    if settings.round_episodes and num_episodes > settings.round_episodes:
        cure = _cure("ROUND_EPISODES", settings.round_episodes)
        return f"the recipe asks for {num_episodes} episodes: {cure}"
    return None


def _cure(name: str, limit: float) -> str:
    return f"HONE_TRAINING_{name} is {limit:g}; raise it and `hone rounds retry`"
