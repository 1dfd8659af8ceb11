from __future__ import annotations

import pytest

from feedback.quality import agreement
from feedback.quality.judged import Judged
from tests.feedback.quality.people import ranked, work

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section D: four observers, twelve units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def rated(item: str, labeler: str, likert: int) -> Judged:
    return Judged(
        id=f"fbk_{item}_{labeler}",
        labeler=labeler,
        source="labeler",
        item=((item, 0),),
        likert={0: likert},
    )


def test_nominal_alpha_of_winners_is_what_it_is_by_hand() -> None:
    """Three labelers, four pairs of answers; + is "the first is better", - the second.

        pair    1  2  3  4        each unit's ordered pairs of values, over (number of values - 1):
        anna    +  +  -  -        1: ++ 6/2 = 3           3: -- 6/2 = 3
        bert    +  -  -  -        2: +- 1, -+ 1           4: -- 2/1 = 2
        cleo    +     -
    Coincidences: ++ 3, +- 1, -+ 1, -- 5; so n+ = 4, n- = 6, n = 10.
    Observed disagreement 2/10; expected 2 * 4 * 6 / (10 * 9) = 48/90.
    alpha = 1 - (2/10) / (48/90) = 1 - 0.375 = 0.625.
    """
    first, second = (1, 2), (2, 1)
    rows = [
        *(ranked("1", name, *first) for name in ("anna", "bert", "cleo")),
        ranked("2", "anna", *first),
        ranked("2", "bert", *second),
        *(ranked("3", name, *second) for name in ("anna", "bert", "cleo")),
        *(ranked("4", name, *second) for name in ("anna", "bert")),
        ranked("5", "anna", *first),  # judged once: says nothing about agreement
    ]
    found = agreement.winners_alpha(rows)
    assert found is not None
    assert found.value == pytest.approx(0.625)
    assert found.low < 0.625 < found.high
    assert found.num_units == 4


def test_ordinal_alpha_of_likert_is_what_it_is_by_hand() -> None:
    """Two labelers, four answers: (1, 1), (1, 2), (2, 3), (3, 3).

    Coincidences: 11 2, 12 1, 21 1, 23 1, 32 1, 33 2; so n1 = 3, n2 = 2, n3 = 3, n = 8.
    Squared ordinal distances: 1-2 (3/2 + 2/2)^2 = 6.25, 2-3 the same, 1-3 (3/2 + 2 + 3/2)^2 = 25.
    Observed: (2 * 6.25 + 2 * 6.25) / 8 = 25/8.
    Expected: 2 * (3*2*6.25 + 2*3*6.25 + 3*3*25) / (8 * 7) = 600/56.
    alpha = 1 - (25/8) / (600/56) = 1 - 175/600 = 0.70833.
    """
    given = {"w": (1, 1), "x": (1, 2), "y": (2, 3), "z": (3, 3)}
    rows = [
        rated(item, name, value)
        for item, values in given.items()
        for name, value in zip(("anna", "bert"), values, strict=True)
    ]
    found = agreement.likert_alpha(rows)
    assert found is not None
    assert found.value == pytest.approx(1 - 175 / 600)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_of_krippendorff_s_example_is_the_published_one(level: str, published: float) -> None:
    units = {
        (("unit", number),): {
            f"observer {row}": values[number]
            for row, values in enumerate(PUBLISHED)
            if values[number] is not None
        }
        for number in range(12)
    }
    found = agreement.alpha(units, sets={unit: unit for unit in units}, level=level)  # type: ignore[arg-type]
    assert found is not None
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_the_interval_is_of_the_same_alpha_as_evalica_s(level: str) -> None:
    """Sets that are all alike: whichever are drawn, alpha is the same, and the interval a point."""
    given = [(1, 1, 2), (1, 2), (2, 4), (4, 4, 4)]
    units = {
        (("set", copy), ("unit", number)): dict(zip("abc", values, strict=False))
        for copy in range(8)
        for number, values in enumerate(given)
    }
    sets = {unit: unit[0] for unit in units}
    found = agreement.alpha(units, sets=sets, level=level)  # type: ignore[arg-type]
    assert found is not None
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)
    assert 0.1 < found.value < 0.9


def test_values_that_are_all_one_have_no_alpha() -> None:
    assert agreement.likert_alpha([rated("x", "anna", 4), rated("x", "bert", 4)]) is None
    assert agreement.likert_alpha([rated("x", "anna", 4), rated("y", "bert", 5)]) is None


def test_ties_are_left_out_of_one_figure_and_an_outcome_in_the_other() -> None:
    rows = [ranked("x", "anna", 1, 2, 3), ranked("x", "bert", 1, 1, 2)]
    (met,) = agreement.meetings(rows)
    assert (met.agreed, met.decided) == (2, 2)  # a-c and b-c; a-b is a tie to bert
    assert (met.same, met.pairs) == (2, 3)
    found = agreement.measure(rows)
    assert found.decided.value == pytest.approx(1.0)
    assert found.with_ties.value == pytest.approx(2 / 3)
    (alike,) = agreement.meetings([ranked("y", "anna", 1, 1, 2), ranked("y", "bert", 1, 1, 2)])
    assert (alike.agreed, alike.decided, alike.same, alike.pairs) == (2, 2, 3, 3)


def test_the_interval_holds_what_many_more_sets_come_to() -> None:
    people = {f"average{i}": "average" for i in range(6)}
    many = work(people, seed=0, num_sets=3000, overlap=1.0, known_share=0.0)  # type: ignore[arg-type]
    truth = agreement.decided_share(agreement.meetings(many.rows)).value
    assert truth == pytest.approx(0.73, abs=0.02)  # the paper's 72.6 %
    inside = 0
    for seed in range(1, 31):
        few = work(people, seed=seed, num_sets=60, overlap=1.0, known_share=0.0)  # type: ignore[arg-type]
        found = agreement.decided_share(agreement.meetings(few.rows))
        inside += found.low <= truth <= found.high
        assert found.high - found.low < 0.2
    assert inside >= 26


def test_agreement_by_task_and_by_week_is_of_that_task_and_week_alone() -> None:
    monday = 1_789_948_800  # 2026-09-21
    rows = [
        ranked("x", "anna", 1, 2, task="summarise", created=monday + 10),
        ranked("x", "bert", 1, 2, task="summarise", created=monday + 6 * 86_400),
        ranked("y", "anna", 1, 2, task="ranking", created=monday + 8 * 86_400),
        ranked("y", "bert", 2, 1, task="ranking", created=monday - 1),
    ]
    by_task = agreement.by_task(rows)
    assert {task: a.decided.value for task, a in by_task.items()} == {"summarise": 1, "ranking": 0}
    assert {week: a.decided.value for week, a in agreement.by_week(rows).items()} == {
        "2026-09-21": 1.0,
        "2026-09-28": 0.0,
    }
    assert agreement.week_of(monday - 1) == "2026-09-14"


def test_a_labeler_s_agreement_is_with_all_others() -> None:
    rows = [ranked("x", "anna", 1, 2), ranked("x", "bert", 1, 2), ranked("x", "cleo", 2, 1)]
    found = agreement.by_labeler(agreement.meetings(rows), of=["anna", "bert", "cleo"])
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == {"anna": 0.5, "bert": 0.5, "cleo": 0.0}
    assert list(agreement.by_labeler(agreement.meetings(rows), of=["bert"])) == ["bert"]


def test_nothing_judged_twice_has_no_agreement_and_no_alpha() -> None:
    rows = [ranked("x", "anna", 1, 2), ranked("y", "bert", 1, 2)]
    assert agreement.meetings(rows) == []
    assert agreement.decided_share([]).num_units == 0
    assert agreement.winners_alpha(rows) is None
