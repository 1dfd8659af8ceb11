"""The simulated labelers of `hone prove public` at the real page."""

from __future__ import annotations

from tests.label_work import LabelWork
from tests.serving.conftest import Running
from training.prove.label_page import Labeler


async def test_they_read_every_answer_as_it_was_written_and_rank_it(
    gateway: Running, redis_url: str
) -> None:
    work = LabelWork(redis_url)
    answers = ["**one** <b>word</b>", "three\n\nwords & so on and on", "- two\n- lines", "x"]
    work.offer("first question", answers)
    work.offer("second question", ["longer than", "y"])
    seen: list[set[str]] = []

    def longest_first(texts: list[str]) -> list[int]:
        seen.append(set(texts))
        return sorted(range(len(texts)), key=lambda i: -len(texts[i]))

    labeler = Labeler(url=gateway.url, name="Sim", order=longest_first)
    await labeler.join(work.invite(is_trusted=True))
    assert await labeler.rank(limit=9) == 2
    await labeler.leave()
    assert seen == [set(answers), {"longer than", "y"}]
    for said, best_first in zip(work.said(), ([1, 0, 2, 3], [0, 1]), strict=True):
        shown = [candidate["index"] for candidate in said.body["candidates"]]
        letters = [letter for (letter,) in said.body["tiers"]]
        assert [shown["abcd".index(letter)] for letter in letters] == best_first
