"""Where training runs and when a round starts. *What* it trains is a recipe (config.py)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TrainingSettings(BaseSettings):
    """Environment variables `HONE_TRAINING_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="HONE_TRAINING_", frozen=True)

    recipe: str = Field(
        default="cpu-demo",
        description="Recipe of a round: a name in training/recipes or a .toml path.",
    )
    min_new_judgements: int = Field(
        default=500,
        gt=0,
        description="A round starts when this many judgements are new; on fewer than some hundred"
        " rankings a reward model is hardly better than chance.",
    )
    schedule_s: int = Field(
        default=0,
        ge=0,
        description="A round starts this often, seconds, if anything is new; 0 = never.",
    )
    min_new_corrections: int = Field(
        default=100,
        gt=0,
        description="A round of moderation's classifier starts when this many corrections are new.",
    )
    round_hours: float = Field(
        default=0,
        ge=0,
        description="A round that was worked on for longer, hours, fails, and can be retried; 0 = no bound.",
    )
    round_gpu_hours: float = Field(
        default=0, ge=0, description="The same in GPU hours: hours times processes; 0 = no bound."
    )
    round_episodes: int = Field(
        default=0, ge=0, description="Most episodes of PPO that a recipe may ask for; 0 = no bound."
    )
    keep_rounds: int = Field(
        default=10,
        ge=1,
        description="Rounds that ended of which checkpoints and candidates are kept; of older ones only"
        " datasets, reports and curves.",
    )
    keep_versions: int = Field(
        default=50,
        ge=3,
        description="Newest policy versions whose weights are kept; of older ones manifest, card and gate report stay,"
        " and whatever an alias, a canary, a round under way or one of those' parents means keeps its weights.",
    )
    moderation_data: Path | None = Field(
        default=None,
        description="Labelled texts, JSON lines, on which a round of moderation fits anew together with"
        " what people said; unset: it goes on from the heads that serve.",
    )
    ptx_path: Path | None = Field(
        default=None,
        description="Pretraining text for PPO-ptx: a .txt or .jsonl file or a folder of them;"
        " unset: the topics of Python's own help().",
    )
    public_data: Path | None = Field(
        default=None,
        description="TruthfulQA, Winogender, CrowS-Pairs and text, laid out as for `hone evaluate --data`, for a gate"
        " whose recipe names public tasks; unset: it asks none.",
    )
    device: str = Field(
        default="auto",
        pattern="^(auto|cpu|cuda(:[0-9]+)?)$",
        description="auto, cpu, cuda or cuda:N.",
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads of a training step; 0 = all cores."
    )
    num_processes: int = Field(
        default=1,
        gt=0,
        description="Processes of the reward and the PPO step on this machine, one per GPU (torchrun);"
        " the recipe's batch sizes must be multiples of it.",
    )
    rollout_engine_urls: list[str] = Field(
        default=[],
        description="Engines of their own for rollouts and the gate, as JSON; full weights need them."
        " Unset: those that answer people, a few requests at a time.",
    )
