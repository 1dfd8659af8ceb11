"""What there is to set, and to call: what a Dockerfile, compose.yaml and a chart may name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from feedback.settings import FeedbackSettings
from moderation.settings import ModerationSettings
from serving.settings import ServingSettings
from training.cli import app
from training.settings import TrainingSettings


def known_settings() -> set[str]:
    """Every environment variable that a settings.py reads."""
    return {
        f"{settings.model_config['env_prefix']}{field}".upper()
        for settings in (FeedbackSettings, ModerationSettings, ServingSettings, TrainingSettings)
        for field in settings.model_fields
    }


def resolve(words: Sequence[str]) -> Any:
    """The command that `hone WORDS…` runs, its arguments accepted. Fails where there is none."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, f"`hone {' '.join(words)}` only shows help"
        assert rest[0] in command.commands, f"there is no `hone {' '.join(words)}`"
        command = command.commands[rest.pop(0)]
    command.make_context("hone", rest)
    return command
