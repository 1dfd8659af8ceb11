from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedback.snapshots.splits import person_of, place_of, split_at

names = st.text(max_size=60)
shares = st.floats(min_value=0, max_value=0.5)


@given(names, shares, shares)
def test_a_person_has_one_side_and_it_is_the_same_each_time(
    name: str, heldout: float, validation: float
) -> None:
    sides = {
        split_at(place_of(name), heldout_share=heldout, validation_share=validation)
        for _ in range(3)
    }
    assert len(sides) == 1
    assert 0 <= place_of(name) < 1


@given(names, shares, shares, shares)
def test_a_larger_share_takes_nobody_away_from_its_side(
    name: str, one: float, other: float, validation: float
) -> None:
    smaller, larger = sorted((one, other))
    place = place_of(name)
    if split_at(place, heldout_share=smaller, validation_share=validation) == "heldout":
        assert split_at(place, heldout_share=larger, validation_share=0.0) == "heldout"


def test_sides_are_as_large_as_their_shares() -> None:
    places = [place_of(f"t/user-{number}") for number in range(20_000)]
    sides = [split_at(place, heldout_share=0.2, validation_share=0.1) for place in places]
    assert 0.19 < sides.count("heldout") / len(sides) < 0.21
    assert 0.09 < sides.count("validation") / len(sides) < 0.11


def test_places_are_the_same_in_every_release() -> None:
    """Whoever changes the hash moves people from train to held-out."""
    assert f"{place_of('t/ann'):.6f}" == "0.937684"
    assert split_at(place_of("t/ann"), heldout_share=0.2, validation_share=0.0) == "train"


@given(names, names, names)
def test_end_users_of_two_tenants_are_two_persons(tenant: str, user: str, key: str) -> None:
    assert person_of(tenant, user or None, key) != person_of(tenant + "x", user or None, key)


def test_whoever_names_no_end_user_is_one_person() -> None:
    assert person_of("t", None, "key_1") == person_of("t", None, "key_1") == "t/key_1"
