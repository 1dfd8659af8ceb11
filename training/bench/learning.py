"""A reward model learns some rankings, in a process of its own: by our trainer, or by TRL's.

`python -m training.bench.learning TASK`, TASK as JSON; prints what it measured as JSON. Both begin with
the same weights and head and take the same steps: what is one ranking to ours is its pairs to TRL's. TRL
runs as it does by default (float32 weights under bf16 autocast; adapters on a bf16 base), but without
gradient checkpointing, which would cost it a third.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from training.config import AdapterRecipe, RewardRecipe
    from training.data import Ranking

_PAIRS_AT_A_TIME = 12  # TRL's micro-batch: 2,500 tokens, about what a pass of ours holds
_FULL_RATE = 1e-2  # of the adapters' learning rate, for full weights


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to measure."""

    is_peer: bool  # TRL's trainer instead of ours
    layers: int | None  # from the top, that have adapters; None: full weights
    folder: str  # of the model
    recipe: str
    k: int  # answers of a ranking
    num_rankings: int
    rankings_per_step: int
    prompt_tokens: int
    answer_tokens: int
    vocabulary: int  # tokens of texts are below
    threads: int  # 0: one per core
    seed: int

    def argument(self) -> str:
        return json.dumps(asdict(self))


class Steps:
    """What each optimizer step took, and its loss."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_s: list[float] = []
        self.loss: list[float] = []

    @contextmanager
    def timed(self) -> Iterator[None]:
        started, cpu_started = time.perf_counter(), time.process_time()
        yield
        self.seconds.append(time.perf_counter() - started)
        self.cpu_s.append(time.process_time() - cpu_started)


def main() -> None:
    # As in a round: threads that spin while they wait make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.stdout.write(json.dumps(measure(Task(**json.loads(sys.argv[1])))))


def measure(task: Task) -> dict[str, Any]:
    """Seconds and loss of every step, and the process's highest memory."""
    import torch
    from transformers.utils import logging as transformers_logging

    from training.bench import workload
    from training.bench.meter import process_peak_mb
    from training.config import AdapterRecipe, load_recipe
    from training.data import choose

    transformers_logging.disable_progress_bar()
    if task.threads:
        torch.set_num_threads(task.threads)
    given = load_recipe(task.recipe)
    assert isinstance(given.model, AdapterRecipe)
    rankings = workload.rankings(
        count=task.num_rankings,
        k=task.k,
        prompt_tokens=task.prompt_tokens,
        answer_tokens=task.answer_tokens,
        vocabulary=task.vocabulary,
        seed=task.seed,
    )
    changes = {"readout": "last", "epochs": 1, "rankings_per_step": task.rankings_per_step}
    if task.layers is None:
        changes["learning_rate"] = given.reward.learning_rate * _FULL_RATE
    recipe = given.reward.model_copy(update=changes)
    model = given.model
    if task.layers is not None:
        model = model.model_copy(update={"num_adapted_layers": task.layers})
    steps = Steps()
    if task.is_peer:
        turns = range(task.num_rankings // task.rankings_per_step)
        count = task.rankings_per_step
        ordered = [r for t in turns for r in choose(rankings, count=count, seed=task.seed, turn=t)]
        _learn_by_trl(task, model, recipe, ordered, steps)
    else:
        _learn(task, model, recipe, rankings, steps)
    return {
        "seconds": steps.seconds,
        "cpu_s": steps.cpu_s,
        "loss": steps.loss,
        "pairs_per_step": task.rankings_per_step * task.k * (task.k - 1) // 2,
        "peak_mb": process_peak_mb(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _learn(
    task: Task,
    model_recipe: AdapterRecipe,
    recipe: RewardRecipe,
    rankings: Sequence[Ranking],
    steps: Steps,
) -> None:
    import torch

    from training import models
    from training.config import FullRecipe, ModelRecipe
    from training.models import REWARD
    from training.reward import RewardTrainer

    common = model_recipe.model_dump(include=set(ModelRecipe.model_fields))
    model = models.load(
        Path(task.folder),
        recipe=FullRecipe(weights="full", **common) if task.layers is None else model_recipe,
        names=[REWARD],
        device=torch.device("cpu"),
        seed=task.seed,
    )
    head = model.heads[REWARD]
    with torch.no_grad():
        head.weight.copy_(_head(len(head.weight), seed=task.seed))
    trainer = RewardTrainer(model, recipe, rankings, seed=task.seed)
    while trainer.step < trainer.num_steps:
        with steps.timed():
            metrics = trainer.update()
        steps.loss.append(metrics["reward/loss"])


def _learn_by_trl(
    task: Task,
    model_recipe: AdapterRecipe,
    recipe: RewardRecipe,
    rankings: Sequence[Ranking],
    steps: Steps,
) -> None:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.trainer_callback import PrinterCallback
    from trl import RewardTrainer

    is_full = task.layers is None
    model = AutoModelForSequenceClassification.from_pretrained(
        task.folder, num_labels=1, dtype=torch.float32 if is_full else torch.bfloat16
    )
    with torch.no_grad():
        weight = model.score.weight
        weight.copy_(_head(weight.shape[1], seed=task.seed)[None])
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=model,
            args=_trl_config(task, recipe, Path(folder)),
            train_dataset=Dataset.from_list([pair for r in rankings for pair in pairs(r)]),
            processing_class=AutoTokenizer.from_pretrained(task.folder),
            callbacks=[_listener(steps)],
            peft_config=None if is_full else _lora(model, model_recipe),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _trl_config(task: Task, recipe: RewardRecipe, folder: Path) -> Any:
    from trl import RewardConfig

    pairs_per_step = task.rankings_per_step * task.k * (task.k - 1) // 2
    at_a_time = max(n for n in range(1, _PAIRS_AT_A_TIME + 1) if pairs_per_step % n == 0)
    return RewardConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=True,
        gradient_checkpointing=False,
        per_device_train_batch_size=at_a_time,
        gradient_accumulation_steps=pairs_per_step // at_a_time,
        train_sampling_strategy="sequential",
        num_train_epochs=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": recipe.final_lr_fraction},
        adam_beta1=recipe.adam_betas[0],
        adam_beta2=recipe.adam_betas[1],
        adam_epsilon=recipe.adam_eps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.grad_clip,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=task.seed,
    )


def pairs(ranking: Ranking) -> Iterator[dict[str, list[int]]]:
    """A ranking as TRL takes it."""
    prompt, answers = ranking.group.prompt_ids, ranking.group.answers
    for (better, a), (worse, b) in permutations(zip(ranking.ranks, answers, strict=True), 2):
        if better < worse:
            yield {"chosen_ids": [*prompt, *a], "rejected_ids": [*prompt, *b]}


def _lora(model: Any, recipe: AdapterRecipe) -> Any:
    import peft

    num_layers: int = model.config.num_hidden_layers
    first = max(0, num_layers - recipe.num_adapted_layers)
    return peft.LoraConfig(
        task_type="SEQ_CLS",  # the head is trained, too
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(recipe.target_modules),
        layers_to_transform=list(range(first, num_layers)),
    )


def _listener(steps: Steps) -> Any:
    from transformers import TrainerCallback

    class Listener(TrainerCallback):
        """Opens the clock when a step's forward passes begin and stops it after Adam."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self._clock = steps.timed()
            self._clock.__enter__()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self._clock.__exit__(None, None, None)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
            if "loss" in logs:
                steps.loss.append(float(logs["loss"]))

    return Listener()


def _head(size: int, *, seed: int) -> Tensor:
    """[D], as `models.ScalarHead` begins."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator) * (size + 1) ** -0.5


if __name__ == "__main__":
    main()
