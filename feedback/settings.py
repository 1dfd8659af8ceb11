"""Where the log is. Read once at a process's start; wrong values are refused with the cure."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class FeedbackSettings(BaseSettings):
    """Environment variables `HONE_FEEDBACK_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="HONE_FEEDBACK_", frozen=True)

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        description="Redis ≥ 6.2 or Valkey: log, registry, broker.",
    )
    outbox_path: Path = Field(
        default=Path(".hone/outbox.sqlite"),
        description="SQLite file of this gateway alone: events while Redis is away; on a disk that survives.",
    )
    lease_s: int = Field(
        default=900, gt=0, description="How long a labeler holds an assignment, seconds."
    )
    candidates_per_set: int = Field(
        default=4, ge=2, le=9, description="K: completions sampled per prompt for ranking."
    )
