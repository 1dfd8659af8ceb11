"""Values files that the schema takes: one of the ways in helm/ci, with some values changed at random."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

from tests.helm.chart import FOLDER

SCHEMA: dict[str, Any] = json.loads((FOLDER / "values.schema.json").read_text())
_VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
_TEXT = st.text("abc -_.:/", max_size=12)
Strategy = st.SearchStrategy[Any]


def changes() -> Strategy:
    """Up to eight values, somewhere in the tree: (path, value) pairs."""
    paths = sorted(_leaves(SCHEMA))
    one = st.sampled_from(paths).flatmap(
        lambda path: st.tuples(st.just(path), of(_at(path)).filter(lambda v: _is_valid(path, v)))
    )
    return st.lists(one, min_size=1, max_size=8)


def taking(value: Any) -> list[tuple[str, ...]]:
    """Where in the tree this value may stand."""
    return [path for path in sorted(_leaves(SCHEMA)) if _is_valid(path, value)]


def merged(pairs: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """As a values file has them."""
    values: dict[str, Any] = {}
    for path, value in pairs:
        node = values
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    return values


def of(schema: dict[str, Any]) -> Strategy:
    """What a schema of ours takes; `not` and lengths are for the caller to filter."""
    node = _resolved(schema)
    for several in ("oneOf", "anyOf"):
        if several in node:
            return st.one_of([of(one) for one in node[several]])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    kind = node.get("type", "string")
    if isinstance(kind, list):
        return st.one_of([of({**node, "type": one}) for one in kind])
    return _OF[kind](node)


def _object(node: dict[str, Any]) -> Strategy:
    required = {name: of(node["properties"][name]) for name in node.get("required", [])}
    optional = {
        name: of(inner)
        for name, inner in node.get("properties", {}).items()
        if name not in required
    }
    if "properties" in node:
        return st.fixed_dictionaries(required, optional=optional)
    names = of({"type": "string", **node.get("propertyNames", {})})
    return st.dictionaries(names, of(node.get("additionalProperties") or {}), max_size=3)


def _string(node: dict[str, Any]) -> Strategy:
    if "pattern" in node:
        return st.from_regex(node["pattern"].replace("$", r"\Z"), fullmatch=True).filter(
            str.isascii
        )
    return _TEXT.filter(lambda text: len(text) >= node.get("minLength", 0))


def _integer(node: dict[str, Any]) -> Strategy:
    lowest = node.get("minimum", node.get("exclusiveMinimum", -1) + 1)
    return st.integers(int(lowest), int(node.get("maximum", 100_000_000)))


def _number(node: dict[str, Any]) -> Strategy:
    lowest = node.get("minimum", node.get("exclusiveMinimum", 0.0) + 0.01)
    highest = node.get("maximum", node.get("exclusiveMaximum", 100.01) - 0.01)
    return st.floats(lowest, highest, allow_nan=False).map(lambda value: round(value, 3))


_OF = {
    "object": _object,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _node: st.booleans(),
    "null": lambda _node: st.none(),
    "array": lambda node: st.lists(
        of(node.get("items", {})), min_size=node.get("minItems", 0), max_size=2
    ),
}
_WHOLE = {"extraObjects", "global", "monitoring", "settings"}


def _leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    node = _resolved(schema)
    if "properties" not in node or "affinity" in path:
        yield path
        return
    for name, inner in node["properties"].items():
        if path or name not in _WHOLE:
            yield from _leaves(inner, (*path, name))
        elif name == "settings":
            yield from ((name, setting) for setting in inner["properties"])


def _at(path: tuple[str, ...]) -> dict[str, Any]:
    node = SCHEMA
    for name in path:
        node = _resolved(node)["properties"][name]
    return node


def _is_valid(path: tuple[str, ...], value: Any) -> bool:
    return bool(_VALIDATOR.is_valid(merged([(path, value)])))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    return dict(SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]])
