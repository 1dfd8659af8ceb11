"""The walk, on graphs that chance drew: cycles, branches, pieces apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.lineage.graph import Edge, Key, between, touched, walk

_KEYS = st.sampled_from(
    [Key("round", f"round-{n:04d}") for n in range(3)]
    + [Key("version", f"policy-{n:04d}") for n in range(5)]
    + [Key("snapshot", f"rounds/round-{n:04d}/snapshot") for n in range(3)]
)
_EDGES = st.lists(st.builds(Edge, source=_KEYS, target=_KEYS, what=st.just("made")), max_size=30)


@given(edges=_EDGES, a=_KEYS, b=_KEYS)
def test_forward_from_one_gets_to_another_where_backward_from_that_gets_to_the_first(
    edges: list[Edge], a: Key, b: Key
) -> None:
    forward = walk(edges, [a], direction="forward")
    backward = walk(edges, [b], direction="backward")
    assert forward.get(b) == backward.get(a)  # in as many steps


@given(edges=_EDGES, starts=st.lists(_KEYS, max_size=4))
def test_every_step_is_one_edge_longer_than_the_nearest_before_it(
    edges: list[Edge], starts: list[Key]
) -> None:
    steps = walk(edges, starts, direction="forward")
    assert {key for key, step in steps.items() if step == 0} == set(starts)
    for edge in edges:
        if edge.source in steps:
            assert steps[edge.target] <= steps[edge.source] + 1
    for key, step in steps.items():
        into = [steps[e.source] for e in edges if e.target == key and e.source in steps]
        assert step == 0 or min(into) == step - 1
    for edge in between(edges, steps):
        assert {edge.source, edge.target} <= steps.keys()


@given(edges=_EDGES, starts=st.lists(_KEYS, max_size=4))
def test_a_version_is_trained_on_something_or_comes_later_and_never_both(
    edges: list[Edge], starts: list[Key]
) -> None:
    found = touched(edges, starts)
    assert not found.trained & found.later
    reached = walk(edges, starts, direction="forward")
    versions = {key.id for key in reached if key.kind == "version" and key not in starts}
    assert found.trained | found.later == versions
