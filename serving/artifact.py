"""A policy version on disk: a folder of safetensors and JSON with a manifest, `policy.json`.

`verify` says whether a folder may be loaded over a base model, without loading it and without
torch:
vLLM's reload is not transactional, and a bad checkpoint kills its engine core, so everything that
can
be known beforehand is. What the numbers hold (NaN) is checked by serving.in_vllm.weights in the engine.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from feedback.errors import Refused

MANIFEST = "policy.json"
CARD = "README.md"  # for people; no part of what was judged, so it may be written anew
_EXECUTABLE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so", ".npy", ".npz"}
_ADAPTER_PREFIX = "base_model.model."
_LAYER = re.compile(r"\.layers\.(\d+)\.")
_FLOATS = {"F32", "F16", "BF16"}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`policy.json`. Written last, by the publisher."""

    version: str
    kind: str  # "adapter" over the base, or "full" weights
    base_digest: str  # digest of the base model's weights
    parent: str | None  # the version training started from
    created: float  # unix seconds
    files: dict[str, str]  # file name -> SHA-256
    lineage: dict[str, Any] = field(default_factory=dict)  # round, snapshot, recipe, figures

    @property
    def digest(self) -> str:
        """Identity of the weights: a hash over the files' hashes."""
        return _digest(self.files)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One entry of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]


def write_manifest(
    folder: Path,
    *,
    version: str,
    kind: str,
    parent: str | None,
    base_digest: str,
    lineage: dict[str, Any] | None = None,
) -> Manifest:
    """Hash every file of a folder and write `policy.json`, last and atomically."""
    manifest = Manifest(
        version=version,
        kind=kind,
        base_digest=base_digest,
        parent=parent,
        created=time.time(),
        files={path.name: _sha256(path) for path in _files(folder)},
        lineage=lineage or {},
    )
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(asdict(manifest), indent=1))
    partial.rename(folder / MANIFEST)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises Refused when there is none or it cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise Refused(
            f"{folder.name} holds no {MANIFEST}: publishing did not finish, or this is no policy"
        )
    try:
        return Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise Refused(f"{folder.name}/{MANIFEST} cannot be read: {error}") from error


def base_digest(folder: Path) -> str:
    """Digest of a base model: over its safetensors files only, so that a README does not change
    it."""
    return _digest({path.name: _sha256(path) for path in sorted(folder.glob("*.safetensors"))})


def verify(
    folder: Path,
    *,
    digest: str | None,
    base_model: Path,
    expected_base_digest: str | None = None,
    max_lora_rank: int = 16,
    lora_target_modules: Iterable[str] | None = None,
) -> Manifest:
    """Check files, hashes, tensor names, shapes and dtypes against the base. Raises Refused with
    the
    reason; returns the manifest."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if digest is not None and manifest.digest != digest:
        raise Refused(
            f"{manifest.version}: digest is {manifest.digest[:12]}…, {digest[:12]}… was asked for"
        )
    if expected_base_digest is not None and manifest.base_digest != expected_base_digest:
        raise Refused(
            f"{manifest.version} was trained over base {manifest.base_digest[:12]}…, "
            f"this engine runs {expected_base_digest[:12]}…"
        )
    base = tensors(base_model)
    found = tensors(folder)
    if manifest.kind == "adapter":
        wanted = _adapter_tensors(folder, base, max_lora_rank, lora_target_modules)
        _compare(manifest.version, found, wanted, dtypes=None)
    elif manifest.kind == "full":
        _compare(manifest.version, found, {name: t.shape for name, t in base.items()}, dtypes=base)
    else:
        raise Refused(f"{manifest.version}: kind {manifest.kind!r} is neither 'adapter' nor 'full'")
    return manifest


def tensors(folder: Path) -> dict[str, Tensor]:
    """Names, dtypes and shapes of all safetensors in a folder. Raises Refused for a broken file."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update(_header(path))
    if not found:
        raise Refused(f"{folder.name} holds no safetensors file")
    return found


def _header(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise Refused(f"{path.name} is truncated: {size} bytes")
        try:
            entries = json.loads(file.read(length))
        except ValueError as error:
            raise Refused(f"{path.name} is no safetensors file") from error
    entries.pop("__metadata__", None)
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if 8 + length + end != size:
        raise Refused(
            f"{path.name} is truncated: {size} bytes, its header promises {8 + length + end}"
        )
    return {
        name: Tensor(dtype=entry["dtype"], shape=tuple(entry["shape"]))
        for name, entry in entries.items()
    }


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises Refused unless the folder holds the manifest's files, as they were, and no others."""
    paths = {path.name: path for path in _files(folder)}
    if CARD in manifest.files:  # of a folder that was made elsewhere
        paths[CARD] = folder / CARD
    for name in sorted(paths):
        if Path(name).suffix in _EXECUTABLE:
            raise Refused(
                f"{manifest.version}: {name} could run code when loaded; only safetensors and JSON"
            )
    if missing := sorted(name for name in manifest.files if not (folder / name).is_file()):
        raise Refused(f"{manifest.version}: {missing[0]} is missing")
    if extra := sorted(set(paths) - set(manifest.files)):
        raise Refused(f"{manifest.version}: {extra[0]} is not in {MANIFEST}")
    for name, path in paths.items():
        if path.suffix == ".safetensors":
            _header(path)  # "truncated" says more than "wrong digest"
        if _sha256(path) != manifest.files[name]:
            raise Refused(f"{manifest.version}: the digest of {name} is not the one in {MANIFEST}")


def _adapter_tensors(
    folder: Path,
    base: dict[str, Tensor],
    max_rank: int,
    allowed: Iterable[str] | None,
) -> dict[str, tuple[int, ...]]:
    """The tensors that `adapter_config.json` promises, with their shapes."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        rank, targets = int(config["r"]), set(config["target_modules"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{folder.name}/adapter_config.json cannot be read: {error}") from error
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("modules_to_save"):
        raise Refused(f"{folder.name}: only plain LoRA adapters can be served")
    if config.get("bias", "none") != "none":
        raise Refused(f"{folder.name}: an adapter with biases cannot be served")
    if not 1 <= rank <= max_rank:
        raise Refused(f"{folder.name}: rank {rank}, the engine takes up to {max_rank}")
    if allowed is not None and not targets <= set(allowed):
        raise Refused(
            f"{folder.name}: adapts {sorted(targets - set(allowed))}, the engine takes {sorted(allowed)}"
        )
    layers = config.get("layers_to_transform")
    wanted: dict[str, tuple[int, ...]] = {}
    for name, tensor in base.items():
        module = name.removesuffix(".weight")
        layer = _LAYER.search(name)
        if module.rsplit(".", 1)[-1] not in targets or len(tensor.shape) != 2:
            continue
        if layers is not None and (layer is None or int(layer.group(1)) not in layers):
            continue
        out_features, in_features = tensor.shape
        wanted[f"{_ADAPTER_PREFIX}{module}.lora_A.weight"] = (rank, in_features)
        wanted[f"{_ADAPTER_PREFIX}{module}.lora_B.weight"] = (out_features, rank)
    if not wanted:
        raise Refused(f"{folder.name}: adapts no module of the base model")
    return wanted


def _compare(
    version: str,
    found: dict[str, Tensor],
    wanted: dict[str, tuple[int, ...]],
    *,
    dtypes: dict[str, Tensor] | None,
) -> None:
    if missing := sorted(set(wanted) - set(found)):
        raise Refused(f"{version}: tensor {missing[0]} is missing ({len(missing)} in all)")
    if extra := sorted(set(found) - set(wanted)):
        raise Refused(
            f"{version}: tensor {extra[0]} is unknown to the base model ({len(extra)} in all)"
        )
    for name, tensor in found.items():
        if tensor.shape != wanted[name]:
            raise Refused(f"{version}: {name} has shape {tensor.shape}, {wanted[name]} is needed")
        if dtypes is not None and tensor.dtype != dtypes[name].dtype:
            raise Refused(
                f"{version}: {name} is {tensor.dtype}, the base model is {dtypes[name].dtype}"
            )
        if tensor.dtype not in _FLOATS:
            raise Refused(f"{version}: {name} is {tensor.dtype}, a float is needed")


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name not in (MANIFEST, CARD) and path.suffix != ".partial"
    )


def _digest(files: dict[str, str]) -> str:
    lines = "".join(f"{name}:{value}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
