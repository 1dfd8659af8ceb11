"""Which version came from which, as a drawing: time goes to the right, a branch has a row of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

_STEP, _ROW, _PAD = 62, 44, 34


@dataclass(frozen=True, kw_only=True)
class Node:
    version: str
    short: str  # `7` of policy-0007
    x: int
    y: int
    is_production: bool
    is_line: bool  # one of production's ancestors
    note: str


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A curve from a parent to its child, as SVG's path."""

    d: str
    is_line: bool


@dataclass(frozen=True, kw_only=True)
class Graph:
    nodes: Sequence[Node]
    edges: Sequence[Edge]
    width: int
    height: int
    summary: str


def graph(
    rows: Sequence[Mapping[str, Any]], *, production: str | None, line: Sequence[str]
) -> Graph | None:
    """`rows`: versions, oldest first, each with its parent; `line`: production and what it came from."""
    if not rows:
        return None
    on_line = set(line)
    lanes = _lanes(rows, on_line)
    places = {
        row["version"]: (_PAD + number * _STEP, _PAD + lanes[row["version"]] * _ROW)
        for number, row in enumerate(rows)
    }
    nodes = [_node(row, places[row["version"]], production, on_line) for row in rows]
    edges = [
        Edge(
            d=_curve(places.get(row["parent"]), places[row["version"]]),
            is_line={row["version"], row["parent"]} <= on_line,
        )
        for row in rows
        if row["parent"] is not None
    ]
    known = [version for version in line if version in places]
    from_ = f"; {production} came from {', '.join(known[1:]) or 'older ones'}" if production else ""
    return Graph(
        nodes=nodes,
        edges=edges,
        width=2 * _PAD + (len(rows) - 1) * _STEP,
        height=2 * _PAD + max(lanes.values()) * _ROW,
        summary=f"{len(rows)} versions, {max(lanes.values()) + 1} branches{from_}",
    )


def _lanes(rows: Sequence[Mapping[str, Any]], on_line: set[str]) -> dict[str, int]:
    """What production came from is the first row. Another version goes on in its parent's row, or takes the
    next one in which nothing follows any more."""
    parents = [row["parent"] for row in rows]
    lanes: dict[str, int] = {}
    last: dict[int, str] = {}  # row -> the version at its end
    for number, row in enumerate(rows):
        version, lane = row["version"], 0
        if version not in on_line:
            lane = lanes.get(row["parent"], 0)
            later = {parent for parent in parents[number:] if parent is not None}
            if lane == 0 or last[lane] != row["parent"]:
                lane = next(n for n in count(1) if last.get(n) not in later)
        lanes[version] = lane
        last[lane] = version
    return lanes


def _node(
    row: Mapping[str, Any], place: tuple[int, int], production: str | None, on_line: set[str]
) -> Node:
    gate = row.get("gate") or {}
    rate = gate.get("win_rate")
    said = (
        f", win rate {rate['value']:.2f} against it" if rate and rate["value"] is not None else ""
    )
    parent = f" from {row['parent']}" if row["parent"] else ""
    return Node(
        version=row["version"],
        short=str(int(row["version"].rpartition("-")[2])),
        x=place[0],
        y=place[1],
        is_production=row["version"] == production,
        is_line=row["version"] in on_line,
        note=f"{row['version']}{parent}{said}",
    )


def _curve(parent: tuple[int, int] | None, child: tuple[int, int]) -> str:
    x, y = child
    if parent is None:  # older than what is drawn
        return f"M0 {y}H{x}"
    x0, y0 = parent
    if y0 == y:
        return f"M{x0} {y0}H{x}"
    return f"M{x0} {y0}C{x0 + 28} {y0} {x0 + 10} {y} {x0 + 40} {y}H{x}"
