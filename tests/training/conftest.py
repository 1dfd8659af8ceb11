"""A model small enough to train for real in a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_model import write_tiny_model
from tests.training.local_sampler import MakeModel
from training import models
from training.config import ModelRecipe, load_recipe
from training.models import POLICY, REWARD, VALUE, Models


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def make_model(tiny_folder: Path) -> MakeModel:
    """A fresh shared model; keyword arguments change the tiny recipe's [model]."""

    def make(seed: int = 0, **changes: object) -> Models:
        recipe: ModelRecipe = load_recipe("tiny").model.model_copy(update=changes)
        return models.load(
            tiny_folder,
            recipe=recipe,
            names=[POLICY, VALUE, REWARD],
            device=torch.device("cpu"),
            seed=seed,
        )

    return make
