from __future__ import annotations

from moderation.cache import Cache, Verdict


def verdict(score: float = 0.5, *, model: str = "one") -> Verdict:
    return Verdict(scores={"hate": score}, flagged=[], model=model)


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(max_texts=2)
    for text in ("a", "b"):
        cache.put(text, verdict())
    assert cache.get("a") is not None
    cache.put("c", verdict())
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert len(cache) == 2


def test_another_model_s_answer_empties_it() -> None:
    cache = Cache(max_texts=9)
    cache.put("a", verdict())
    cache.put("b", verdict(model="two"))
    assert cache.get("a") is None
    assert cache.get("b") == verdict(model="two")


def test_nothing_is_older_than_its_age() -> None:
    cache = Cache(max_texts=9, max_age_s=-1.0)
    cache.put("a", verdict())
    assert cache.get("a") is None
    assert len(cache) == 0


def test_every_lookup_is_told_and_half_a_surrogate_is_a_text_too() -> None:
    lookups: list[bool] = []
    cache = Cache(max_texts=9, on_lookup=lookups.append)
    cache.get("\ud800")
    cache.put("\ud800", verdict())
    cache.get("\ud800")
    assert lookups == [False, True]
