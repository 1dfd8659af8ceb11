"""Some PPO iterations in a process of their own: ours, or the straightforward one.

`python -m training.bench.iteration TASK`, TASK as JSON; prints what it measured as JSON. Before every
iteration the rate of matrix products is measured, so that a busy machine slows down both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NUM_WARM_UP = 1


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to measure."""

    is_baseline: bool
    recipe: str
    folder: str | None  # of the model
    random_model: str | None  # a shape of `candidates`, instead of a folder
    device: str
    threads: int  # 0: as many as there are cores
    iterations: int
    prompt_tokens: tuple[int, int]  # from, to
    answer_tokens: tuple[int, int]
    seed: int

    def argument(self) -> str:
        return json.dumps(asdict(self))


def main() -> None:
    sys.stdout.write(json.dumps(measure(task_from(sys.argv[1]))))


def task_from(argument: str) -> Task:
    """What `Task.argument` gave."""
    fields = json.loads(argument)
    ranges = {name: tuple(fields[name]) for name in ("prompt_tokens", "answer_tokens")}
    # As in a round: threads that spin while they wait make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return Task(**{**fields, **ranges})


def load(task: Task) -> tuple[Any, Any, Any]:
    """(the base model, the recipe, the device)"""
    import torch
    from transformers.utils import logging as transformers_logging

    from training import models
    from training.attention import ATTENTION
    from training.bench import candidates
    from training.config import load_recipe

    transformers_logging.disable_progress_bar()
    if task.threads:
        torch.set_num_threads(task.threads)
    device = models.resolve_device(task.device)
    recipe = load_recipe(task.recipe)
    base = candidates.causal_lm(
        folder=Path(task.folder) if task.folder else None,
        random_model=task.random_model,
        attention="sdpa" if task.is_baseline else ATTENTION,
        dtype=torch.float32 if task.is_baseline else getattr(torch, recipe.model.dtype),
        device=device,
    )
    return base, recipe, device


def measure(task: Task) -> dict[str, Any]:
    """Seconds, memory and operations of every iteration, by phase."""
    import torch

    from training.bench import floor, workload
    from training.bench.meter import Meter, process_peak_mb
    from training.phases import heard_by

    base, recipe, device = load(task)
    shape = floor.shape_of(base, recipe.model)
    lengths = workload.Lengths(prompt=task.prompt_tokens, answer=task.answer_tokens)
    sizes = {"vocab_size": shape.vocab_size, "seed": task.seed}
    rollouts = workload.rollouts(recipe.ppo, lengths, **sizes)
    examples = workload.pretraining(recipe.ppo, **sizes)
    make = _baseline if task.is_baseline else _ours
    iterate = make(base, recipe, rollouts, examples, device, task.seed)

    at_rest_mb = process_peak_mb(device)
    rounds = []
    for number in range(NUM_WARM_UP + task.iterations):
        rates = floor.matmul_rates(shape, tokens=recipe.model.tokens_per_pass, device=device)
        with Meter(device) as meter, heard_by(meter.phase):
            started = time.perf_counter()
            iterate(number)
            seconds = time.perf_counter() - started
        rounds.append(
            {
                "seconds": seconds,
                "rates": {name: asdict(rate) for name, rate in rates.items()},
                "phases": dict(meter.seconds),
                "cpu_s": dict(meter.cpu_seconds),
                "peak_mb": dict(meter.peak_mb),
            }
        )
    ppo = recipe.ppo
    per_step = round(ppo.episodes_per_minibatch * ppo.ptx_examples_per_episode)
    num_steps = ppo.episodes_per_iteration // ppo.episodes_per_minibatch
    return {
        "rounds": rounds[NUM_WARM_UP:],
        "at_rest_mb": at_rest_mb,
        "process_peak_mb": process_peak_mb(device),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "flops": floor.iteration_flops(
            shape,
            answers=floor.work_of([rollout.group for rollout in rollouts]),
            examples=floor.texts_work(num_steps * per_step, length=ppo.ptx_tokens),
            inner_epochs=ppo.inner_epochs,
        ),
        "response_tokens": sum(len(a) for r in rollouts for a in r.group.answers),
        "prompt_tokens": sum(len(r.group.prompt_ids) for r in rollouts),
        "torch": torch.__version__,
    }


def _ours(
    base: Any, recipe: Any, rollouts: Any, examples: Any, device: Any, seed: int
) -> Callable[[int], None]:
    from training import reward
    from training.experience import gather
    from training.learner import Learner
    from training.models import POLICY, REWARD, VALUE
    from training.shared import SharedModel

    names = (POLICY, VALUE, REWARD)
    model = SharedModel(base, recipe=recipe.model, adapters=names, device=device, seed=seed)
    learner = Learner(model, recipe.ppo, pretraining=examples, seed=seed)

    def iterate(number: int) -> None:
        experience = gather(
            model,
            rollouts,
            scorer=lambda packed, trunk_BT: reward.score(
                model, packed, readout=recipe.reward.readout, trunk_BT=trunk_BT
            ),
            recipe=recipe.ppo,
            seed=f"{seed}/{number}",
        )
        learner.update(experience, iteration=number)

    return iterate


def _baseline(
    base: Any, recipe: Any, rollouts: Any, examples: Any, device: Any, seed: int
) -> Callable[[int], None]:
    from training.bench.baseline import Baseline, four_models

    models = four_models(base, recipe=recipe.model)
    plain = Baseline(models, recipe.ppo, readout=recipe.reward.readout)
    per_step = round(recipe.ppo.episodes_per_minibatch * recipe.ppo.ptx_examples_per_episode)

    def iterate(number: int) -> None:
        plain.iteration(rollouts, examples[:per_step])

    return iterate


if __name__ == "__main__":
    main()
