from __future__ import annotations

from typing import Any

import numpy as np

from moderation import tfidf

TEXTS = ["the cat sat", "the dog sat", "a cat and a dog", "cats are not dogs"] * 5
LABELS = np.array([[1.0], [0.0], [1.0], [0.0]] * 5, dtype=np.float32)


def _fit() -> tuple[tfidf.Sparse, tfidf.Table]:
    counted = [tfidf.buckets(text) for text in TEXTS]
    idf = tfidf.inverse_frequency(counted)
    rows = tfidf.sparse(counted, idf_V=idf)
    weights = np.ones(len(TEXTS), dtype=np.float32)
    return rows, tfidf.fit(rows, LABELS, np.ones_like(LABELS), weights_N=weights, idf_V=idf)


def test_words_and_pairs_have_buckets_that_do_not_change() -> None:
    assert tfidf.buckets("The cat").tolist() == tfidf.buckets("the CAT!").tolist()
    assert len(tfidf.buckets("one two three")) == 5
    # CRC-32 of "cat": a hash that differed by machine would make the weights worthless.
    assert tfidf.buckets("cat").tolist() == [0x9E5E43A8 % tfidf.NUM_BUCKETS]


def test_a_text_alone_scores_what_it_scores_among_others() -> None:
    rows, table = _fit()
    together = tfidf.products(rows, table.weights_VC[:, 0]) + table.bias_C[0]
    alone = [float(table.logits(text)[0]) for text in TEXTS]
    assert np.allclose(together, alone, atol=1e-5)
    assert ((together > 0) == (LABELS[:, 0] > 0)).all()


def test_words_that_were_never_seen_leave_the_bias() -> None:
    _, table = _fit()
    for text in ("", "quixotic zephyrs", "\x00"):
        assert np.allclose(table.logits(text), table.bias_C)


def test_the_fit_is_at_the_minimum_of_its_loss() -> None:
    rows, table = _fit()
    at_fit, at_start = (
        np.abs(_slope(rows, weights_V=weights_V, bias=bias)).max()
        for weights_V, bias in (
            (table.weights_VC[:, 0], float(table.bias_C[0])),
            (np.zeros(tfidf.NUM_BUCKETS), 0.0),
        )
    )
    assert at_fit < 0.02 * at_start


def test_an_unknown_label_has_no_influence() -> None:
    rows, table = _fit()
    known = np.ones_like(LABELS)
    known[:4] = 0.0
    weights = np.ones(len(TEXTS), dtype=np.float32)
    flipped = LABELS.copy()
    flipped[:4] = 1 - flipped[:4]
    fitted = [
        tfidf.fit(rows, labels, known, weights_N=weights, idf_V=table.idf_V).weights_VC
        for labels in (LABELS, flipped)
    ]
    assert np.array_equal(*fitted)


def _slope(
    rows: tfidf.Sparse, *, weights_V: np.ndarray[Any, Any], bias: float
) -> np.ndarray[Any, Any]:
    """Of the mean log-loss and the penalty, by the weights."""
    error = 1 / (1 + np.exp(-tfidf.products(rows, weights_V) - bias)) - LABELS[:, 0]
    slope_V = tfidf.L2 * weights_V
    np.add.at(slope_V, rows.bucket_Z, rows.value_Z * error[rows.row_Z] / len(TEXTS))
    return slope_V
