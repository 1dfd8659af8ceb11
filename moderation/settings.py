"""Where the moderation server is, how much it takes, and when it flags and blocks. Read once."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feedback.errors import HoneError
from moderation import policy
from moderation.categories import SCORED

Changes = dict[str, float | None]  # category -> threshold; None switches the category off


class ModerationSettings(BaseSettings):
    """Environment variables `HONE_MODERATION_<FIELD>`; dictionaries are written as JSON."""

    model_config = SettingsConfigDict(env_prefix="HONE_MODERATION_", frozen=True)

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. The server asks for no key: keep it private.",
    )
    port: int = Field(default=8200, ge=0, le=65535)
    threads: int = Field(default=1, ge=1, description="Threads of the encoder within one text.")
    encoder: Path | None = Field(
        default=None, description="ONNX file of the sentence encoder; default: the PyPI package's."
    )
    heads: Path | None = Field(
        default=None, description="Fitted heads, as moderation.train writes them; default: ours."
    )
    flag: Changes = Field(
        default_factory=dict, description='Scores from which `flagged` is true: {"hate": 0.6}.'
    )
    block_prompt: Changes = Field(
        default_factory=dict, description="Scores from which the gateway refuses a prompt."
    )
    block_completion: Changes = Field(
        default_factory=dict, description="Scores from which the gateway withholds an answer."
    )
    max_body_bytes: int = Field(default=1_000_000, gt=0, description="Of one request.")
    max_inputs: int = Field(default=64, gt=0, description="Texts in one request.")
    max_chars: int = Field(
        default=50_000, gt=0, description="Of all texts of one request together: bounds its time."
    )
    max_pending: int = Field(
        default=64, gt=0, description="Requests in work at once; more are answered 503 at once."
    )

    @field_validator("flag", "block_prompt", "block_completion")
    @classmethod
    def _known_categories(cls, changes: Changes) -> Changes:
        for name, value in changes.items():
            try:
                policy.check(name, value)
            except HoneError as error:
                raise ValueError(error.message) from error
        return changes

    def flags(self) -> dict[str, float]:
        """Score from which each category counts as flagged."""
        return policy.override(dict.fromkeys(SCORED, policy.FLAG), self.flag)

    def thresholds(self) -> policy.Thresholds:
        """What `policy.decide` blocks by."""
        default = policy.DEFAULT
        return policy.Thresholds(
            prompt=policy.override(default.prompt, self.block_prompt),
            completion=policy.override(default.completion, self.block_completion),
        )
