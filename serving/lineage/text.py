"""A chain for a person to read: a line for each thing, what is broken at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from serving.lineage.graph import Key, Node
from serving.lineage.trail import Trail

_ORDER = ("person", "completion", "judgement", "snapshot", "round", "version")
_WIDTH = 11  # of the longest kind, and a space


def told(trail: Trail) -> str:
    """As `hone lineage` shows it."""
    lines = [_line(trail.nodes[key], trail.steps[key]) for key in _in_branches(trail)]
    if trail.direction == "forward":
        lines += list(_touched(trail))
    lines += [f"BROKEN  {each.message}" for each in trail.breaks]
    return "\n".join(lines)


def about(node: Node) -> str:
    """What is known of a thing, in a line."""
    return "  ".join(_ABOUT[node.key.kind](node.facts)) if node.facts else ""


def _in_branches(trail: Trail) -> Iterator[Key]:
    """Each thing once, below the one from which it is nearest to the start; rounds before other versions."""
    forward = trail.direction == "forward"
    below: dict[Key, list[Key]] = {}
    placed = {trail.start}
    for edge in trail.edges:
        near, far = (edge.source, edge.target) if forward else (edge.target, edge.source)
        if far not in placed and trail.steps[far] == trail.steps[near] + 1:
            below.setdefault(near, []).append(far)
            placed.add(far)
    stack = [trail.start]
    while stack:
        key = stack.pop()
        yield key
        stack += sorted(below.get(key, []), key=lambda each: _ORDER.index(each.kind), reverse=True)


def _touched(trail: Trail) -> Iterator[str]:
    if trail.touched is None or not (trail.touched.trained or trail.touched.later):
        yield "no version was trained on it"
        return
    for name, found in (("trained on it", trail.touched.trained), ("later", trail.touched.later)):
        if found:
            yield f"{name}: {', '.join(sorted(found))}"
    live = [f"{version} is {' and '.join(names)}" for version, names in trail.live.items()]
    yield f"now: {', '.join(live)}" if live else "now: none of them answers"


def _line(node: Node, step: int) -> str:
    return f"{'  ' * step}{node.key.kind:{_WIDTH}}{node.key.id}  {about(node)}".rstrip()


def _completion(facts: Mapping[str, Any]) -> Iterator[str]:
    yield _time(facts["created"])
    if facts["is_imported"]:
        yield "from elsewhere"
        return
    yield f"by {facts['version']}"
    if facts["is_mixed"]:
        yield f"and {facts['version_last']}: never trained on"
    if facts.get("trace_id"):
        yield f"trace {facts['trace_id']}"


def _judgement(facts: Mapping[str, Any]) -> Iterator[str]:
    yield _time(facts["created"])
    yield f"{facts['form']} by {facts['labeler']}"


def _person(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{facts['completions']} answers, {facts['judgements']} judgements"
    yield f"{facts['about']} about their answers"


def _snapshot(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = {name: part.get("rows", 0) for name, part in facts["parts"].items()}
    yield ", ".join(f"{count} {name}" for name, count in rows.items() if count) or "empty"
    if facts["labelers"] is not None:
        yield f"of {facts['labelers']} labelers"
    if facts["verified"]:
        yield f"{len(facts['sha256'])} files hashed"
    shown = [each for ids in facts["sample"].values() for each in ids][:2]
    if shown:
        yield f"such as {', '.join(shown)}"


def _round(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{facts.get('kind') or 'policy'} {facts.get('recipe') or ''}".rstrip()
    accuracy = (facts["reward_model"] or {}).get("accuracy")
    if accuracy and accuracy["value"] is not None:
        yield f"reward model right in {accuracy['value']:.3f}"
    if facts["gate"] is None:
        yield "no gate yet"
        return
    checks = facts["gate"].get("checks", [])
    passed = sum(bool(check["passed"]) for check in checks)
    yield f"gate {'passed' if facts['gate'].get('passed') else 'refused'}: {passed} of {len(checks)}"
    if facts["override"] is not None:
        yield f"overridden by {facts['override']['actor']}: {facts['override']['reason']}"


def _version(facts: Mapping[str, Any]) -> Iterator[str]:
    if "digest" not in facts:
        return
    yield " ".join([facts.get("kind") or facts["of"], facts["digest"][:12]])
    yield from facts["aliases"]
    for canary in facts["canaries"]:
        yield f"canary {canary['status']}"
    for tenure in facts["deployments"]:
        until = "" if tenure["until"] is None else f" to {_time(tenure['until'])}"
        yield f"live {_time(tenure['at'])}{until} ({tenure['how']} by {tenure['by']})"
        if (tenure["ended_by"] or {}).get("how") == "rollback":
            yield "rolled back"


_ABOUT = {
    "completion": _completion,
    "judgement": _judgement,
    "person": _person,
    "snapshot": _snapshot,
    "round": _round,
    "version": _version,
}


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
