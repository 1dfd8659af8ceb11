"""Hashed words and word pairs, weighted by TF-IDF, and logistic regression on them. Numpy.

Shapes: N texts, V buckets of the hash, C categories, Z non-zero values of all texts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moderation.lexicon import words

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

NUM_BUCKETS = 1 << 17
NUM_STEPS = 60
LEARNING_RATE = 0.2
L2 = 2e-6


@dataclass(frozen=True, kw_only=True)
class Table:
    """The fitted regression; `idf_V` is 0 where the training texts had no such word."""

    idf_V: Floats
    weights_VC: Floats
    bias_C: Floats

    def logits(self, text: str) -> Floats:
        """(C,) log-odds."""
        bucket_Z, count_Z = np.unique(buckets(text), return_counts=True)
        value_Z = weighted(count_Z, self.idf_V[bucket_Z])
        logits_C: Floats = value_Z @ self.weights_VC[bucket_Z] + self.bias_C
        return logits_C


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """N texts as rows of (V,), of unit length."""

    bucket_Z: Indices
    value_Z: Floats
    row_Z: Indices  # ascending
    num_rows: int


def buckets(text: str) -> Indices:
    """The bucket of every word and pair of neighbours."""
    found = words(text)
    pairs = [f"{left} {right}" for left, right in zip(found, found[1:], strict=False)]
    # CRC-32 is the same on every machine; Python's own hash is not.
    return np.array(
        [zlib.crc32(gram.encode()) % NUM_BUCKETS for gram in (*found, *pairs)], dtype=np.int64
    )


def weighted(count_Z: npt.NDArray[np.int64], idf_Z: Floats) -> Floats:
    """Counts damped by the logarithm, times IDF, at unit length."""
    value_Z = ((1.0 + np.log(count_Z)) * idf_Z).astype(np.float32)
    return value_Z / max(float(np.sqrt((value_Z**2).sum())), 1e-6)


def inverse_frequency(counted: Sequence[Indices]) -> Floats:
    """(V,) IDF over texts' buckets; 0 for a bucket in fewer than two texts."""
    texts_V = np.zeros(NUM_BUCKETS)
    for found in counted:
        texts_V[np.unique(found)] += 1
    idf_V = np.log((1 + len(counted)) / (1 + texts_V)) + 1.0
    return np.where(texts_V >= 2, idf_V, 0.0).astype(np.float32)


def sparse(counted: Sequence[Indices], *, idf_V: Floats) -> Sparse:
    """The rows of texts' buckets."""
    # Also of no texts at all.
    bucket, value, row = [np.empty(0, np.int64)], [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for index, found in enumerate(counted):
        bucket_Z, count_Z = np.unique(found, return_counts=True)
        bucket.append(bucket_Z)
        value.append(weighted(count_Z, idf_V[bucket_Z]))
        row.append(np.full(len(bucket_Z), index))
    return Sparse(
        bucket_Z=np.concatenate(bucket),
        value_Z=np.concatenate(value),
        row_Z=np.concatenate(row),
        num_rows=len(counted),
    )


def fit(
    rows: Sparse, labels_NC: Floats, known_NC: Floats, *, weights_N: Floats, idf_V: Floats
) -> Table:
    """Full-batch Adam, category by category; a label counts where `known_NC` is 1."""
    num_categories = labels_NC.shape[1]
    weights_VC = np.zeros((NUM_BUCKETS, num_categories), dtype=np.float32)
    bias_C = np.zeros(num_categories, dtype=np.float32)
    for category in range(num_categories):
        importance_N = weights_N * known_NC[:, category]
        weights_VC[:, category], bias_C[category] = _fit_one(
            _only(rows, importance_N > 0),
            labels_NC[:, category],
            importance_N / importance_N.sum(),
        )
    return Table(idf_V=idf_V, weights_VC=weights_VC, bias_C=bias_C)


def _only(rows: Sparse, chosen_N: npt.NDArray[np.bool_]) -> Sparse:
    kept_Z = chosen_N[rows.row_Z]
    return Sparse(
        bucket_Z=rows.bucket_Z[kept_Z],
        value_Z=rows.value_Z[kept_Z],
        row_Z=rows.row_Z[kept_Z],
        num_rows=rows.num_rows,
    )


def _fit_one(rows: Sparse, labels_N: Floats, share_N: Floats) -> tuple[Floats, float]:
    weight_V: Doubles = np.zeros(NUM_BUCKETS)
    mean_V, square_V = np.zeros(NUM_BUCKETS), np.zeros(NUM_BUCKETS)
    bias = float(np.log((share_N @ labels_N + 1e-4) / (share_N @ (1 - labels_N) + 1e-4)))
    for step in range(1, NUM_STEPS + 1):
        logits_N = products(rows, weight_V) + bias
        error_N = share_N * (0.5 * (1.0 + np.tanh(0.5 * logits_N)) - labels_N)
        slope_V: Doubles = L2 * weight_V + np.bincount(
            rows.bucket_Z, weights=rows.value_Z * error_N[rows.row_Z], minlength=NUM_BUCKETS
        )
        mean_V += 0.1 * (slope_V - mean_V)
        square_V += 0.01 * (slope_V**2 - square_V)
        size_V = np.sqrt(square_V / (1 - 0.99**step)) + 1e-7
        rate = LEARNING_RATE * (1 - (step - 1) / NUM_STEPS)
        weight_V -= rate * (mean_V / (1 - 0.9**step)) / size_V
        bias -= 2.0 * float(error_N.sum())
    return weight_V.astype(np.float32), bias


def products(rows: Sparse, weight_V: Floats | Doubles) -> Doubles:
    """(N,) of the rows with one weight vector."""
    sums_N = np.bincount(
        rows.row_Z, weights=rows.value_Z * weight_V[rows.bucket_Z], minlength=rows.num_rows
    )
    return sums_N.astype(np.float64)
