from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from feedback.errors import Unprocessable
from serving import artifact
from serving.registry import PolicyRecord
from training import models
from training.config import load_recipe
from training.evaluation import policies
from training.models import POLICY
from training.rounds import Plan


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """--out of a `hone train ppo`, as far as it matters here."""
    model = models.load(
        tiny_folder,
        recipe=load_recipe("tiny").model,
        names=[POLICY],
        device=torch.device("cpu"),
        seed=0,
    )
    out = tmp_path_factory.mktemp("runs") / "ppo-1"
    model.save(POLICY, out / "ppo" / "candidate")
    plan = Plan(
        round_id="r",
        recipe="tiny",
        parent="policy-0000",
        parent_path=None,
        base_model=str(tiny_folder),
        engine_urls=[],
        seed=0,
        created=0.0,
    )
    (out / "round.json").write_text(json.dumps(asdict(plan)))
    return out


def test_what_hone_train_wrote_says_on_which_model_it_stands(run: Path, tiny_folder: Path) -> None:
    policy = policies.of_folder(run)
    assert (policy.label, policy.kind) == ("ppo-1", "adapter")
    assert policy.folder == run / "ppo" / "candidate"
    assert policy.base_model == tiny_folder.resolve()


def test_the_adapter_s_own_configuration_says_how_it_is_loaded(run: Path) -> None:
    wanted = load_recipe("tiny").model
    found = policies.adapter_recipe([policies.of_folder(run)])
    assert found.weights == wanted.weights
    for name in ("rank", "alpha", "num_adapted_layers"):
        assert getattr(found, name) == getattr(wanted, name)
    assert found.max_sequence_tokens == 512  # the tiny model's positions


def test_a_servable_copy_has_a_manifest_that_engines_accept(
    run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    served = policies.servable(policies.of_folder(run), tmp_path / "copy", version="evaluate-1")
    found = artifact.verify(served.folder, digest=served.digest, base_model=tiny_folder)
    assert (found.version, found.kind) == ("evaluate-1", "adapter")


def test_policies_that_cut_texts_otherwise_are_not_compared(
    tiny_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["new"] = 9999
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = [policies.of_folder(tiny_folder, label="one"), policies.of_folder(other)]
    with pytest.raises(Unprocessable, match="other tokenizers"):
        policies.check_alike(found)
    policies.check_alike([found[0], found[0]])


def test_a_version_of_the_registry_stands_on_the_registry_s_base(
    run: Path, tiny_folder: Path
) -> None:
    def record(version: str, kind: str, path: Path) -> PolicyRecord:
        return PolicyRecord(version=version, kind=kind, path=str(path), digest="d", created=0.0)

    base = record("policy-0000", "base", tiny_folder)
    adapter = record("policy-0001", "adapter", run / "ppo" / "candidate")
    found = policies.of_record(adapter, label="ppo", base=base)
    assert (found.label, found.version, found.kind) == ("ppo", "policy-0001", "adapter")
    assert found.base_model == tiny_folder.resolve()
    assert policies.of_record(base, label=None, base=base).kind == "full"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("sft=runs/sft", ("sft", "runs/sft")),
        ("production", (None, "production")),
        ("runs/a=b", (None, "runs/a=b")),
    ],
)
def test_a_label_stands_before_an_equals_sign(asked: str, found: tuple[str | None, str]) -> None:
    assert policies.parse(asked) == found
