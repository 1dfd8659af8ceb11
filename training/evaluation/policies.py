"""What `hone evaluate` was asked to look at: a version, an alias, a folder; and the model it stands on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feedback.errors import NotFound, Unprocessable
from serving import artifact
from serving.registry import BASE, PolicyRecord
from training import models
from training.config import AdapterRecipe
from training.evaluation.likelihood import Scorer
from training.models import POLICY, REFERENCE
from training.rollouts import Served
from training.rounds import read_plan
from training.settings import TrainingSettings
from training.texts import Texts

_ADAPTER, _TOKENIZER = "adapter_config.json", "tokenizer.json"
_MAX_TOKENS = 1536  # of a prompt with its answer, where the model can: few-shot prompts are long
_TOKENS_PER_PASS = 2048
_TRAINED = (
    "ppo/candidate",
    "sft/model",
    "ppo_init/model",
)  # of a `hone train --out`, in this order


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A column of the report."""

    label: str
    version: str  # in the registry; of a folder its label
    kind: Literal["full", "adapter"]
    folder: Path
    base_model: Path  # the folder itself, of full weights
    digest: str
    is_prompted: bool = False  # behind the prefix that shows what is wanted


def parse(asked: str) -> tuple[str | None, str]:
    """`LABEL=POLICY` or `POLICY`."""
    label, found, name = asked.partition("=")
    return (label, name) if found and "/" not in label else (None, asked)


def of_folder(folder: Path, *, label: str | None = None, base_model: Path | None = None) -> Policy:
    """A model's folder, an adapter's, or what `hone train` wrote. Raises NotFound, Unprocessable."""
    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder; a policy is a version, an alias or a folder")
    trained = next((folder / name for name in _TRAINED if (folder / name).is_dir()), folder)
    label = label or folder.name
    if not (trained / _ADAPTER).exists():
        if not (trained / "config.json").exists():
            raise Unprocessable(f"{folder} holds neither a model nor an adapter")
        return _policy(label, label, trained, base_model=trained)
    base = base_model or _base_of(trained)
    if base is None:
        raise Unprocessable(
            f"{trained} is an adapter, and does not say of which model: name the model with --base"
        )
    return _policy(label, label, trained, base_model=base)


def of_record(record: PolicyRecord, *, label: str | None, base: PolicyRecord) -> Policy:
    """A version of the registry; its folder must be on this machine. Raises NotFound."""
    folder = Path(record.path)
    if not folder.is_dir():
        raise NotFound(f"{record.version} lies in {folder}, which is not on this machine")
    base_model = Path(base.path) if record.kind == "adapter" else folder
    return _policy(label or record.version, record.version, folder, base_model=base_model)


def check_alike(policies: Sequence[Policy]) -> None:
    """They cut texts into the same tokens, or losses per token could not be compared. Raises Unprocessable."""
    first = policies[0].base_model / _TOKENIZER
    for policy in policies:
        other = policy.base_model / _TOKENIZER
        if first.exists() and other.exists() and _vocabulary(first) != _vocabulary(other):
            raise Unprocessable(
                f"{policies[0].label} and {policy.label} have other tokenizers: their losses per token cannot be "
                "compared; evaluate them in runs of their own"
            )


def adapter_recipe(policies: Sequence[Policy]) -> AdapterRecipe:
    """What holds all of these adapters; of full weights alone, the smallest there is."""
    configs = [
        json.loads((policy.folder / _ADAPTER).read_text())
        for policy in policies
        if policy.kind == "adapter"
    ]
    shapes = {
        (c["r"], c["lora_alpha"], tuple(sorted(c["target_modules"])), len(_layers(c)))
        for c in configs
    } or {(1, 1.0, ("o_proj",), 1)}
    if len(shapes) > 1:
        raise Unprocessable(
            "adapters of different shapes over one model: evaluate them in runs of their own"
        )
    ((rank, alpha, modules, num_layers),) = shapes
    return AdapterRecipe(
        weights="adapter",
        dtype="bfloat16",
        gradient_checkpointing=False,
        num_adapted_layers=num_layers,
        target_modules=modules,
        rank=rank,
        alpha=alpha,
        max_sequence_tokens=min(_MAX_TOKENS, *map(_positions, policies)),
        tokens_per_pass=_TOKENS_PER_PASS,
    )


def open_scorer(policy: Policy, *, prefix: str = "") -> Scorer:
    """The policy's own log-probabilities, by the trainer's forward pass."""
    model = models.load(
        policy.base_model,
        recipe=adapter_recipe([policy]),
        names=[POLICY],
        frozen=[POLICY],
        device=models.resolve_device(TrainingSettings().device),
        seed=0,
    )
    texts = Texts(policy.base_model)
    if policy.kind == "full":
        return Scorer(model, name=REFERENCE, texts=texts, prefix=prefix)
    model.load(POLICY, policy.folder)
    return Scorer(model, name=POLICY, texts=texts, prefix=prefix)


def servable(policy: Policy, folder: Path, *, version: str) -> Served:
    """A copy of an adapter under a name that no engine has seen, with the manifest that engines want."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(policy.folder, folder, ignore=shutil.ignore_patterns(artifact.MANIFEST))
    manifest = artifact.write_manifest(
        folder,
        version=version,
        kind="adapter",
        parent=BASE,
        base_digest=artifact.base_digest(policy.base_model),
    )
    return Served(version=version, folder=folder, digest=manifest.digest)


def _policy(label: str, version: str, folder: Path, *, base_model: Path) -> Policy:
    is_adapter = (folder / _ADAPTER).exists()
    has_manifest = (folder / artifact.MANIFEST).is_file()
    return Policy(
        label=label,
        version=version,
        kind="adapter" if is_adapter else "full",
        folder=folder.resolve(),
        base_model=base_model.resolve(),
        digest=(
            artifact.read_manifest(folder).digest if has_manifest else artifact.base_digest(folder)
        ),
    )


def _base_of(folder: Path) -> Path | None:
    """What the run that wrote the adapter started from."""
    for parent in folder.parents:
        if (parent / "round.json").is_file():
            return Path(read_plan(parent).base_model)
    return None


def _vocabulary(path: Path) -> Any:
    return json.loads(path.read_text())["model"]


def _positions(policy: Policy) -> int:
    config = json.loads((policy.base_model / "config.json").read_text())
    return int(config.get("max_position_embeddings", _MAX_TOKENS))


def _layers(config: dict[str, list[int]]) -> list[int]:
    layers = config.get("layers_to_transform")
    if not layers:
        raise Unprocessable("an adapter on all layers says so in layers_to_transform here")
    return layers
