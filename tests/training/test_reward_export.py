from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from feedback.errors import Unprocessable
from tests.training.local_sampler import MakeModel, randomise
from training import reward
from training.batches import Group
from training.models import REWARD
from training.reward_export import export_classifier

GROUP = Group(prompt_ids=(10, 11, 12), answers=((50, 51, 52), (53,), (54, 55, 56, 57, 2)))


def test_transformers_gives_the_scores_of_the_reward_model(
    make_model: MakeModel, tiny_folder: Path, tmp_path: Path
) -> None:
    model = make_model()
    randomise(model, REWARD)
    (wanted,) = reward.score_groups(model, [GROUP], readout="last")
    reward.save(model, tmp_path / "saved")
    folder = tmp_path / "classifier"
    export_classifier(tmp_path / "saved", folder, base_model=tiny_folder, readout="last")

    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(loaded).__name__ == "LlamaForSequenceClassification"
    rows = [[*GROUP.prompt_ids, *answer] for answer in GROUP.answers]
    padded = AutoTokenizer.from_pretrained(folder).pad({"input_ids": rows}, return_tensors="pt")
    with torch.no_grad():
        found = loaded(**padded).logits[:, 0] + loaded.config.score_bias
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-5, rtol=1e-4)
    assert loaded.config.score_bias != 0
    weights = load_file(folder / "model.safetensors")
    assert weights["score.bias"].tolist() == pytest.approx([loaded.config.score_bias])
    assert not any("lora" in name for name in weights)


def test_a_mean_over_tokens_is_not_passed_off_as_the_last_one(
    make_model: MakeModel, tiny_folder: Path, tmp_path: Path
) -> None:
    reward.save(make_model(), tmp_path / "saved")
    with pytest.raises(Unprocessable, match='readout = "last"'):
        export_classifier(
            tmp_path / "saved", tmp_path / "out", base_model=tiny_folder, readout="mean"
        )
    assert not (tmp_path / "out").exists()
