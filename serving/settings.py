"""Where the gateway and an engine are, and their bounds. Read once at a process's start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_MODEL = "smollm2-135m-instruct"


class ServingSettings(BaseSettings):
    """Environment variables `HONE_SERVING_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="HONE_SERVING_", frozen=True)

    data_dir: Path = Field(
        default=Path(".hone"), description="Folder of models, policies, rounds and logs."
    )
    host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port the gateway listens on.")
    base_model: Path = Field(
        default=Path(),
        validate_default=True,
        description="Folder of the base model; default: the small one under data_dir.",
    )
    engine_urls: tuple[str, ...] = Field(
        default=("http://127.0.0.1:8100",), min_length=1, description="The engines, a JSON list."
    )
    engine_port: int = Field(
        default=8100, ge=1, le=65535, description="Port an engine listens on, on this machine."
    )
    engine_host: str = Field(default="127.0.0.1", description="Address an engine listens on.")
    engine_token: str = Field(
        min_length=16,
        repr=False,
        description="Shared secret of gateway, workers and engines; 16 characters or more.",
    )
    playground: Literal["auto", "open", "key", "off"] = Field(
        default="auto",
        description="The chat page at /: `open` to everybody who reaches it, only with an API `key`, or "
        "`off`. `auto`: open on this machine (a loopback address, in the browser too), else `key`.",
    )
    moderation_url: str = Field(
        default="http://127.0.0.1:8200", description="The moderation server."
    )
    moderation_required: bool = Field(
        default=True,
        description="Moderation away: true answers 503, false lets texts pass and counts them.",
    )
    moderation_timeout_s: float = Field(
        default=20.0, gt=0, description="How long a text may wait for its scores, seconds."
    )
    moderation_window_chars: int = Field(
        default=200,
        ge=1,
        description="A stream waits until so many characters of it can be read by moderation, …",
    )
    moderation_window_ms: int = Field(
        default=500,
        ge=1,
        description="… or for so long: what moderation may add to a token's time, beside its own.",
    )
    moderation_cache_texts: int = Field(
        default=4096, ge=0, description="Texts whose scores a gateway remembers; 0: none."
    )
    labels_per_hour: int = Field(
        default=60, ge=0, description="Judgements an hour that the console measures labelers by."
    )
    max_body_bytes: int = Field(
        default=1_500_000, ge=1_000, description="Largest request body, bytes; more is a 413."
    )
    default_requests_per_minute: int = Field(
        default=600, ge=1, description="Limit of a key that was made without one."
    )
    default_tokens_per_minute: int = Field(
        default=1_000_000, ge=1, description="Tokens read and written, of a key made without one."
    )
    default_max_concurrent: int = Field(
        default=128,
        ge=1,
        description="Answers under way at a time, of a key made without one: half of an engine.",
    )
    limit_share_without_redis: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of a limit that one gateway gives while Redis is away: 1 / replicas.",
    )
    max_model_len: int = Field(
        default=1024, ge=64, description="Longest prompt and answer together, tokens."
    )
    max_loras: int = Field(default=4, ge=1, description="Adapters an engine runs in one batch.")
    max_lora_rank: int = Field(
        default=8,
        ge=1,
        description="Highest rank an engine takes; on CPU every rank slows every token.",
    )
    lora_target_modules: tuple[str, ...] = Field(
        default=("o_proj", "down_proj"),
        min_length=1,
        description="Matrices an adapter may change; each one more slows every token. A JSON list.",
    )
    max_num_seqs: int = Field(default=32, ge=1, description="Answers an engine makes at a time.")
    gpu_memory_fraction: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of a GPU's memory for the engine; a trainer beside it needs the rest.",
    )
    kv_cache_gib: float = Field(
        default=1.0, gt=0, description="Memory of an engine's KV cache on CPU, GiB."
    )
    weight_transfer: Literal["off", "nccl", "gloo"] = Field(
        default="off",
        description="How a trainer of full weights gets them into this engine: `off`, by files in the data "
        "folder; `nccl`, from its GPU, which is another one; `gloo`, from a CPU. For rollout engines only.",
    )
    request_timeout_s: float = Field(
        default=300.0, gt=0, description="Longest time an answer may take, seconds."
    )
    client_read_timeout_s: float = Field(
        default=60.0, gt=0, description="A request has to be here as a whole by then, seconds."
    )
    client_write_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="A client that takes nothing of its answer for so long has left, seconds.",
    )
    keep_alive_s: int = Field(
        default=75,
        ge=1,
        description="How long an idle connection stays open, seconds: longer than the client's, or "
        "the load balancer's, own time (60 or less), else it is closed under a request.",
    )
    shutdown_s: int = Field(
        default=5, ge=0, description="A stop cuts answers that are not over by then, seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="From `info` on every request is a line."
    )
    engine_wait_s: float = Field(
        default=20.0,
        gt=0,
        description="How long a request waits for room on an engine, or for a version that one is "
        "loading, seconds: longer than drain_s, else full weights on a single engine cost answers.",
    )
    drain_s: float = Field(
        default=10.0,
        ge=0,
        description="How long full weights wait for the answers under way on an engine, seconds; "
        "those left go on with the new weights, are marked as mixed and train nothing.",
    )
    max_in_flight: int = Field(
        default=256, ge=1, description="Requests of one gateway on one engine; more wait."
    )
    max_waiting: int = Field(
        default=512, ge=0, description="Requests that wait for room; more are answered 503."
    )

    canary_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the end users whom a round's new version answers first. 0: it goes to everybody "
        "once it has passed the gate; a canary needs some twenty people to judge it, else it never ends.",
    )
    canary_min_s: float = Field(
        default=600.0, ge=0, description="A canary is not promoted sooner, seconds."
    )
    canary_max_s: float = Field(
        default=259_200.0, gt=0, description="A canary nobody has decided about ends so, seconds: …"
    )
    canary_on_end: Literal["hold", "promote"] = Field(
        default="hold", description="… it waits for an operator, or is promoted."
    )
    canary_pair_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the labelers' sets that canary and production answer together.",
    )

    @field_validator("base_model", mode="after")
    @classmethod
    def _default_model(cls, value: Path, info: Any) -> Path:
        if value == Path():
            return Path(info.data["data_dir"]) / "models" / DEFAULT_MODEL
        return value

    @field_validator("engine_urls", "moderation_url", mode="after")
    @classmethod
    def _no_slash(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return value.rstrip("/")
        return tuple(url.rstrip("/") for url in value)
