"""The answer of /admin/lineage for the OpenAPI page, and for nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

Kind = Literal["person", "completion", "judgement", "snapshot", "round", "version"]


class LineageNode(BaseModel):
    """One thing of the chain; which facts it has depends on its kind."""

    key: str  # "<kind>:<id>"
    kind: Kind
    id: str
    steps: int  # from what was asked for
    facts: dict[str, Any]
    is_broken: bool


class LineageEdge(BaseModel):
    """`target` was made of `source`, or with it. Keys of nodes."""

    source: str
    target: str
    what: str


class LineageBreak(BaseModel):
    """What can no longer be shown, or is not what it was."""

    node: str
    what: Literal["erased", "unknown", "away", "gone", "incomplete", "differs"]
    message: str


class LineageShown(BaseModel):
    """A chain, the nearest first."""

    object: Literal["lineage"]
    id: str
    kind: Kind
    direction: Literal["backward", "forward"]
    is_whole: bool  # nothing is broken
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    breaks: list[LineageBreak]
    trained_versions: list[str]  # forward: a round made them of it
    later_versions: list[str]  # forward: trained on from such a one
    live: dict[str, list[str]]  # version -> aliases that mean it now
