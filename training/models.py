"""Policy, reference, value and reward model, as one object that trains and scores.

Two classes have this interface: `shared.SharedModel` (adapters on one frozen base) and
`separate.SeparateModels` (full weights, one model each).
Shapes: B rows, T positions, D hidden size, N picked positions, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from training.batches import Layout
from training.config import AdapterRecipe, FullRecipe, ModelRecipe

POLICY = "policy"
REFERENCE = "reference"
VALUE = "value"
REWARD = "reward"


class Models(Protocol):
    """What training needs of its models. A model is named by one of the constants above."""

    device: torch.device
    heads: dict[str, ScalarHead]  # of the value and the reward model

    @property
    def recipe(self) -> ModelRecipe: ...

    def trunk(self, layout: Layout) -> Tensor:
        """What the models have in common, one row per row: hidden states [B, T, D], or the ids [B, T]
        where they have nothing in common."""

    def top(self, trunk_BT: Tensor, layout: Layout, *, name: str) -> Tensor:
        """Final hidden states [B, T, D] of one model, from `trunk` of the same layout."""

    def logprobs(
        self, hidden_ND: Tensor, *, targets_N: Tensor, name: str, temperature: float = 1.0
    ) -> Tensor:
        """Log-probabilities [N], nats, of the tokens that follow N positions of one model."""

    def unembedding(self, name: str) -> Tensor:
        """[V, D], of the policy or the reference, after a forward pass of it."""

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """What trains in one model."""

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of `parameters`, for a checkpoint."""

    def load_state(self, name: str, state: dict[str, Tensor]) -> None:
        """What `state` gave. Raises ValueError for weights of another recipe."""

    def save(self, name: str, folder: Path, *, state: dict[str, Tensor] | None = None) -> None:
        """A folder that vLLM loads; `state` instead of the current weights if given. No head."""

    def load(self, name: str, folder: Path) -> None:
        """What `save` wrote; the head stays as it is."""


class ScalarHead(nn.Module):
    """One number per position instead of the unembedding. Variance 1/(D+1) at the start (RECIPE, trap 8)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden_size) * (hidden_size + 1) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden_ND: Tensor) -> Tensor:
        return (hidden_ND.float() * self.weight).sum(-1) + self.bias


def load(
    base_model: Path,
    *,
    recipe: AdapterRecipe | FullRecipe,
    names: Sequence[str],
    device: torch.device,
    seed: int,
    frozen: Sequence[str] = (),
    has_reference: bool = True,
) -> Models:
    """The models of `names` from a local folder; they start as the base. The reference comes with the
    policy, if it is wanted; as an adapter's base it is there anyway. Those in `frozen` only score, which
    saves memory where they have weights of their own."""
    if isinstance(recipe, AdapterRecipe):
        from training import shared

        return shared.load(base_model, recipe=recipe, adapters=names, device=device, seed=seed)
    from training import separate

    if POLICY in names and has_reference:
        names, frozen = [*names, REFERENCE], [*frozen, REFERENCE]
    return separate.SeparateModels(
        base_model, recipe=recipe, names=names, frozen=frozen, device=device, seed=seed
    )


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; of several processes on a machine each has its own GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    return torch.device(name)
