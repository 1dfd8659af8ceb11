from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.canary.people import draw, person
from serving.canary.state import Canary, CanaryId

SEEDED = settings(deadline=None, derandomize=True, database=None)

PEOPLE = [person(tenant="t", key_id="k", end_user=f"u{n}", request={}) for n in range(4000)]


def canary(share: float, version: str = "policy-0007") -> Canary:
    return Canary(
        id=CanaryId("can_1"),
        version=version,
        digest="d" * 64,
        incumbent="policy-0006",
        incumbent_digest="e" * 64,
        share=share,
        started=0.0,
        actor="op",
        reason="",
    )


def drawn(share: float, version: str = "policy-0007") -> set[str]:
    return {who for who in PEOPLE if draw(who, canary(share, version)).arm == "canary"}


def test_the_share_is_met_and_stays_the_same_people() -> None:
    assert 0.08 * len(PEOPLE) < len(drawn(0.1)) < 0.12 * len(PEOPLE)
    assert drawn(0.1) == drawn(0.1)


@SEEDED
@given(st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_a_larger_share_only_adds_people(one: float, other: float) -> None:
    people = PEOPLE[:200]
    first, second = (
        {who for who in people if draw(who, canary(share)).arm == "canary"}
        for share in sorted((one, other))
    )
    assert first <= second


def test_other_people_come_first_for_another_version() -> None:
    both = drawn(0.1, "policy-0007") & drawn(0.1, "policy-0008")
    assert len(both) < 0.02 * len(PEOPLE)  # one in a hundred by chance


def test_without_a_name_a_conversation_is_a_person_and_stays_one() -> None:
    def talk(*messages: tuple[str, str], key_id: str = "k") -> str:
        said = [{"role": role, "content": content} for role, content in messages]
        return person(tenant="t", key_id=key_id, end_user=None, request={"messages": said})

    opening = (("system", "You help."), ("user", "Who was Ada?"))
    first = talk(*opening)
    assert first == talk(*opening, ("assistant", "A mathematician."), ("user", "When?"))
    assert first != talk(("system", "You help."), ("user", "Who was Bob?"))
    assert first != talk(*opening, key_id="another app")
    named = [
        person(tenant=tenant, key_id="k", end_user="ann", request={"messages": []})
        for tenant in ("t", "t", "another")
    ]
    assert named[0] == named[1] != named[2]
    assert "ann" not in "".join(named)
