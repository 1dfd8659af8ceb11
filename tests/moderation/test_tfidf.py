from __future__ import annotations

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
