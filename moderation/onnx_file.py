"""ONNX files without the `onnx` package: tensors of one, and the bytes of a small new one.

Both are protobuf messages; only the fields that are needed here are known (numbers from onnx.proto,
IR version 9). A new file holds no weights: the session gets them from memory. Not by the `onnx`
package: heads are bound to a digest over these bytes, which would change with its releases.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MICROSOFT = "com.microsoft"  # onnxruntime's own operators

Array = npt.NDArray[Any]

_OPSETS = (("", 18), (MICROSOFT, 1))
_IR_VERSION = 9
_KINDS: Mapping[int, type] = {1: np.float32, 3: np.int8, 7: np.int64}  # TensorProto.DataType
_NUMBERS = {np.dtype(kind): number for number, kind in _KINDS.items()} | {np.dtype(np.uint8): 2}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def tensors(file: Path) -> dict[str, Array]:
    """The weights of an ONNX file, by name: views of the mapped file. Other types are left out.

    Raises ValueError where the file is no ONNX file.
    """
    found = {}
    with file.open("rb") as content:
        if not file.stat().st_size:
            raise ValueError("an empty file")
        # The arrays keep the map open.
        view = memoryview(mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ))
    for _, graph in _fields(view, only=7):  # ModelProto.graph
        for _, tensor in _fields(graph, only=5):  # GraphProto.initializer
            name, array = _tensor(tensor)
            if array is not None:
                found[name] = array
    return found


def model(
    nodes: Sequence[bytes],
    *,
    weights: Mapping[str, Array],
    inputs: Mapping[str, Sequence[str | int]],
    outputs: Mapping[str, Sequence[str | int]],
) -> bytes:
    """The bytes of a model whose weights are given to the session by name.

    `inputs` are int64, `outputs` float32; their dimensions are names or numbers.
    """
    graph = b"".join(
        [
            *(_block(1, node) for node in nodes),
            _block(2, b"graph"),
            *(_block(5, _outside(name, array)) for name, array in weights.items()),
            *(_block(11, _value(name, 7, dims)) for name, dims in inputs.items()),
            *(_block(12, _value(name, 1, dims)) for name, dims in outputs.items()),
        ]
    )
    opsets = [
        _block(8, _block(1, domain.encode()) + _number(2, version)) for domain, version in _OPSETS
    ]
    return _number(1, _IR_VERSION) + b"".join(opsets) + _block(7, graph)


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    domain: str = "",
    **attributes: int | float,
) -> bytes:
    """One operation."""
    return b"".join(
        [
            *(_block(1, name.encode()) for name in inputs),
            *(_block(2, name.encode()) for name in outputs),
            _block(4, operator.encode()),
            *(_block(5, _attribute(name, value)) for name, value in attributes.items()),
            _block(7, domain.encode()),
        ]
    )


def _attribute(name: str, value: int | float) -> bytes:
    if isinstance(value, float):
        content = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value) + _number(20, 1)
    else:
        content = _number(3, value) + _number(20, 2)
    return _block(1, name.encode()) + content


def _outside(name: str, array: Array) -> bytes:
    """A TensorProto whose data is elsewhere; onnxruntime asks for a place, and never looks there."""
    place = _block(1, b"location") + _block(2, b"memory")
    dims = b"".join(_number(1, size) for size in array.shape)
    about = _number(2, _NUMBERS[array.dtype]) + _block(8, name.encode())
    return dims + about + _block(13, place) + _number(14, 1)


def _value(name: str, kind: int, dims: Sequence[str | int]) -> bytes:
    shape = b"".join(
        _block(1, _number(1, dim) if isinstance(dim, int) else _block(2, dim.encode()))
        for dim in dims
    )
    tensor = _number(1, kind) + _block(2, shape)
    return _block(1, name.encode()) + _block(2, _block(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _tensor(message: memoryview) -> tuple[str, Array | None]:
    dims, kind, name = [], 0, ""
    raw: memoryview | None = None
    for field, content in _fields(message):
        if field == 1 and isinstance(content, int):
            dims.append(content)
        elif field == 1:
            dims += _packed(content)
        elif field == 2:
            kind = content
        elif field == 8:
            name = bytes(content).decode()
        elif field == 9:
            raw = content
    if raw is None or kind not in _KINDS:
        return name, None
    return name, np.frombuffer(raw, dtype=_KINDS[kind]).reshape(dims)


def _packed(content: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(content):
        number, at = _read_varint(content, at)
        numbers.append(number)
    return numbers


def _fields(message: memoryview, *, only: int | None = None) -> Iterator[tuple[int, Any]]:
    """Field number and content: a number, or the bytes of what may be a message."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        field, wire = key >> 3, key & 7
        content: Any
        if wire == _VARINT:
            content, at = _read_varint(message, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
            if wire == _BYTES:
                size, at = _read_varint(message, at)
            if size < 0 or at + size > len(message):
                raise ValueError("not an ONNX file")
            content = message[at : at + size]
            at += size
        if only in (None, field):
            yield field, content


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("not an ONNX file")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
