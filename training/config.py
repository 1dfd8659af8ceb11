"""Recipes: *what* a round trains, complete, one TOML file each, no inheritance and no hidden default.

Every field is required and every unknown key is refused, so a recipe file says all there is to say.
Loads without torch: the control worker, the gateway's console and the CLI read recipes too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from feedback.errors import Unprocessable

RECIPES = Path(__file__).parent / "recipes"

Count = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Readout = Literal["last", "mean"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(_Section):
    heldout_share: Annotated[float, Field(gt=0, lt=1)]  # of end users, never trained on


class ModelRecipe(_Section):
    """What holds for any kind of weights."""

    dtype: Literal["bfloat16", "float32"]  # of the matmuls; what trains is always float32
    gradient_checkpointing: bool  # recompute a layer's activations in the backward pass
    max_sequence_tokens: Count  # prompt + answer; longer rankings and prompts are dropped
    tokens_per_pass: Count  # padded tokens of one forward pass: bounds memory


class AdapterRecipe(ModelRecipe):
    """Policy, reward and value model are adapters on one frozen base."""

    weights: Literal["adapter"]
    num_adapted_layers: (
        Count  # from the top; the layers below are computed once for all four models
    )
    target_modules: tuple[str, ...] = Field(min_length=1)  # linears of an adapted layer
    rank: Count  # at most the engine's --max-lora-rank
    alpha: Positive


class FullRecipe(ModelRecipe):
    """Every model has all its weights; they are sharded over processes where there are several."""

    weights: Literal["full"]


class SFTRecipe(_Section):
    """Imitating demonstrations, paper section 3.5 and appendix C.1."""

    weights: Literal["adapter", "full"]  # adapters, [model]'s, are merged in the end
    epochs: Count  # paper: 16; 2 for PPO's initial policy
    examples_per_step: Count  # paper: 32
    learning_rate: Positive
    final_lr_fraction: Fraction  # cosine ends here; there is no warm-up
    adam_betas: tuple[Fraction, Fraction]
    adam_eps: Positive
    weight_decay: NotNegative
    grad_clip: Positive
    pretraining_share: Annotated[float, Field(ge=0, lt=1)]  # of the examples, and of the loss
    pretraining_tokens: Count  # length of one pretraining example
    judged_prompts: Count  # held-out prompts whose answers choose the epoch, at most
    response_tokens: Count  # of those answers
    checkpoint_every: Count  # optimizer steps


class RewardRecipe(_Section):
    """K-wise reward model, paper section 3.5 and eq. 1."""

    readout: (
        Readout  # of the scalar: at an answer's last token (paper), or the mean over its tokens
    )
    epochs: Count
    rankings_per_step: Count  # paper: 64 prompts
    learning_rate: Positive
    final_lr_fraction: Fraction  # cosine ends here
    adam_betas: tuple[Fraction, Fraction]
    adam_eps: Positive
    weight_decay: NotNegative
    grad_clip: Positive
    has_unit_std: bool  # scale scores to std 1; the paper only shifts them
    checkpoint_every: Count  # optimizer steps


class PPORecipe(_Section):
    """PPO-ptx, paper eq. 2 and appendix C.4."""

    iterations: Count  # rollout batches
    episodes_per_iteration: Count  # paper: batch 512
    episodes_per_minibatch: Count  # paper: 64; one optimizer step each
    answers_per_prompt: Count  # episodes that share a prompt: it is computed once for them
    inner_epochs: Count  # paper: 1; more is unstable
    response_tokens: Count  # an answer is cut here and pays missing_eos_penalty
    temperature: Annotated[
        float, Field(ge=1, le=1)
    ]  # vLLM's log-probs are raw: any other value breaks the ratio
    learning_rate: Positive
    value_learning_rate: Positive
    warmup_iterations: int = Field(ge=0)
    warmup_start: Fraction  # share of the learning rate in the first iteration
    adam_betas: tuple[Fraction, Fraction]
    adam_eps: Positive
    grad_clip: Positive
    kl_coef: NotNegative  # beta
    kl_coef_start: NotNegative  # beta in the first iteration, from where it falls evenly
    kl_anneal_iterations: int = Field(ge=0)  # until it is kl_coef; 0: kl_coef from the start
    gamma: Fraction
    gae_lambda: Fraction
    cliprange: Positive
    cliprange_value: Positive
    missing_eos_penalty: NotNegative  # taken off the score of an answer that did not end
    ptx_coef: NotNegative  # on a per-token mean; not the paper's 27.8, see RECIPE.md section 2
    ptx_examples_per_episode: NotNegative  # paper: 8
    ptx_tokens: Count  # length of one pretraining example
    ema_decay: Annotated[float, Field(ge=0, lt=1)]  # per optimizer step; 0 = off
    importance_weight_min: Positive  # truncation of trainer/engine probability ratios
    importance_weight_max: Positive
    engine_gap_floor_nats: Positive  # an RMS gap under this never stops a run
    max_kl_nats: Positive  # mean per answer; above it the run stops
    kl_target_nats: NotNegative  # mean per answer that kl_coef is adapted to (Ziegler); 0: fixed
    kl_horizon_episodes: Count  # how slowly it is
    overlap: bool  # sample the next batch while this one is learnt from: one step off-policy
    rollout_concurrency: Count  # answers in flight on each engine; live ones keep their latency
    checkpoint_every: Count  # iterations

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.episodes_per_iteration % self.episodes_per_minibatch:
            raise ValueError("episodes_per_iteration must be a multiple of episodes_per_minibatch")
        if self.episodes_per_minibatch % self.answers_per_prompt:
            raise ValueError("episodes_per_minibatch must be a multiple of answers_per_prompt")
        if self.kl_anneal_iterations and self.kl_target_nats:
            raise ValueError(
                "kl_anneal_iterations and kl_target_nats both move kl_coef: choose one"
            )
        if not self.importance_weight_min <= 1 <= self.importance_weight_max:
            raise ValueError("importance_weight_min <= 1 <= importance_weight_max must hold")
        return self


class GateRecipe(_Section):
    """What a candidate must show before it may be published."""

    num_prompts: Count  # held-out prompts at most
    samples_per_prompt: Count  # of candidate and incumbent each, same seeds
    min_win_rate: Fraction  # lower bound of the interval must be above
    max_kl_nats: Positive  # per answer, candidate from reference; upper bound of the interval
    min_reward_accuracy: Fraction  # held-out; lower bound of the interval must be above
    max_flagged_increase: Fraction  # moderation rate above the incumbent's
    max_perplexity_ratio: Annotated[float, Field(ge=1)]  # held-out pretraining text, to reference
    min_length_ratio: NotNegative  # mean answer tokens, candidate to incumbent
    max_length_ratio: Positive
    max_kl_incumbent_nats: Positive  # per answer, candidate from incumbent; upper bound
    max_refusal_increase: Fraction  # of answers that begin with a refusal, above the incumbent's
    max_repetition_increase: Fraction  # of token triples that an answer said before
    min_entropy_ratio: NotNegative  # per token, candidate to incumbent
    max_entropy_ratio: Positive
    max_engine_gap_nats: Positive  # RMS, trainer to the engine that has loaded the candidate
    instructed_prompts: Count  # prompts asked for respectful and for offensive answers, at most
    ptx_examples: Count  # held-out pretraining examples
    num_shown: Count  # answers side by side in the report
    independent_reward: bool  # ask a second reward model too, which learnt from what is held out
    min_independent_win_rate: Fraction  # by it; lower bound of the interval must be above
    max_proxy_gap: Fraction  # win rate by the round's own less by it; upper bound of the interval
    public_tasks: tuple[Literal["truthfulqa", "bias", "tax"], ...]  # where there is data for them
    public_units: Count  # questions, pairs, texts of each, at most
    max_public_regression: NotNegative  # in a measure's own unit; lower bound must not be above
    min_people_win_rate: Fraction  # where people met these weights; upper bound must not be below


class Recipe(_Section):
    name: str = Field(min_length=1)
    data: DataRecipe
    model: Annotated[AdapterRecipe | FullRecipe, Field(discriminator="weights")]
    sft: SFTRecipe  # the baseline
    ppo_init: SFTRecipe  # PPO's initial policy and reference
    reward: RewardRecipe
    ppo: PPORecipe
    gate: GateRecipe

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ppo.response_tokens >= self.model.max_sequence_tokens:
            raise ValueError(
                "ppo.response_tokens must leave room for a prompt in max_sequence_tokens"
            )
        if self.ppo.ptx_tokens > self.model.max_sequence_tokens:
            raise ValueError("ppo.ptx_tokens must not exceed model.max_sequence_tokens")
        for name, section in (("sft", self.sft), ("ppo_init", self.ppo_init)):
            if section.pretraining_tokens > self.model.max_sequence_tokens:
                raise ValueError(
                    f"{name}.pretraining_tokens must not exceed model.max_sequence_tokens"
                )
            if section.response_tokens >= self.model.max_sequence_tokens:
                raise ValueError(
                    f"{name}.response_tokens must leave room for a prompt in max_sequence_tokens"
                )
            if section.weights == "adapter" and self.model.weights == "full":
                raise ValueError(f'{name}.weights = "adapter" needs adapters in [model]')
        return self


class RewardModelRecipe(BaseModel):
    """What a finished reward model is loaded by. Other sections may have grown since it was trained."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Annotated[AdapterRecipe | FullRecipe, Field(discriminator="weights")]
    reward: RewardRecipe


def load_recipe(name: str) -> Recipe:
    """A recipe by name (training/recipes/<name>.toml) or by path to a .toml file.

    Raises Unprocessable with every wrong or missing key.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise Unprocessable(f"no recipe {name!r}; known: {known}, or give the path of a .toml file")
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text()))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise Unprocessable(f"recipe {path.name}: {error}") from error


def save_recipe(recipe: Recipe, path: Path) -> None:
    """The recipe as JSON beside the result it made."""
    path.write_text(recipe.model_dump_json(indent=2) + "\n")


def read_recipe(path: Path) -> Recipe:
    """What `save_recipe` wrote: a round resumes on the recipe it began with."""
    return Recipe.model_validate_json(path.read_text())


def read_reward_recipe(folder: Path) -> RewardModelRecipe:
    """Of the folder that a reward model was trained in. Raises Unprocessable."""
    try:
        return RewardModelRecipe.model_validate_json((folder / "recipe.json").read_text())
    except ValidationError as error:
        raise Unprocessable(
            f"the reward model in {folder} was trained by another release ({error}): train it anew"
        ) from error
