from __future__ import annotations

import pytest

from feedback.errors import Unprocessable
from feedback.journal import Journal
from feedback.labeling.known_answers import KnownAnswers, agreement
from tests.feedback.conftest import Offer, a_set

KNOWN = {0: 2, 1: 1, 2: 2, 3: 3}  # 1 is best, 0 and 2 are equal, 3 is worst: five pairs


@pytest.mark.parametrize(
    ("given", "agreed"),
    [
        ({0: 2, 1: 1, 2: 2, 3: 3}, 5.0),
        ({0: 2, 1: 1, 2: 4, 3: 3}, 4.0),  # 3 before 2; the known tie is no pair
        ({0: 1, 1: 1, 2: 1, 3: 1}, 2.5),  # all the same
        ({0: 2, 1: 3, 2: 2, 3: 1}, 0.0),  # upside down
    ],
)
def test_agreement_counts_known_pairs_and_half_of_a_tie(
    given: dict[int, int], agreed: float
) -> None:
    assert agreement(KNOWN, given) == (agreed, 5)


async def test_an_order_that_names_not_every_answer_once_or_decides_nothing_is_refused(
    journal: Journal, offer: Offer
) -> None:
    known = KnownAnswers(journal.redis)
    completion = a_set("one", num_choices=3)
    for tiers in ([[0], [1]], [[0, 1], [1, 2]], [[0], [1], [2], [7]], [[0, 1, 2]], [[0, 1, 2], []]):
        with pytest.raises(Unprocessable):
            await known.add(completion, tiers, by="op")
    added = await known.add(completion, [[2], [0, 1]], by="op")
    assert await known.get("one") == added
    assert added.ranks == {2: 1, 0: 2, 1: 2}
    assert await known.all(tenant="other") == []
    assert await known.remove("one")
    assert await known.get("one") is None
