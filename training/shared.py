"""Policy, reference, value and reward model: four models for the memory of one.

Each is a LoRA adapter (float32) on the upper layers of one frozen base; the reference is the base with
no adapter. The layers below (the trunk) are the same for all four, so they run once per batch.
Shapes: B rows, T positions, D hidden size, N picked positions, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM

from training import parallel
from training.attention import ATTENTION
from training.batches import Layout, rows
from training.config import AdapterRecipe
from training.logprobs import token_logprobs
from training.models import POLICY, REFERENCE, ScalarHead

ADAPTER_WEIGHTS = "adapter_model.safetensors"


class SharedModel:
    """One frozen base, its adapters and scalar heads."""

    def __init__(
        self,
        causal_lm: Any,  # a transformers causal language model
        *,
        recipe: AdapterRecipe,
        adapters: Sequence[str],
        device: torch.device,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.recipe = recipe
        inner = causal_lm.base_model
        self.unembedding_VD: Tensor = causal_lm.get_output_embeddings().weight.detach().to(device)
        num_layers: int = causal_lm.config.num_hidden_layers
        self.num_trunk_layers = max(0, num_layers - recipe.num_adapted_layers)
        self._lora = _lora_config(recipe, range(self.num_trunk_layers, num_layers))
        self._peft = peft.get_peft_model(causal_lm.to(device), self._lora, adapter_name=adapters[0])
        for name in adapters[1:]:
            self._peft.add_adapter(name, self._lora)
        self._peft.eval()  # no dropout, in training neither
        self._tuned = [m for m in inner.modules() if isinstance(m, BaseTunerLayer)]
        for layer in self._tuned:
            layer.cast_input_dtype_enabled = (
                False  # autocast casts; PEFT would cast to fp32 and back
            )
        hidden_size: int = self.unembedding_VD.shape[1]
        self.heads = {
            name: ScalarHead(hidden_size).to(device) for name in adapters if name != POLICY
        }
        self._activate(REFERENCE)
        if recipe.gradient_checkpointing:
            for layer in inner.layers[self.num_trunk_layers :]:
                layer.forward = self._checkpointed(layer.forward)
        self._body = _split(inner, self.num_trunk_layers) or _Whole(inner)

    @property
    def shares_trunk(self) -> bool:
        """False where the architecture cannot be cut in two and each model runs whole."""
        return isinstance(self._body, _Split)

    # The forward pass

    @torch.no_grad()
    def trunk(self, layout: Layout) -> Tensor:
        """What the four models have in common, one row per row: hidden states [B, T, D] (or ids)."""
        self._activate(REFERENCE)
        with self._autocast():
            return self._body.trunk(layout)

    def top(self, trunk_BT: Tensor, layout: Layout, *, name: str) -> Tensor:
        """Final hidden states [B, T, D] of one model, from `trunk` of the same layout."""
        self._activate(name)
        with self._autocast():
            return self._body.top(trunk_BT, layout)

    def logprobs(
        self, hidden_ND: Tensor, *, targets_N: Tensor, name: str, temperature: float = 1.0
    ) -> Tensor:
        """All of them share the base's unembedding."""
        return token_logprobs(
            hidden_ND,
            unembedding_VD=self.unembedding_VD,
            targets_N=targets_N,
            temperature=temperature,
        )

    def unembedding(self, name: str) -> Tensor:
        """The base's, for all of them."""
        return self.unembedding_VD

    # Weights

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """What trains in one model: its adapter and, but for the policy, its head."""
        marker = f".{name}."
        found = {
            key.replace(marker, "."): parameter
            for key, parameter in self._peft.named_parameters()
            if marker in key and "lora_" in key
        }
        if name in self.heads:
            found |= {f"head.{key}": p for key, p in self.heads[name].named_parameters()}
        return found

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of `parameters`, for a checkpoint."""
        return {key: p.detach().cpu().clone() for key, p in self.parameters(name).items()}

    @torch.no_grad()
    def load_state(self, name: str, state: dict[str, Tensor]) -> None:
        parameters = self.parameters(name)
        if parameters.keys() != state.keys():
            odd = sorted(parameters.keys() ^ state.keys())[:3]
            raise ValueError(f"weights of {name!r} do not fit this recipe, for example {odd}")
        for key, parameter in parameters.items():
            parameter.copy_(state[key])

    def save(self, name: str, folder: Path, *, state: dict[str, Tensor] | None = None) -> None:
        """A PEFT folder that vLLM and PEFT load; `state` instead of the current weights if given."""
        if not parallel.is_first():
            return
        folder.mkdir(parents=True, exist_ok=True)
        weights = state or self.state(name)
        tensors = {k: v.contiguous() for k, v in weights.items() if not k.startswith("head.")}
        save_file(tensors, folder / ADAPTER_WEIGHTS)
        config = copy.copy(self._lora)
        config.inference_mode = True
        config.target_modules = sorted(config.target_modules)  # a set would give ever new digests
        config.base_model_name_or_path = None  # policy.json names the base by digest, not by path
        config.save_pretrained(str(folder))

    def load(self, name: str, folder: Path) -> None:
        """The adapter of a published version, made by `save` with the same recipe."""
        heads = {k: v for k, v in self.state(name).items() if k.startswith("head.")}
        self.load_state(name, load_file(folder / ADAPTER_WEIGHTS) | heads)

    # Private

    def _checkpointed(self, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Recompute a layer's activations in the backward pass, with the adapter of the forward pass:
        another one may be active by then."""

        def run(name: str, *inputs: Any, **options: Any) -> Tensor:
            active = self._active
            self._activate(name)
            hidden_BTD = forward(*inputs, **options)
            self._activate(active)
            return hidden_BTD

        return lambda *inputs, **options: checkpoint(
            run, self._active, *inputs, use_reentrant=False, **options
        )

    def _activate(self, name: str) -> None:
        self._active = name
        for layer in self._tuned:
            if name == REFERENCE:
                layer.enable_adapters(False)
            else:
                layer.set_adapter(name)
                layer.enable_adapters(True)
            # PEFT switches gradients off for the others; ours may still wait for a backward pass.
            for part in layer.adapter_layer_names:
                getattr(layer, part).requires_grad_(True)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.recipe.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def load(
    base_model: Path,
    *,
    recipe: AdapterRecipe,
    adapters: Sequence[str],
    device: torch.device,
    seed: int,
) -> SharedModel:
    """The frozen base from a local folder or a hub name, with fresh adapters that change nothing yet."""
    causal_lm = AutoModelForCausalLM.from_pretrained(
        base_model, dtype=getattr(torch, recipe.dtype), attn_implementation=ATTENTION
    )
    return SharedModel(causal_lm, recipe=recipe, adapters=adapters, device=device, seed=seed)


def _lora_config(recipe: AdapterRecipe, layers: range) -> peft.LoraConfig:
    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(recipe.target_modules),
        layers_to_transform=list(layers),
    )


class _Split:
    """The decoder cut in two: views on the same layers, no weight is copied."""

    def __init__(self, trunk: nn.Module, top: nn.Module) -> None:
        self._trunk = trunk
        self._top = top

    def trunk(self, layout: Layout) -> Tensor:
        return _run(self._trunk, layout, input_ids=layout.ids_BT)

    def top(self, trunk_BT: Tensor, layout: Layout) -> Tensor:
        return _run(self._top, layout, inputs_embeds=trunk_BT)


class _Whole:
    """An architecture that does not split: the trunk is nothing, the top is everything."""

    def __init__(self, inner: nn.Module) -> None:
        self._inner = inner

    def trunk(self, layout: Layout) -> Tensor:
        return layout.ids_BT

    def top(self, trunk_BT: Tensor, layout: Layout) -> Tensor:
        return _run(self._inner, layout, input_ids=trunk_BT)


def _run(module: nn.Module, layout: Layout, **inputs: Tensor) -> Tensor:
    return module(
        attention_mask=layout.mask_B1TT,
        position_ids=layout.positions_BT,
        use_cache=False,
        **inputs,
    ).last_hidden_state


def _split(inner: Any, cut: int) -> _Split | None:
    """Two views, or None if the architecture has other parts or the halves do not make the whole.

    The check is a forward pass, not a list of architectures: some scale their embeddings on entry,
    which would happen twice.
    """
    if not (hasattr(inner, "layers") and hasattr(inner, "norm")):
        return None
    body = _Split(_view(inner, 0, cut), _view(inner, cut, len(inner.layers)))
    probe = rows([range(1, 9)] * 2).to(next(inner.parameters()).device)
    with torch.no_grad():
        whole = _Whole(inner).top(probe.ids_BT, probe)
        halves = body.top(body.trunk(probe), probe)
    return body if torch.allclose(whole, halves, rtol=1e-2, atol=1e-2) else None


def _view(inner: Any, start: int, stop: int) -> nn.Module:
    view = copy.copy(inner)
    view._modules = dict(inner._modules)
    view.layers = inner.layers[start:stop]
    if stop < len(inner.layers):
        view.norm = nn.Identity()
    view.config = copy.copy(inner.config)
    view.config.num_hidden_layers = stop - start
    if getattr(inner.config, "layer_types", None):
        view.config.layer_types = inner.config.layer_types[start:stop]
    return view
