"""What is drawn, and how figures are said."""

from __future__ import annotations

import math

import pytest

from serving.console import curves, hours, lineage_graph, plots, words


def inside(plot: plots.Plot) -> bool:
    places = [tuple(map(float, pair.split(","))) for pair in plot.path.split()]
    places += [(dot.x, dot.y) for dot in plot.dots]
    return all(
        plot.left - 1 <= x <= plot.right + 1 and plot.top - 1 <= y <= plot.bottom + 1
        for x, y in places
    )


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0.0), (1, 1.0), (2, -1.0)],
        [(0, 5.0)],
        [(n, 3.0) for n in range(10)],
        [(n, 1e-7 * n) for n in range(50)],
        [(n, -1e6 * n * n) for n in range(1, 200)],
        [(0, 0.0), (1, 0.0)],
    ],
)
def test_a_curve_lies_within_its_drawing_and_says_what_it_shows(
    points: list[tuple[float, float]],
) -> None:
    plot = plots.curve("objective/kl", points)
    assert plot is not None
    assert inside(plot)
    assert 2 <= len(plot.y_ticks) <= 8
    assert [tick.at for tick in plot.y_ticks] == sorted(
        (tick.at for tick in plot.y_ticks), reverse=True
    )
    assert plot.summary.startswith("objective/kl: ")
    assert plot.rows[-1][0] == words.figure(points[-1][0])
    assert len(plot.rows) <= 14


def test_what_could_not_be_measured_is_not_drawn() -> None:
    plot = plots.curve("x", [(0, math.nan), (1, 1.0), (2, math.inf), (3, 2.0)])
    assert plot is not None
    assert len(plot.path.split()) == 2
    assert plots.curve("x", [(0, math.nan)]) is None
    assert plots.against([], x_name="a", y_name="b") is None
    assert plots.measured([], name="a", x_name="b") is None


def test_reward_against_kl_pairs_the_two_of_an_iteration() -> None:
    found = {
        "ppo": {
            "objective/kl": [(0, 0.0), (1, 1.0), (2, 2.0)],
            "objective/scores": [(0, 0.1), (2, 0.9)],
        }
    }
    plot = curves.reward_against_kl(found)
    assert plot is not None
    assert plot.rows == [("0", "0.1"), ("2", "0.9")]
    assert curves.reward_against_kl({"reward": {}}) is None


def test_curves_worth_a_look_come_first_under_their_public_names() -> None:
    both = [(0, 0.0), (1, 1.0)]
    found = {
        "reward": {"reward/loss": both, "reward/progress": both},
        "ppo": {
            "time/train_s": both,
            "objective/kl": both,
            "objective/scores": both,
            "one/x": both[:1],
        },
    }
    chosen = curves.chosen(found)
    assert [name for name, _ in chosen.first] == ["objective/scores", "objective/kl", "reward/loss"]
    assert [name for name, _ in chosen.others] == ["time/train_s"]


def test_a_strip_keeps_what_lies_beyond_it_at_its_ends() -> None:
    found = plots.bar(0.6, low=0.5, high=1.4, limit=-3.0, ends=(0.0, 1.0))
    assert found == plots.Bar(start=50, end=100, at=60, limit=0)
    assert plots.bar(math.nan, low=0, high=1, limit=None, ends=(0, 1)) is None


def version(name: str, parent: str | None) -> dict[str, object]:
    return {"version": name, "parent": parent, "gate": None}


def test_what_production_came_from_is_one_row_and_dead_ends_are_under_it() -> None:
    rows = [
        version("policy-0000", None),
        version("policy-0001", "policy-0000"),
        version("policy-0002", "policy-0001"),  # rolled back
        version("policy-0003", "policy-0001"),
        version("policy-0004", "policy-0003"),  # rolled back
        version("policy-0005", "policy-0004"),  # and what came of it
        version("policy-0006", "policy-0003"),
    ]
    line = ["policy-0006", "policy-0003", "policy-0001", "policy-0000"]
    found = lineage_graph.graph(rows, production="policy-0006", line=line)
    assert found is not None
    heights = {node.version: node.y for node in found.nodes}
    main = {heights[name] for name in line}
    assert len(main) == 1
    assert heights["policy-0002"] > main.pop()
    assert heights["policy-0004"] == heights["policy-0005"] == heights["policy-0002"]
    assert [node.version for node in found.nodes if node.is_production] == ["policy-0006"]
    assert all(0 < node.x < found.width and 0 < node.y < found.height for node in found.nodes)
    assert sum(edge.is_line for edge in found.edges) == 3
    assert "7 versions" in found.summary


def test_a_version_whose_parent_is_older_than_what_is_drawn_has_a_line_from_the_edge() -> None:
    found = lineage_graph.graph([version("policy-0008", "policy-0007")], production=None, line=())
    assert found is not None
    assert found.edges[0].d.startswith("M0 ")


def test_the_base_beside_the_line_has_a_row_as_well() -> None:
    found = lineage_graph.graph([version("policy-0000", None)], production=None, line=())
    assert found is not None
    assert [node.version for node in found.nodes] == ["policy-0000"]


def test_two_branches_at_a_time_have_rows_of_their_own() -> None:
    rows = [
        version("policy-0000", None),
        version("policy-0001", "policy-0000"),
        version("policy-0002", "policy-0000"),
        version("policy-0003", "policy-0001"),
        version("policy-0004", "policy-0002"),
    ]
    found = lineage_graph.graph(rows, production="policy-0000", line=["policy-0000"])
    assert found is not None
    heights = {node.version: node.y for node in found.nodes}
    assert len({heights[name] for name in ("policy-0000", "policy-0001", "policy-0002")}) == 3
    assert heights["policy-0001"] == heights["policy-0003"]
    assert heights["policy-0002"] == heights["policy-0004"]


def test_hours_are_drawn_to_the_largest_of_counts_and_target() -> None:
    told = [{"began": 3600.0 * n, "judgements": n} for n in range(24)]
    found = hours.drawn({"hours": told, "target_per_hour": 46})
    assert found.top == 46
    assert found.target is not None
    assert found.bars[-1].height < (found.bottom - found.target)
    assert (found.this_hour, found.last_hour) == (23, 22)
    assert "276 judgements in 24 hours" in found.summary
    nothing = hours.drawn(
        {"hours": [{**hour, "judgements": 0} for hour in told], "target_per_hour": 0}
    )
    assert nothing.target is None
    assert all(bar.height == 0 for bar in nothing.bars)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (7, "7"),
        (1234567.0, "1.23e6"),
        (12345.0, "12,345"),
        (2345.6, "2,346"),
        (0.5, "0.5"),
        (0.12345, "0.123"),
        (-0.25, "\N{MINUS SIGN}0.25"),
        (12.345, "12.35"),
        (0.00004, "4.00e-5"),
        (math.nan, "not measured"),
        (None, "–"),
    ],
)
def test_figures_have_three_digits_that_mean_something(value: float | None, said: str) -> None:
    assert words.figure(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "just now"), (45, "45 s ago"), (300, "5 min ago"), (7200, "2 h ago"), (4e5, "5 days ago")],
)
def test_a_time_is_told_in_its_largest_unit(seconds: float, said: str) -> None:
    assert words.ago(1e9 - seconds, now=1e9) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "any moment"), (3, "any moment"), (300, "in 5 min")]
)
def test_a_time_to_come_is_told_likewise(seconds: float, said: str) -> None:
    assert words.until(1e9 + seconds, now=1e9) == said
