from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from feedback.errors import Refused
from moderation import graph, onnx_file
from moderation.encoder import DIMENSIONS, Encoder, packaged_model

TEXTS = (
    "How do I bake bread?",
    "I hate those immigrants, they are vermin.",
    "The captain raised the sword and struck the stranger in the chest. " * 6,
)


@pytest.mark.parametrize("text", TEXTS)
def test_the_graph_says_what_the_packaged_file_says(text: str) -> None:
    model = Encoder()
    window = model.windows(text)[0]
    session = onnxruntime.InferenceSession(packaged_model(), providers=["CPUExecutionProvider"])
    tokens = np.array([[101, *window.ids, 102]], dtype=np.int64)
    feeds = {
        "input_ids": tokens,
        "attention_mask": np.ones_like(tokens),
        "token_type_ids": np.zeros_like(tokens),
    }
    (hidden,) = session.run(["last_hidden_state"], feeds)
    theirs, ours = hidden[0].mean(axis=0), model.pooled(window)[:DIMENSIONS]
    # What comes into a product is rounded to 8 bits: near, not equal.
    assert theirs @ ours / np.linalg.norm(theirs) / np.linalg.norm(ours) > 0.98


def test_a_window_has_the_same_vector_whatever_was_read_before() -> None:
    model = Encoder()
    window = model.windows(TEXTS[0])[0]
    first = model.pooled(window)
    model.pooled(model.windows(TEXTS[2])[0])
    assert np.array_equal(model.pooled(window), first)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x3a\xff\xff\xff\xff\xff"])
def test_another_file_is_refused_with_the_setting(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(Refused, match="HONE_MODERATION_ENCODER"):
        graph.packaged(file)


def test_a_model_without_weights_inside_runs_with_those_it_is_given() -> None:
    weights = {"by": np.array([2.0, 3.0], dtype=np.float32)}
    model = onnx_file.model(
        [
            onnx_file.node("Cast", ["in"], ["floats"], to=1),
            onnx_file.node("Mul", ["floats", "by"], ["out"]),
        ],
        weights=weights,
        inputs={"in": ["N", 2]},
        outputs={"out": ["N", 2]},
    )
    options = onnxruntime.SessionOptions()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"in": np.array([[1, 1], [2, -2]])})
    assert out.tolist() == [[2.0, 3.0], [4.0, -6.0]]
