"""The trainer's end of a weight transfer. That weights arrive: tests/flows/test_rollouts.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from feedback.errors import Unavailable, Unprocessable
from serving import artifact
from tests.serving.fake_engine import TOKEN, FakeEngine
from training import models, transfer
from training.config import FullRecipe
from training.models import POLICY, Models
from training.rollouts import EngineRollouts

RECIPE = FullRecipe.model_validate(
    {
        "weights": "full",
        "dtype": "bfloat16",
        "gradient_checkpointing": False,
        "max_sequence_tokens": 128,
        "tokens_per_pass": 400,
    }
)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Models:
    return models.load(
        tiny_folder, recipe=RECIPE, names=[POLICY], device=torch.device("cpu"), seed=0
    )


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    served = FakeEngine()
    served.start()
    yield served
    served.stop()


def test_the_policy_is_sent_under_the_base_s_names_in_its_dtypes(
    model: Models, tiny_folder: Path
) -> None:
    source = transfer.PolicySource(model.parameters(POLICY), base_model=tiny_folder)
    base = artifact.tensors(tiny_folder)
    described = source.metadata()
    assert {one.name: one.shape for one in described} == {n: t.shape for n, t in base.items()}
    assert {one.dtype for one in described} == {torch.bfloat16}
    for one, (name, tensor) in zip(described, source, strict=True):
        assert one == (name, tensor.dtype, tuple(tensor.shape))
        assert not tensor.requires_grad


def test_engines_that_offer_no_transfer_want_files(engine: FakeEngine) -> None:
    with EngineRollouts([engine.url], token=TOKEN, concurrency=4) as engines:
        assert transfer.offered(engines) is None


def test_nccl_is_refused_where_training_has_no_gpu(
    engine: FakeEngine, model: Models, tiny_folder: Path
) -> None:
    with EngineRollouts([engine.url], token=TOKEN, concurrency=4) as engines:
        with pytest.raises(Unprocessable, match="training runs on a CPU"):
            transfer.WeightTransfer(engines, model=model, base_model=tiny_folder, backend="nccl")


def test_weights_that_were_sent_cannot_be_loaded_again_by_an_engine_that_lost_them(
    engine: FakeEngine,
) -> None:
    with EngineRollouts([engine.url], token=TOKEN, concurrency=4, wait_s=0.1) as engines:
        with pytest.raises(Unavailable, match="has lost the weights"):
            engines.note_sent("round-0001-i0000")
    assert engine.calls == []
