"""Where the log is. Read once at a process's start; wrong values are refused with the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    supply_target: int = Field(
        default=20,
        ge=0,
        description="Sets that shall wait for labelers; while fewer do and the engines are idle, "
        "prompts that people asked are answered again, K times. 0: only what clients ask for.",
    )
    rate_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of those prompts whose answer is rated by itself.",
    )
    demonstrate_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of those prompts that labelers answer themselves.",
    )
    overlap_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of those sets that several labelers judge."
    )
    overlap_labelers: int = Field(default=3, ge=2, le=9, description="How many do then.")
    other_version_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of those sets with an answer of the canary or of the version before.",
    )
    known_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of known answers among what labelers judge."
    )
    random_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Share of the queue drawn at random instead of by priority: it measures fairly.",
    )
    own_prompt_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of demonstrations whose prompt the labeler thinks of (plain, few-shot, user-based).",
    )
    screening_items: int = Field(
        default=6, ge=1, description="Known answers a new labeler is tested on."
    )
    screening_agreement: float = Field(
        default=0.75, ge=0, le=1, description="Share of their pairs to decide in the known way."
    )
    snapshot_max_prompts: int = Field(
        default=50_000, ge=1, description="Prompts for PPO in a snapshot, sampled evenly."
    )
    snapshot_max_prompts_per_user: int = Field(
        default=200, ge=1, description="Of one end user; the paper's number."
    )
    snapshot_max_labeler_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Share of a snapshot's rankings by one labeler, where 1/share or more judge.",
    )
    snapshot_max_user_share: float = Field(
        default=0.1, gt=0, le=1, description="The same, about answers to one end user."
    )
    snapshot_cap_from: int = Field(
        default=200, ge=0, description="Rankings of one person that no such cap takes away."
    )
    snapshot_max_moderation_score: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A prompt or an answer with such a score in any category is not trained on.",
    )
    snapshot_prefix_chars: int = Field(
        default=512, ge=1, description="Prompts with so many first characters in common are one."
    )
    snapshot_similarity: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity from which long prompts are one."
    )
    snapshot_masks_pii: bool = Field(
        default=True, description="Mask personal data in what is trained on."
    )
    snapshot_name_model: str | None = Field(
        default=None,
        description="An installed spaCy model that finds names of persons; unset: none are looked for.",
    )
    archive_url: str = Field(
        default=".hone/archive",
        min_length=1,
        description="Where old events go: a folder, or a URL that fsspec opens, like s3://bucket/hone.",
    )
    archive_options: dict[str, Any] = Field(
        default={},
        repr=False,
        description="fsspec's options for that URL, JSON; S3 also reads AWS_… of the environment.",
    )
    archive_every_s: int = Field(
        default=86_400,
        gt=0,
        description="Events older than log_keep_s leave Redis this often, seconds.",
    )
    log_keep_s: int = Field(
        default=7 * 86_400,
        ge=0,
        description="How long events stay in Redis, seconds: what can be listed is no older.",
    )
    log_keep_bytes: int = Field(
        default=1_000_000_000,
        ge=1_000_000,
        description="Memory of Redis for streams and their index; over it the oldest leave sooner.",
    )
    erased_in_files_s: int = Field(
        default=600,
        ge=0,
        description="A deleted completion is gone from Redis' append-only file after so long, seconds.",
    )
