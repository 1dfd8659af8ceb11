"""PPO against a reward model while the truth is watched: gains, overoptimisation, and what the gate says.

The gate is given what it would have in a real round and nothing of gold.
Shapes: E answers of a pass, N their tokens, P and L tokens of prompt and answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from feedback.quality.intervals import Estimate, mean
from training import reward
from training.config import GateRecipe, PPORecipe, Readout, load_recipe
from training.data import Prompt
from training.divergence import from_reference
from training.gate import Evidence, GateReport, judge
from training.learner import Learner, pretraining_losses
from training.models import POLICY, REFERENCE, REWARD, VALUE, Models
from training.prove import people
from training.prove.people import LENGTH, Opinion
from training.prove.sampling import PolicySampler, draw
from training.rollouts import Rollout
from training.trainer import Trainer
from training.wins import win_rate

READOUT: Readout = "last"
_NUM_TEXTS, _TEXT_LENGTH = 4096, 8  # pretraining; tokens behind a text's first

# The tiny recipe's limits but for two that are this world's: nobody can judge better than 80 %, and
# answers are four tokens long.
LIMITS: GateRecipe = load_recipe("tiny").gate.model_copy(
    update={
        "num_prompts": 256,
        "samples_per_prompt": 4,
        "ptx_examples": 512,
        "min_reward_accuracy": 0.75,
        "max_kl_nats": 6.0,
    }
)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A trained and normalised reward model."""

    weights: dict[str, Tensor]
    accuracy: Estimate  # on held-out rankings


@dataclass(frozen=True, kw_only=True)
class Point:
    """The policy after some iterations, on held-out prompts."""

    iteration: int
    kl: float  # nats per answer
    proxy: float  # the reward model's score, in standard deviations of demonstrations
    gold: float  # in standard deviations within a prompt


@dataclass(frozen=True, kw_only=True)
class Outcome:
    curve: list[Point]
    verdict: GateReport  # on the last policy
    gold_sd: float  # of the reference's answers, prompts and all
    seconds: float

    @property
    def gold_gain(self) -> float:
        return self.curve[-1].gold - self.curve[0].gold

    @property
    def proxy_after_peak(self) -> float:
        """How far the proxy rose after gold was at its highest."""
        return self.curve[-1].proxy - self.peak.proxy

    @property
    def fall(self) -> float:
        """Share of the gain at the peak that was lost again."""
        gain = self.peak.gold - self.curve[0].gold
        return (self.peak.gold - self.curve[-1].gold) / gain if gain > 0 else float("nan")

    @property
    def peak(self) -> Point:
        return max(self.curve, key=lambda point: point.gold)


def recipe(*, iterations: int) -> PPORecipe:
    return load_recipe("tiny").ppo.model_copy(
        update={
            "iterations": iterations,
            "episodes_per_iteration": 256,
            "episodes_per_minibatch": 128,
            "answers_per_prompt": 4,
            "response_tokens": LENGTH,
            "learning_rate": 2e-3,
            "value_learning_rate": 4e-3,
            "warmup_iterations": 3,
            "kl_coef": 0.05,
            "ptx_coef": 3.0,
            "ptx_examples_per_episode": 0.5,
            "ptx_tokens": _TEXT_LENGTH + 1,
            "missing_eos_penalty": 0.0,
        }
    )


def run(
    recipe: PPORecipe,
    judge_: Judge,
    *,
    gold: Opinion,
    prompts: Sequence[Prompt],
    heldout: Sequence[Prompt],
    seed: int,
    look_every: int,
) -> Outcome:
    """Train on `prompts`, look every so many iterations on `heldout`, then ask the gate."""
    started = time.perf_counter()
    model = people.build_model(seed=seed)
    for name in (REWARD, VALUE):
        model.load_state(name, judge_.weights)
    texts = pretraining(model, seed=seed)
    heldout_texts = texts[: LIMITS.ptx_examples]
    trainer = Trainer(
        model=model,
        recipe=recipe,
        learner=Learner(model, recipe, pretraining=texts[LIMITS.ptx_examples :], seed=seed),
        sampler=PolicySampler(model, seed=seed),
        scorer=lambda packed, trunk_BT: reward.score(
            model, packed, readout=READOUT, trunk_BT=trunk_BT
        ),
        prompts=prompts,
        seed=seed,
    )
    incumbent = answers(model, heldout, name=REFERENCE)
    curve = [look(model, heldout, gold=gold, iteration=0)]
    for iteration in range(recipe.iterations):
        trainer.run_iteration(iteration)
        if (iteration + 1) % look_every == 0 or iteration + 1 == recipe.iterations:
            curve.append(look(model, heldout, gold=gold, iteration=iteration + 1))
    gathered = gather(model, heldout, incumbent, accuracy=judge_.accuracy, texts=heldout_texts)
    return Outcome(
        curve=curve,
        verdict=judge(gathered, LIMITS),
        gold_sd=_gold_scores(incumbent, gold=gold).std().item(),
        seconds=time.perf_counter() - started,
    )


def look(model: Models, prompts: Sequence[Prompt], *, gold: Opinion, iteration: int) -> Point:
    rollouts = answers(model, prompts, name=POLICY)
    scores = reward.score_groups(model, [r.group for r in rollouts], readout=READOUT)
    return Point(
        iteration=iteration,
        kl=from_reference(model, rollouts).value,
        proxy=torch.tensor(scores).mean().item(),
        gold=_gold_scores(rollouts, gold=gold).mean().item(),
    )


def gather(
    model: Models,
    prompts: Sequence[Prompt],
    incumbent: Sequence[Rollout],
    *,
    accuracy: Estimate,
    texts: Sequence[tuple[int, ...]],
) -> Evidence:
    """What training.evidence measures in a round. Nobody offends in this world and all answers are of
    one length, so those checks pass whatever was learned."""
    ours = answers(model, prompts, name=POLICY)
    mine, theirs = (
        reward.score_groups(model, [r.group for r in rollouts], readout=READOUT)
        for rollouts in (ours, incumbent)
    )
    candidate, reference = (_loss(model, texts, name=name) for name in (POLICY, REFERENCE))
    return Evidence(
        digest="candidate",
        reward_accuracy=accuracy,
        win_rate=win_rate(mine, theirs),
        kl_nats=from_reference(model, ours),
        flagged_increase=mean([0.0]),
        loss_candidate=candidate,
        loss_reference=reference,
        tokens_candidate=float(LENGTH),
        tokens_incumbent=float(LENGTH),
    )


def pretraining(model: Models, *, seed: int) -> list[tuple[int, ...]]:
    """Text in the base's own words that answers no prompt."""
    generator = torch.Generator().manual_seed(seed)
    starts_X1 = torch.randint(people.NUM_TOKENS, (_NUM_TEXTS, 1), generator=generator)
    texts_X1L, _ = draw(
        model, starts_X1, name=REFERENCE, count=1, length=_TEXT_LENGTH, generator=generator
    )
    return [tuple(row) for row in torch.cat([starts_X1, texts_X1L[:, 0]], 1).tolist()]


def answers(model: Models, prompts: Sequence[Prompt], *, name: str) -> list[Rollout]:
    """The same draws each time: two looks differ by the policy, not by luck alone."""
    sampler = PolicySampler(model, seed=0)
    sample = sampler.sample if name == POLICY else sampler.sample_reference
    return sample(
        [prompt.ids for prompt in prompts],
        answers_per_prompt=LIMITS.samples_per_prompt,
        max_tokens=LENGTH,
    )


@torch.no_grad()
def _loss(model: Models, texts: Sequence[tuple[int, ...]], *, name: str) -> float:
    num_tokens = sum(len(text) - 1 for text in texts)
    return sum(loss.item() for loss in pretraining_losses(model, texts, name=name)) / num_tokens


def _gold_scores(rollouts: Sequence[Rollout], *, gold: Opinion) -> Tensor:
    prompts_EP = torch.tensor([r.group.prompt_ids for r in rollouts for _ in r.group.answers])
    answers_EL = torch.tensor([answer for r in rollouts for answer in r.group.answers])
    return gold(prompts_EP, answers_EL)
