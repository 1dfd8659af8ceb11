"""Run under torchrun: steps of SFT and the reward model, and PPO iterations on given rollouts. The first process
writes the figures.

`python -m tests.training.two_processes MODEL adapter|full OUT`, with or without torchrun around it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from training import models, parallel
from training.batches import Group, Packed
from training.config import AdapterRecipe, FullRecipe, load_recipe
from training.data import Ranking
from training.experience import gather
from training.learner import Learner
from training.models import POLICY, REWARD, VALUE
from training.reward import RewardTrainer, score_groups
from training.rollouts import Rollout
from training.sft import SFTTrainer, mean_loss
from training.trainer import describe

RECIPE = load_recipe("tiny")
PRETRAINING = [tuple(range(start, start + 16)) for start in range(5, 200, 5)]


def rankings() -> list[Ranking]:
    """Of two to five answers of unlike lengths."""
    found = []
    for i in range(16):
        count = 2 + i % 4
        answers = tuple(tuple(range(20 + i + k, 22 + i + 3 * k)) for k in range(count))
        found.append(
            Ranking(
                id=str(i),
                group=Group(prompt_ids=tuple(range(5, 8 + i % 3)), answers=answers),
                ranks=tuple(range(1, count + 1)),
            )
        )
    return found


def rollouts() -> list[Rollout]:
    """Eight prompts with two answers of unlike lengths."""
    found = []
    for i in range(8):
        answers = (tuple(range(30 + i, 34 + i)), tuple(range(60 + i, 62 + 2 * i)) or (9,))
        found.append(
            Rollout(
                group=Group(prompt_ids=(10 + i, 11, 12), answers=answers),
                logprobs=tuple(tuple(-5.5 for _ in answer) for answer in answers),
                ended=(True, i % 2 == 0),
                texts=("", ""),
                version="given",
            )
        )
    return found


def demonstrations() -> list[Group]:
    """Prompts with one answer."""
    groups = (rollout.group for rollout in rollouts())
    return [Group(prompt_ids=g.prompt_ids, answers=g.answers[:1]) for g in groups]


def first_token(packed: Packed, trunk_BT: torch.Tensor) -> torch.Tensor:
    firsts = packed.targets_N[packed.lengths_E.cumsum(0) - packed.lengths_E]
    return firsts.float() / 100


def main(base_model: Path, weights: str, out: Path) -> None:
    device = torch.device("cpu")
    parallel.start(device)
    common = {
        "dtype": "float32",
        "gradient_checkpointing": True,
        "max_sequence_tokens": 128,
        "tokens_per_pass": 40,  # several passes in each process
    }
    recipe: AdapterRecipe | FullRecipe
    if weights == "full":
        recipe = FullRecipe.model_validate(common | {"weights": "full"})
    else:
        recipe = RECIPE.model.model_copy(update=common)  # type: ignore[assignment]
    figures: list[dict[str, float]] = []
    model = models.load(base_model, recipe=recipe, names=[REWARD], device=device, seed=0)
    reward = RewardTrainer(model, RECIPE.reward, rankings(), seed=0)
    figures += [reward.update() for _ in range(3)]
    groups = [ranking.group for ranking in rankings()[:15]]  # odd: one of them is scored twice
    scores = score_groups(model, groups, readout=RECIPE.reward.readout)
    figures.append({f"{i}/{k}": s for i, part in enumerate(scores) for k, s in enumerate(part)})
    model = models.load(
        base_model,
        recipe=recipe,
        names=[POLICY, VALUE, REWARD],
        frozen=[REWARD],
        device=device,
        seed=0,
    )
    learner = Learner(model, RECIPE.ppo, pretraining=PRETRAINING, seed=0)
    for iteration in range(2):
        experience = gather(
            model, rollouts(), scorer=first_token, recipe=RECIPE.ppo, seed=f"{iteration}"
        )
        figures.append(describe(experience, recipe=RECIPE.ppo))
        figures.append(learner.update(experience, iteration=iteration))
    state = learner.state()
    model = models.load(
        base_model, recipe=recipe, names=[POLICY], device=device, seed=0, has_reference=False
    )
    sft = SFTTrainer(model, RECIPE.ppo_init, demonstrations(), pretraining=PRETRAINING, seed=0)
    figures += [sft.update() for _ in range(2)]
    figures.append({"heldout": mean_loss(model, demonstrations()[:5])})
    state |= {f"sft/{name}": tensor for name, tensor in model.state(POLICY).items()}
    if parallel.is_first():
        sums = {name: tensor.double().abs().sum().item() for name, tensor in state.items()}
        out.write_text(json.dumps({"figures": figures, "state": sums}))
    parallel.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
