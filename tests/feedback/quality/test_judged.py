from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from feedback import eventlog
from feedback.connection import connect
from feedback.events import Choice, Completion, Feedback
from feedback.history import History
from feedback.quality.judged import LastWords, Reader, judged_of


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


def completion(number: int, **changes: Any) -> Completion:
    texts = ("one", "two words", "a third answer")
    choices = [
        Choice(index=i, text=text, token_ids=[i], logprobs=[-1.0], finish_reason="stop")
        for i, text in enumerate(texts)
    ]
    event = Completion(
        id=f"chatcmpl-{number}",
        created=1.0,
        key_id="key",
        tenant="t",
        endpoint="chat",
        request={"messages": [{"role": "user", "content": "say four little words"}]},
        prompt_ids=[1],
        choices=choices,
        version="policy-0000",
        version_last="policy-0000",
        digest="d",
        latency_ms=1.0,
    )
    return replace(event, **changes)


def said(id: str, form: str, body: dict[str, Any], **changes: Any) -> Feedback:
    event = Feedback(
        id=id,
        created=5.0,
        form=form,
        labeler="lab_anna",
        tenant="t",
        completion_ids=["chatcmpl-1"],
        body=body,
        source="labeler",
    )
    return replace(event, **changes)


def ranking(id: str, *tiers: str, order: tuple[int, ...] = (0, 1, 2), **changes: Any) -> Feedback:
    refs = [{"completion_id": "chatcmpl-1", "index": index} for index in order]
    body: dict[str, Any] = {"candidates": refs, "tiers": [list(tier) for tier in tiers]}
    return said(id, "ranking", body, **changes)


def last(*events: Feedback) -> list[str]:
    words = LastWords()
    for event in events:
        words.add(event)
    return [row.id for row in words.rows()]


def test_a_set_is_one_item_in_whatever_order_it_was_shown() -> None:
    event = ranking("fbk_1", "b", "ac", order=(2, 0, 1))  # letters: a is index 2, b is 0, c is 1
    event.body["shown_order"] = ["a", "b", "c"]
    event.body["ratings"] = {
        "a": {"likert": 6, "flags": {"hallucination": True, "harmful_advice": False}}
    }
    row = judged_of(event)
    assert row.item == (("chatcmpl-1", 0), ("chatcmpl-1", 1), ("chatcmpl-1", 2))
    assert row.ranks == (1, 2, 2)
    assert row.shown == (2, 0, 1)
    assert row.likert == {2: 6}
    assert row.flags == {2: frozenset({"hallucination"})}
    assert (row.winner(0, 1), row.winner(1, 0), row.winner(1, 2)) == (1, -1, 0)


@pytest.mark.parametrize(("preference", "ranks"), [(2, (2, 1)), (-1, (1, 2)), (0, (1, 1))])
def test_a_comparison_is_a_ranking_of_two(preference: int, ranks: tuple[int, ...]) -> None:
    body = {
        "a": {"completion_id": "chatcmpl-2", "index": 0},
        "b": {"completion_id": "chatcmpl-1", "index": 0},
        "preference": preference,
    }
    row = judged_of(said("fbk_1", "comparison", body))
    assert row.item == (("chatcmpl-1", 0), ("chatcmpl-2", 0))
    assert row.ranks == ranks


def test_a_rating_of_one_answer_ranks_nothing() -> None:
    body = {"completion_id": "chatcmpl-1", "index": 1, "likert": 3, "flags": {}}
    row = judged_of(said("fbk_1", "rating", body))
    assert (row.item, row.ranks, row.likert) == ((("chatcmpl-1", 1),), (), {0: 3})


def test_the_last_word_of_a_person_on_a_set_counts() -> None:
    first, second = (
        ranking("fbk_1", "a", "b", "c"),
        ranking("fbk_2", "c", "b", "a", order=(2, 1, 0)),
    )
    other = ranking("fbk_3", "a", "b", "c", labeler="lab_bert")
    assert last(first, other, second) == ["fbk_3", "fbk_2"]


def test_what_was_taken_back_or_replaced_is_out() -> None:
    first = ranking("fbk_1", "a", "b", "c")
    back = said("fbk_2", "retraction", {"of": "fbk_1"})
    assert last(first, back) == []
    on_others = ranking("fbk_3", "a", "b", order=(0, 1), replaces="fbk_1")
    assert last(first, on_others) == ["fbk_3"]
    assert last(first, said("fbk_4", "skip", {"reason": "unclear"})) == ["fbk_1"]


def test_of_each_labeler_the_newest_are_held_and_of_all_others_together() -> None:
    words = LastWords(max_each=2, max_others=3)
    for number in range(4):
        on_it = {"candidates": [], "completion_id": f"chatcmpl-{number}", "index": 0, "likert": 1}
        words.add(said(f"fbk_anna{number}", "rating", on_it))
        words.add(said(f"fbk_key{number}", "rating", on_it, source="key", labeler=f"key_{number}"))
    words.add(said("fbk_bert", "rating", on_it, labeler="lab_bert"))
    held = {row.id for row in words.rows()}
    assert held == {"fbk_anna2", "fbk_anna3", "fbk_key1", "fbk_key2", "fbk_key3", "fbk_bert"}


def test_reading_counts_the_words_that_were_shown_and_knows_the_task(client: redis.Redis) -> None:
    eventlog.append(client, completion(1, metadata={"task": "summarise"}))
    eventlog.append(client, ranking("fbk_1", "a", "b", "c"))
    (row,) = Reader(History(client)).rows()
    assert (row.num_words, row.task) == (4 + 1 + 2 + 3, "summarise")


def test_an_erased_answer_s_judgement_has_no_words_and_no_task(client: redis.Redis) -> None:
    eventlog.append(client, ranking("fbk_1", "a", "b", "c"))
    (row,) = Reader(History(client)).rows()
    assert (row.num_words, row.task) == (0, None)


def test_reading_goes_on_where_it_stopped_and_no_further_than_asked(client: redis.Redis) -> None:
    for number in range(3):
        eventlog.append(client, ranking(f"fbk_{number}", "a", "b", "c", labeler=f"lab_{number}"))
    entries = [entry for entry, _ in eventlog.read(client, Feedback.kind)]
    asked = []

    class Watched(History):
        def read(self, kind: str, *, after: str = "-", until: str = "+") -> Any:
            asked.append((after, until))
            return super().read(kind, after=after, until=until)

    reader = Reader(Watched(client))
    assert [row.id for row in reader.rows(until=entries[0])] == ["fbk_0"]
    assert [row.id for row in reader.rows()] == ["fbk_0", "fbk_1", "fbk_2"]
    assert asked == [("-", entries[0]), (entries[0], "+")]


def test_only_so_many_answers_are_looked_up_the_newest_first(client: redis.Redis) -> None:
    for number in (1, 2):
        eventlog.append(client, completion(number))
    eventlog.append(client, ranking("fbk_1", "a", "b", "c"))
    body = {"completion_id": "chatcmpl-2", "index": 0, "likert": 1}
    eventlog.append(client, said("fbk_2", "rating", body))
    rows = Reader(History(client), max_known=1).rows()
    assert [row.num_words for row in rows] == [0, 5]
    assert [row.task for row in rows] == [None, "rating"]
