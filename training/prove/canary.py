"""The canary's sequential test on simulated crowds: false alarms where nothing differs, power where something does.

One looks after every person, for ever; the marks hold all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from serving.canary.figures import Bad
from training.prove import plotting
from training.prove.crowd import LIMITS, Run, World, run
from training.prove.report import Mark, Proof, Row, at_least, at_most

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NULLS = (
    World(name="alike, voters indifferent", people=400),
    World(name="alike, strong tastes both ways", people=400, taste=0.45),
    World(name="alike, half of the votes are one person's", people=400, taste=0.45, loud=0.5),
    World(name="alike, all judge the same 20 sets and agree", people=400, sets=20),
    World(name="alike, share 5 % to 50 % on the way", people=400, share=0.05, final_share=0.5),
)
WIN_RATES = (0.2, 0.3, 0.4, 0.6, 0.7, 0.8)
# What the canary does to whom it answers, where production does it to the first share of people.
HARMS: tuple[tuple[str, Bad, tuple[float, float]], ...] = (
    ("every answer fails", "errors", (0.0, 1.0)),
    ("half of the people meet an error", "errors", (0.02, 0.5)),
    ("one in five is flagged, not one in twenty", "flags", (0.05, 0.2)),
    ("three thumbs down in ten, not one", "thumbs_down", (0.1, 0.3)),
)
SHARES = (0.1, 0.5)
MAX_FALSE_ALARMS = LIMITS.alpha
_POWER_PEOPLE, _HARM_PEOPLE = 400, 2000
_AT = (10, 25, 50, 100, 200, 400)  # people, where a curve is told in numbers


def prove(*, seed: int, num_runs: int, plot: Path | None) -> Proof:
    """`num_runs` per world without a difference, a quarter of them per world with one."""
    nulls = {world.name: _runs(world, num_runs, seed) for world in NULLS}
    effects = {rate: _runs(_voting(rate), num_runs // 4, seed) for rate in WIN_RATES}
    harms = {
        (share, name): _runs(_harming(name, share), num_runs // 4, seed)
        for share in SHARES
        for name, *_ in HARMS
    }
    if plot is not None:
        plotting.save(plot / f"canary-alarms-{seed}.png", lambda axes: _draw_alarms(axes, nulls))
        plotting.save(plot / f"canary-power-{seed}.png", lambda axes: _draw_power(axes, effects))
    return Proof(
        experiment="canary",
        seed=seed,
        figures={
            "runs_per_null": num_runs,
            "false_alarms": [_alarm_row(name, found) for name, found in nulls.items()],
            "power": [_power_row(rate, found) for rate, found in effects.items()],
            "harm": [_harm_row(share, name, found) for (share, name), found in harms.items()],
        },
        marks=judge(nulls, effects, harms),
    )


def judge(
    nulls: dict[str, list[Run]],
    effects: dict[float, list[Run]],
    harms: dict[tuple[float, str], list[Run]],
) -> list[Mark]:
    alarms = [at_most(f"false alarms: {n}", decided(r), MAX_FALSE_ALARMS) for n, r in nulls.items()]
    fails = harms[0.1, HARMS[0][0]]
    return [
        *alarms,
        at_least("promoted at a win rate of 0.7, 100 voters", _within(effects[0.7], 100), 0.9),
        at_least("rolled back at a win rate of 0.3, 100 voters", _within(effects[0.3], 100), 0.9),
        at_most("wrong verdicts at any win rate", max(map(_wrong, effects.items())), 0.05),
        at_most("people of both arms until failing answers end it, share 0.1", _after(fails), 50),
    ]


def decided(runs: Sequence[Run]) -> float:
    """Share of the runs that ended in a verdict."""
    return sum(run.action is not None for run in runs) / len(runs)


def _voting(rate: float) -> World:
    return World(name=f"win rate {rate}", people=_POWER_PEOPLE, win_rate=rate, taste=0.15)


def _harming(name: str, share: float) -> World:
    kind, rates = next((kind, rates) for each, kind, rates in HARMS if each == name)
    usual = World(name=name, people=_HARM_PEOPLE, share=share, votes_each=1.0, ties=1.0)
    return replace(usual, rates={**usual.rates, kind: rates})


def _runs(world: World, count: int, seed: int) -> list[Run]:
    return [run(world, seed=seed * 1_000_003 + number) for number in range(count)]


def _within(runs: Sequence[Run], people: int) -> float:
    return sum(run.action is not None and run.after <= people for run in runs) / len(runs)


def _naive_within(runs: Sequence[Run], people: int) -> float:
    return sum(run.naive_after is not None and run.naive_after <= people for run in runs) / len(
        runs
    )


def _wrong(effect: tuple[float, Sequence[Run]]) -> float:
    rate, runs = effect
    right = "promote" if rate > 0.5 else "roll_back"
    return sum(run.action not in (None, right) for run in runs) / len(runs)


def _after(runs: Sequence[Run]) -> float:
    """People until half of the runs had decided."""
    return median(run.after if run.action is not None else float("inf") for run in runs)


def _alarm_row(name: str, runs: Sequence[Run]) -> Row:
    actions = [run.action for run in runs]
    return {
        "world": name,
        "false alarms": decided(runs),
        "promoted": actions.count("promote") / len(runs),
        "rolled back": actions.count("roll_back") / len(runs),
        "z-test, looked at as often": _naive_within(runs, NULLS[0].people),
    }


def _power_row(rate: float, runs: Sequence[Run]) -> Row:
    curve = {f"after {people}": _within(runs, people) for people in _AT}
    return {
        "win rate": rate,
        **curve,
        "voters, median": _after(runs),
        "wrong": _wrong((rate, runs)),
    }


def _harm_row(share: float, name: str, runs: Sequence[Run]) -> Row:
    ended = sum(run.action == "roll_back" for run in runs) / len(runs)
    return {"share": share, "harm": name, "rolled back": ended, "people, median": _after(runs)}


def _draw_alarms(axes: Axes, nulls: dict[str, list[Run]]) -> None:
    people = range(1, NULLS[0].people + 1)
    for name, runs in nulls.items():
        axes.plot(people, [_within(runs, n) for n in people], label=name)
    naive = nulls[NULLS[0].name]
    axes.plot(people, [_naive_within(naive, n) for n in people], color="0.6",
              label="a z-test, looked at as often")  # fmt: skip
    axes.axhline(MAX_FALSE_ALARMS, color="0.4", linestyle="--", linewidth=1)
    axes.set_ylim(0, 0.5)
    axes.set_xlabel("people so far, looked at after each of them")
    axes.set_ylabel("share of runs with a verdict")
    axes.set_title("Nothing differs: false alarms", loc="left")
    axes.legend(fontsize=8)


def _draw_power(axes: Axes, effects: dict[float, list[Run]]) -> None:
    people = range(1, _POWER_PEOPLE + 1)
    for rate, runs in effects.items():
        style = "-" if rate > 0.5 else "--"
        axes.plot(people, [_within(runs, n) for n in people], style, label=f"wins {rate:.0%}")
    axes.set_xlabel("voters so far, four votes each on average")
    axes.set_ylabel("share of runs with a verdict")
    axes.set_title("The canary wins so many blind pairs: how soon that is known", loc="left")
    axes.legend(fontsize=8)
