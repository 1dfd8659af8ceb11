"""TRL's own trainer takes an export as it is."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.formats.export import Options, write
from feedback.history import History
from tests.feedback.formats.log import completion, ranking
from tests.tiny_model import write_tiny_model

_WORDS = ("splendid", "tolerable", "wretched")  # what the answers say, best first


def fill(client: redis.Redis) -> None:
    for number in range(32):
        choices = [
            dataclasses.replace(choice, text=f"a {word} answer")
            for choice, word in zip(completion(number).choices, _WORDS, strict=True)
        ]
        eventlog.append(client, completion(number, choices=choices))
        eventlog.append(client, ranking(number, ["a"], ["b"], ["c"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_its_reward_trainer_learns_the_order_from_an_export(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    client = connect(redis_url)
    fill(client)
    write(History(client), tmp_path / "out", Options(heldout_share=0.25))
    found = datasets.load_dataset(
        str(tmp_path / "out"), "preference", cache_dir=str(tmp_path / "cache")
    )
    folder = write_tiny_model(tmp_path / "tiny")
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    trainer = RewardTrainer(
        model=model.float(),
        args=RewardConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=12,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=found["train"],
        eval_dataset=found["test"],
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 12
    assert statistics.mean(losses[-3:]) < 0.5 * statistics.mean(losses[:3])
    assert trainer.evaluate()["eval_accuracy"] > 0.9
