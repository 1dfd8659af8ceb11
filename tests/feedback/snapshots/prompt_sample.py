"""Pairs of prompts: one asked again in other clothes, or another question that only looks like it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_SHORT = (
    "What is the capital of {country}?",
    "How do I get started with {hobby}?",
    "Write a poem about {thing} in {number} lines.",
    "Explain {topic} to a child.",
    "Translate 'good morning' into {language}.",
    "Give me {number} tips for {hobby}.",
    "Why do people enjoy {hobby} so much?",
    "Sort a list of numbers in {code}.",
    "My {person} is worried about {hobby}. What should I tell them?",
    "Is {thing} heavier than {other}?",
)
_SENTENCES = (
    "I have been working in the same office for {number} years and my {person} thinks I should leave.",
    "Every morning I take the train to {country} and read about {topic}.",
    "Lately {hobby} has become the only thing that makes me happy.",
    "My neighbour collects {thing} and keeps it beside the {other}.",
    "We learned {language} at school, but nobody in the family speaks it well.",
    "The budget for this project is {number} thousand, which has to last until spring.",
    "Last winter we started to study {topic} with a group of friends.",
    "The doctor said that {hobby} would be good for my back.",
)
_WORDS: dict[str, tuple[str, ...]] = {
    "country": (
        "France",
        "Italy",
        "Norway",
        "Kenya",
        "Japan",
        "Peru",
        "Austria",
        "Australia",
        "Iran",
        "Iraq",
    ),
    "hobby": (
        "baking bread",
        "hiking alone",
        "learning chess",
        "painting walls",
        "meditation",
        "swimming",
        "cycling",
    ),
    "thing": ("a violin", "an umbrella", "a lantern", "the harbour", "a bicycle", "an old clock"),
    "other": ("a piano", "a refrigerator", "a ladder", "a cupboard", "a telescope"),
    "topic": ("gravity", "inflation", "photosynthesis", "recursion", "democracy", "evolution"),
    "language": ("French", "Spanish", "German", "Finnish", "Swahili", "Japanese"),
    "code": ("Python", "Rust", "Haskell", "JavaScript", "Fortran"),
    "person": ("grandmother", "brother", "manager", "daughter", "teacher"),
    "number": tuple(str(number) for number in range(2, 60)),
}


@dataclass(frozen=True, kw_only=True)
class Pair:
    one: str
    other: str
    is_same: bool
    how: str


def pairs(*, seed: int, num: int) -> list[Pair]:
    """`num` of each way to say the same, and of each way not to."""
    rng = random.Random(seed)
    found = []
    for is_same, ways in ((True, _SAME), (False, _DIFFERENT)):
        for how, change in ways.items():
            for number in range(num):
                template = _template(rng, is_long=number % 2 == 1)
                values = {name: rng.choice(words) for name, words in _WORDS.items()}
                one = template.format(**values)
                other = change(rng, one, template, values)
                if other is not None and other != one:
                    found.append(Pair(one=one, other=other, is_same=is_same, how=how))
    return found


def _template(rng: random.Random, *, is_long: bool) -> str:
    question = rng.choice(_SHORT)
    if not is_long:
        return question
    return " ".join([*rng.sample(_SENTENCES, k=rng.randrange(4, 8)), question])


Change = Callable[[random.Random, str, str, dict[str, str]], str | None]


def _typo(rng: random.Random, one: str, _template: str, _values: dict[str, str]) -> str:
    words = one.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 7 and word.isalpha()]
    if not long:
        return one
    i = rng.choice(long)
    at = rng.randrange(1, len(words[i]) - 1)
    word = words[i]
    words[i] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + rng.choice("aeiou") + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :] if at + 1 < len(word) else word,
        )
    )
    return " ".join(words)


def _politely(rng: random.Random, one: str, _template: str, _values: dict[str, str]) -> str:
    return rng.choice(
        ("Hi! {}", "Please, {}", "{} Thanks!", "Hello, can you please help me: {}")
    ).format(one)


def _other_marks(rng: random.Random, one: str, _template: str, _values: dict[str, str]) -> str:
    return rng.choice(
        (
            one.upper(),
            one.lower(),
            one.replace("?", " ??"),
            one.replace(" ", "  ") + "\n",
            one + " ...",
        )
    )


def _one_word_of_many(
    rng: random.Random, one: str, _template: str, _values: dict[str, str]
) -> str | None:
    words = one.split(" ")
    if len(words) < 45:
        return None
    plain = [
        i for i, word in enumerate(words) if word.isalpha() and word.islower() and len(word) > 3
    ]
    words[rng.choice(plain)] = rng.choice(("really", "often", "usually"))
    return " ".join(words)


def _other_value(
    rng: random.Random, _one: str, template: str, values: dict[str, str]
) -> str | None:
    """In the question, which comes last: another country, another number."""
    question = template[max(template.rfind(". "), template.rfind("? ")) + 1 :]
    names = [name for name in _WORDS if f"{{{name}}}" in question]
    if not names:
        return None
    name = rng.choice(names)
    value = rng.choice([word for word in _WORDS[name] if word != values[name]])
    return template.format(**{**values, name: value})


def _not(_rng: random.Random, one: str, template: str, _values: dict[str, str]) -> str | None:
    if len(template) > 80:
        return None
    for before, after in (
        ("How do I get", "How do I never get"),
        ("Why do people enjoy", "Why do people hate"),
    ):
        if before in one:
            return one.replace(before, after)
    return None


def _turned(rng: random.Random, _one: str, template: str, values: dict[str, str]) -> str | None:
    """Is a piano heavier than a violin?"""
    if not template.startswith("Is {thing}"):
        return None
    return template.format(**{**values, "thing": values["other"], "other": values["thing"]})


def _another_task(
    rng: random.Random, _one: str, template: str, values: dict[str, str]
) -> str | None:
    """The same story, and another question about it."""
    story, _, question = template.rpartition(". ")
    others = [other for other in _SHORT if other != question]
    return f"{story}. {rng.choice(others)}".format(**values) if story.count(".") > 2 else None


_SAME: dict[str, Change] = {
    "typing error": _typo,
    "politely": _politely,
    "case, marks, spaces": _other_marks,
    "one word of many": _one_word_of_many,
}
_DIFFERENT: dict[str, Change] = {
    "another value": _other_value,
    "the opposite": _not,
    "turned round": _turned,
    "another task": _another_task,
}
