from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import pytest

from feedback.labeling.selection import Prompt, as_prompt, choose
from tests.feedback.conftest import a_set


def prompt(number: int, *, person: str = "p", use_case: str = "", digest: str = "") -> Prompt:
    return Prompt(
        completion_id=f"c{number}",
        person=person,
        use_case=use_case,
        digest=digest or f"d{number}",
    )


def chosen(
    prompts: list[Prompt], count: int, *, seen: Collection[str] = (), seed: int = 0
) -> list[str]:
    rng = random.Random(seed)
    return [one.completion_id for one in choose(prompts, count=count, seen=seen, rng=rng)]


def test_one_busy_person_is_not_all_that_labelers_see() -> None:
    prompts = [prompt(number, person="busy") for number in range(100)]
    prompts += [prompt(100 + number, person=f"p{number}") for number in range(9)]
    found = [int(name[1:]) for name in chosen(prompts, 10)]
    assert sum(number < 100 for number in found) == 1
    assert len(found) == 10


def test_a_small_use_case_gets_as_much_as_a_large_one() -> None:
    prompts = [prompt(n, person=f"p{n}", use_case="chat") for n in range(90)]
    prompts += [prompt(90 + n, person=f"p{n}", use_case="extract") for n in range(10)]
    counts = Counter(int(name[1:]) >= 90 for name in chosen(prompts, 16))
    assert counts == {True: 8, False: 8}


def test_every_prompt_of_a_person_is_as_likely() -> None:
    prompts = [prompt(number) for number in range(4)]
    counts = Counter(chosen(prompts, 1, seed=seed)[0] for seed in range(2_000))
    assert all(400 < count < 600 for count in counts.values())


def test_a_prompt_is_chosen_once() -> None:
    prompts = [prompt(1), prompt(2, digest="d1"), prompt(3), prompt(4)]
    found = chosen(prompts, 10, seen={"d3"})
    assert sorted(found) == ["c1", "c4"]
    assert chosen([], 10) == []


def test_prompts_that_differ_in_case_and_spaces_only_are_one() -> None:
    texts = ("What is  tea?", "what is tea?", "What is coffee?")
    one, same, other = (
        as_prompt(
            replace(
                a_set("c", num_choices=1),
                request={"messages": [{"role": "user", "content": text}]},
            )
        )
        for text in texts
    )
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    "changes",
    [{"prompt_of": "c0"}, {"complete": False}, {"version_last": "policy-0009"}],
)
def test_what_was_sampled_for_labelers_or_is_not_whole_is_not_chosen(
    changes: dict[str, object],
) -> None:
    fit = a_set("c", num_choices=1)
    assert as_prompt(fit) is not None
    assert as_prompt(replace(fit, **changes)) is None  # type: ignore[arg-type]
    assert as_prompt(a_set("c", num_choices=1, num_blocked=1)) is None
    assert as_prompt(a_set("c", num_choices=4)) is None
