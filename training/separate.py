"""Full weights: policy, reference, value and reward model are models of their own.

What trains is float32, with matmuls in the recipe's dtype; what is frozen has that dtype. With several
processes (`training.parallel`) each model is sharded over them by FSDP2.
Shapes: B rows, T positions, D hidden size, N picked positions, V vocabulary.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from serving import artifact
from training import parallel
from training.attention import ATTENTION
from training.batches import Layout
from training.config import FullRecipe
from training.logprobs import token_logprobs
from training.models import POLICY, REFERENCE, ScalarHead

WEIGHTS = "model.safetensors"
_COPIED = ("*.json", "*.jinja", "*.txt", "*.model")  # config and tokenizer: a whole model to serve
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class SeparateModels:
    """Models with nothing in common but where they start."""

    def __init__(
        self,
        base_model: Path,
        *,
        recipe: FullRecipe,
        names: Sequence[str],
        frozen: Sequence[str],
        device: torch.device,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.recipe = recipe
        self._base_model = base_model
        self._compute = getattr(torch, recipe.dtype)
        self.heads: dict[str, ScalarHead] = {}
        self._decoders: dict[str, _Decoder] = {}
        self._weights: dict[str, dict[str, nn.Parameter]] = {}
        for name in names:
            self._add(name, is_frozen=name in frozen)

    # The forward pass

    def trunk(self, layout: Layout) -> Tensor:
        """Nothing is shared."""
        return layout.ids_BT

    def top(self, trunk_BT: Tensor, layout: Layout, *, name: str) -> Tensor:
        """Final hidden states [B, T, D] of one model."""
        with self._autocast():
            return self._decoders[name](trunk_BT, layout)

    def logprobs(
        self, hidden_ND: Tensor, *, targets_N: Tensor, name: str, temperature: float = 1.0
    ) -> Tensor:
        """By the model's own unembedding, which trains with it."""
        return token_logprobs(
            hidden_ND,
            unembedding_VD=self.unembedding(name).to(self._compute),
            targets_N=targets_N,
            temperature=temperature,
        )

    def unembedding(self, name: str) -> Tensor:
        """Sharded weights are whole between a forward pass and its backward pass (FSDP2's root)."""
        weight_VD: Tensor = self._decoders[name].unembedding.weight
        return weight_VD

    # Weights

    def parameters(self, name: str) -> dict[str, nn.Parameter]:
        """All weights of a model under their names in the base's files, and its head's."""
        found = dict(self._weights[name])
        if name in self.heads:
            found |= {f"head.{key}": p for key, p in self.heads[name].named_parameters()}
        return found

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of `parameters`; all processes must ask."""
        return {key: parallel.whole(p) for key, p in self.parameters(name).items()}

    def load_state(self, name: str, state: dict[str, Tensor]) -> None:
        parameters = self.parameters(name)
        if parameters.keys() != state.keys():
            odd = sorted(parameters.keys() ^ state.keys())[:3]
            raise ValueError(f"weights of {name!r} do not fit this recipe, for example {odd}")
        for key, parameter in parameters.items():
            parallel.copy_into(parameter, state[key])

    def save(self, name: str, folder: Path, *, state: dict[str, Tensor] | None = None) -> None:
        """A model folder in the base's dtypes, with its config and tokenizer. All processes must ask,
        the first one writes."""
        weights = self.state(name) if state is None else state
        if not parallel.is_first():
            return
        folder.mkdir(parents=True, exist_ok=True)
        base = artifact.tensors(self._base_model)
        tensors = {
            key: value.to(_DTYPES[base[key].dtype]).contiguous()
            for key, value in weights.items()
            if not key.startswith("head.")
        }
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        for pattern in _COPIED:
            for path in self._base_model.glob(pattern):
                if not path.name.endswith(".index.json") and path.name != artifact.MANIFEST:
                    shutil.copyfile(path, folder / path.name)

    def load(self, name: str, folder: Path) -> None:
        """What `save` wrote, one tensor in memory at a time; the head stays as it is."""
        missing = dict(self._weights[name])
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for key in sorted(missing.keys() & file.keys()):  # in all processes alike
                    parallel.copy_into(missing.pop(key), file.get_tensor(key))
        if missing:
            raise ValueError(f"{folder.name} holds no {min(missing)}: it is no model of this base")

    # Private

    def _add(self, name: str, *, is_frozen: bool) -> None:
        is_sharded = parallel.size() > 1
        make = _empty if is_sharded else AutoModelForCausalLM.from_pretrained
        causal_lm = make(
            self._base_model,
            dtype=self._compute if is_frozen else torch.float32,
            attn_implementation=ATTENTION,
        ).requires_grad_(not is_frozen)
        causal_lm.eval()  # no dropout, in training neither
        has_logprobs = name in (POLICY, REFERENCE)
        decoder = _Decoder(causal_lm, has_unembedding=has_logprobs)
        if self.recipe.gradient_checkpointing and not is_frozen:
            _checkpoint(decoder.layers)
        if not has_logprobs:
            self.heads[name] = ScalarHead(causal_lm.config.hidden_size).to(self.device)
            self.heads[name].requires_grad_(not is_frozen)
        names = {id(p): key for key, p in causal_lm.named_parameters()}
        places = {key: names[id(p)] for key, p in decoder.named_parameters()}
        if is_sharded:
            _shard(decoder, device=self.device, compute=self._compute)
        else:
            decoder.to(self.device)
        self._decoders[name] = decoder
        # Taken now: between forward and backward passes FSDP2 has whole tensors in the shards' place.
        self._weights[name] = {places[key]: p for key, p in decoder.named_parameters()}
        if is_sharded:
            self.load(name, self._base_model)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._compute == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._compute)


class _Decoder(nn.Module):
    """A causal language model up to its final hidden states, with the unembedding at hand."""

    def __init__(self, causal_lm: Any, *, has_unembedding: bool) -> None:
        super().__init__()
        self.inner = causal_lm.base_model
        if has_unembedding:
            self.unembedding = causal_lm.get_output_embeddings()

    @property
    def layers(self) -> nn.ModuleList:
        return self.inner.layers

    def forward(self, ids_BT: Tensor, layout: Layout) -> Tensor:
        return self.inner(
            input_ids=ids_BT,
            attention_mask=layout.mask_B1TT,
            position_ids=layout.positions_BT,
            use_cache=False,
        ).last_hidden_state


def _checkpoint(layers: nn.ModuleList) -> None:
    """transformers' own switch wants training mode, which means dropout."""
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def _empty(base_model: Path, **options: Any) -> Any:
    """A model whose weights are nowhere yet: no process has room for all of a large one."""
    config = AutoConfig.from_pretrained(base_model)
    with init_empty_weights(include_buffers=False):
        causal_lm = AutoModelForCausalLM.from_config(config, **options)
    causal_lm.tie_weights()  # empty weights are made one by one, the embedding's and its tied one too
    return causal_lm


def _shard(decoder: _Decoder, *, device: torch.device, compute: torch.dtype) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (parallel.size(),))
    precision = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    for layer in decoder.layers:
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    fully_shard(decoder, mesh=mesh, mp_policy=precision)
    for module in decoder.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # losses are shares of the whole batch: a sum
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    buffers = {name: buffer.clone() for name, buffer in decoder.named_buffers()}
    decoder.to_empty(device=device)  # the shards, whose values come from the base's files
    for name, buffer in decoder.named_buffers():
        buffer.copy_(buffers[name])
