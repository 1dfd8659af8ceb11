"""How time grows with each size alone: answers of a ranking, prompt, answer, batch.

K is measured on the reward model's step, the others on a PPO iteration without pretraining text. Beside each
time stand the real tokens that it took; the exponent is fitted to time over tokens: 1 is linear.
`python -m training.bench.growth TASK` is the process that measures.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from serving.bench.report import machine
from training.bench.iteration import Task, load, task_from
from training.bench.ppo import Row, measured
from training.prove.plotting import check_folder, save

__all__ = ["check_folder", "run"]

AXES: Mapping[str, Sequence[int]] = {
    "answers of a ranking (K)": (2, 4, 6, 9),
    "prompt tokens": (64, 128, 256, 512, 1024),
    "answer tokens": (16, 32, 64, 128, 256),
    "prompts of a batch": (4, 8, 16, 32),
}
_K, _PROMPT, _ANSWER, _BATCH = AXES
_USUAL = {_K: 4, _PROMPT: 64, _ANSWER: 32, _BATCH: 4}


def run(task: Task, *, plot: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Rows and an exponent for each axis; `plot`: folder of the picture."""
    say(f"{sum(map(len, AXES.values()))} sizes, {task.iterations} times each")
    found = measured(task, module="training.bench.growth")
    exponents = {axis: exponent(rows) for axis, rows in found.items()}
    if plot is not None:
        save(plot / "growth.png", lambda axes: _draw(axes, found, exponents))
    return {"machine": machine(), "exponents": exponents, **found}


def exponent(rows: Sequence[Row]) -> float:
    """Slope of log time over log tokens, by least squares. Processor time: others cannot stretch it."""
    points = [(math.log(row["tokens"]), math.log(row["cpu_s"])) for row in rows]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return covariance / sum((x - mean_x) ** 2 for x, _ in points)


def measure(task: Task, axes: Mapping[str, Sequence[int]]) -> dict[str, list[Row]]:
    """The least of several times, at every size; once more before an axis begins, to warm up."""
    from training.models import POLICY, REWARD, VALUE
    from training.shared import SharedModel

    base, recipe, device = load(task)
    names = (POLICY, VALUE, REWARD)
    model = SharedModel(base, recipe=recipe.model, adapters=names, device=device, seed=task.seed)
    found: dict[str, list[Row]] = {}
    for axis, sizes in axes.items():
        make = _reward_step if axis == _K else _iteration
        found[axis] = []
        for size in sizes:
            step, num_tokens = make(model, recipe, {**_USUAL, axis: size}, task.seed)
            if not found[axis]:
                step(0)  # warm up
            times = [_timed(step, number + 1) for number in range(task.iterations)]
            found[axis].append(
                {
                    "size": size,
                    "tokens": num_tokens,
                    "seconds": median(seconds for seconds, _ in times),
                    "cpu_s": min(cpu_s for _, cpu_s in times),
                }
            )
    return found


def _iteration(
    model: Any, recipe: Any, sizes: Mapping[str, int], seed: int
) -> tuple[Callable[[int], object], int]:
    from training import reward
    from training.bench import workload
    from training.experience import gather
    from training.learner import Learner

    episodes = sizes[_BATCH] * recipe.ppo.answers_per_prompt
    ppo = recipe.ppo.model_copy(
        update={
            "episodes_per_iteration": episodes,
            "episodes_per_minibatch": episodes,
            "ptx_examples_per_episode": 0,
        }
    )
    lengths = workload.Lengths(prompt=(sizes[_PROMPT],) * 2, answer=(sizes[_ANSWER],) * 2)
    rollouts = workload.rollouts(ppo, lengths, vocab_size=len(model.unembedding_VD), seed=seed)
    learner = Learner(model, ppo, pretraining=[], seed=seed)

    def scorer(packed: Any, trunk_BT: Any) -> Any:
        return reward.score(model, packed, readout=recipe.reward.readout, trunk_BT=trunk_BT)

    def step(number: int) -> None:
        made = gather(model, rollouts, scorer=scorer, recipe=ppo, seed=f"{seed}/{number}")
        learner.update(made, iteration=number)

    return step, sum(len(rollout.group) for rollout in rollouts)


def _reward_step(
    model: Any, recipe: Any, sizes: Mapping[str, int], seed: int
) -> tuple[Callable[[int], object], int]:
    from training.bench import workload
    from training.data import Ranking
    from training.reward import RewardTrainer

    count = recipe.reward.rankings_per_step
    ppo = recipe.ppo.model_copy(
        update={"episodes_per_iteration": count * sizes[_K], "answers_per_prompt": sizes[_K]}
    )
    lengths = workload.Lengths(prompt=(sizes[_PROMPT],) * 2, answer=(sizes[_ANSWER],) * 2)
    made = workload.rollouts(ppo, lengths, vocab_size=len(model.unembedding_VD), seed=seed)
    ranks = tuple(range(1, sizes[_K] + 1))
    rankings = [
        Ranking(id=str(number), group=rollout.group, ranks=ranks)
        for number, rollout in enumerate(made)
    ]
    trainer = RewardTrainer(model, recipe.reward, rankings, seed=seed)
    return lambda number: trainer.update(), sum(len(ranking.group) for ranking in rankings)


def _timed(step: Callable[[int], object], number: int) -> tuple[float, float]:
    started, cpu_started = time.perf_counter(), time.process_time()
    step(number)
    return time.perf_counter() - started, time.process_time() - cpu_started


def _draw(axes: Any, found: Mapping[str, list[Row]], exponents: Mapping[str, float]) -> None:
    for axis, rows in found.items():
        label = f"{axis} {rows[0]['size']} to {rows[-1]['size']}: tokens^{exponents[axis]:.2f}"
        tokens, times = [r["tokens"] for r in rows], [r["cpu_s"] for r in rows]
        axes.plot(tokens, times, marker="o", markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel="real tokens", ylabel="processor seconds")
    axes.set_title("A step's time over its tokens: K on the reward model, the rest on PPO")
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    sys.stdout.write(json.dumps(measure(task_from(sys.argv[1]), AXES)))


if __name__ == "__main__":
    main()
