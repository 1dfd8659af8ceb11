"""Measured on pairs that are drawn (prompt_sample.py); the figures are in the README."""

from __future__ import annotations

from collections import Counter

import pytest

from feedback.snapshots.duplicates import Duplicates, is_near, jaccard, normalised
from tests.feedback.snapshots.prompt_sample import Pair, pairs

SEED = 31  # not the one that the rules were written with


def duplicates(*, prefix_chars: int = 512) -> Duplicates:
    return Duplicates(prefix_chars=prefix_chars, similarity=0.8)


def is_found(pair: Pair) -> bool:
    seen = duplicates(prefix_chars=10_000)  # by their words alone
    assert seen.reason([pair.one]) is None
    return seen.reason([pair.other]) is not None


def test_the_same_in_other_clothes_is_found_and_what_only_looks_alike_is_kept() -> None:
    sample = pairs(seed=SEED, num=60)
    right = Counter((pair.is_same, is_found(pair)) for pair in sample)
    recall = right[True, True] / (right[True, True] + right[True, False])
    precision = right[True, True] / (right[True, True] + right[False, True])
    assert right[True, True] + right[True, False] > 150
    assert right[False, True] + right[False, False] > 80
    assert recall >= 0.9, right  # missed: long texts with another word near their ends
    assert precision >= 0.99, right


def test_among_many_others_each_is_found_too() -> None:
    """What MinHash does not propose is not compared."""
    seen, same = (
        duplicates(prefix_chars=10_000),
        [pair for pair in pairs(seed=SEED, num=60) if pair.is_same],
    )
    kept = [pair for pair in same if seen.reason([pair.one]) is None]
    found = sum(seen.reason([pair.other]) is not None for pair in kept)
    assert len(kept) > 100
    assert found >= 0.9 * len(kept)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("What is the capital of France?", "what is the capital of france", True),
        ("What is the capital of France?", "What's the capital of Italy?", False),
        ("tell me about gardening", "Please tell me about gardening, thanks!", True),
        ("tell me about gardening", "tell me about gradening", True),
        ("2 + 2", "2 + 3", False),
        ("Is a dog bigger than a cat", "Is a cat bigger than a dog", False),
        ("word " * 60, "word " * 60 + "2", False),
        ("", "", True),
    ],
)
def test_words_decide(one: str, other: str, is_same: bool) -> None:
    assert is_near(normalised(one), normalised(other), similarity=0.8) is is_same


def test_prompts_that_begin_alike_are_one_but_an_app_s_system_message_is_not_asked() -> None:
    seen, shots = duplicates(prefix_chars=100), "Q: 2 + 2? A: 4. " * 10
    assert seen.reason([shots + "Q: 3 + 3? A:"]) is None
    assert seen.reason([shots + "Q: what about the weather on the moon? A:"]) == "same_beginning"
    assert seen.reason(["Q: 2 + 2? A: 4. short"]) is None


def test_a_prompt_that_was_left_out_is_no_reason_to_leave_out_another() -> None:
    seen = duplicates(prefix_chars=20)
    assert seen.reason(["the very same beginning, one"]) is None
    assert seen.reason(["the very same beginning, and quite another end"]) == "same_beginning"
    assert seen.reason(["quite another end"]) is None


def test_jaccard_counts_shared_shingles() -> None:
    assert jaccard("abcdef", "abcdef") == 1
    assert jaccard("abcdef", "uvwxyz") == 0
    # " abc", "abcd", "bcd " and " abc", "abce", "bce "
    assert jaccard("abcd", "abce") == pytest.approx(1 / 5)


def test_more_prompts_than_the_first_page_are_remembered() -> None:
    seen = duplicates()
    texts = [f"{'abcdefghij'[n % 10] * 9} {n} {n * 7919}" for n in range(1_100)]
    assert [seen.reason([text]) for text in texts] == [None] * len(texts)
    assert {seen.reason([text]) for text in (texts[0], texts[1_050])} == {"nearly_the_same"}
