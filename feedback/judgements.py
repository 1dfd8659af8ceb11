"""What a person says about answers. A body that cannot be true is refused, naming the field.

Letters stand for candidates by position: `a` is the first of `candidates`. Tiers come best first, and
two letters in a tier are a tie, so that a ranking that contradicts itself cannot be written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)

from feedback.json_numbers import JSON_NUMBER

MAX_CANDIDATES = 9

# InstructGPT, table 3: what a labeler notes of one answer besides its place.
Flag = Literal[
    "fails_to_follow_instruction",
    "inappropriate_for_customer_assistant",
    "hallucination",
    "satisfies_constraint",
    "sexual_content",
    "violent_content",
    "encourages_harm",
    "denigrates_protected_class",
    "harmful_advice",
    "expresses_opinion",
    "expresses_moral_judgment",
]
Letter = Annotated[str, Field(pattern="^[a-i]$")]
Likert = Annotated[int, Field(ge=1, le=7), JSON_NUMBER]
Note = Annotated[str, Field(max_length=4_000)]
Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Tags = Annotated[dict[Name, Annotated[str, Field(max_length=512)]], Field(max_length=16)]
Metric = StrictBool | Annotated[float, Field(allow_inf_nan=False), JSON_NUMBER]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(_Record):
    """One answer: a completion, and which of its choices."""

    completion_id: Annotated[str, Field(min_length=1, max_length=128)]
    index: Annotated[int, Field(ge=0, lt=MAX_CANDIDATES), JSON_NUMBER] = 0


class Judgement(_Record):
    """What all forms share."""

    form: ClassVar[str]

    labeler: Annotated[str | None, Field(min_length=1, max_length=128)] = Field(
        default=None, description="Who judges, as the caller names people; default: the API key."
    )
    assignment_id: Annotated[str | None, Field(pattern="^asg_[0-9a-z]{1,64}$")] = Field(
        default=None, description="The assignment that this answers, if it was given as one."
    )
    duration_ms: Annotated[int | None, Field(ge=0, le=86_400_000), JSON_NUMBER] = None
    note: Note = ""
    tags: Tags = Field(default={}, description="The caller's own; kept beside the judgement.")

    def about(self) -> list[Candidate]:
        """The answers it speaks of."""
        return []


class CardRating(_Record):
    """One card by itself, apart from its place among the others."""

    likert: Likert | None = None
    flags: dict[Flag, StrictBool] = {}


class Ranking(Judgement):
    """A whole candidate set in order."""

    form: ClassVar[str] = "ranking"

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=2, max_length=MAX_CANDIDATES)]
    tiers: Annotated[tuple[tuple[Letter, ...], ...], Field(min_length=1)] = Field(
        description="Letters by position in `candidates`, best tier first."
    )
    all_bad: StrictBool = False
    ratings: dict[Letter, CardRating] = {}
    shown_order: tuple[Letter, ...] | None = None

    @field_validator("candidates")
    @classmethod
    def _each_once(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        if len(set(candidates)) != len(candidates):
            raise ValueError("a candidate is named twice")
        return candidates

    @field_validator("tiers")
    @classmethod
    def _complete(
        cls, tiers: tuple[tuple[str, ...], ...], info: ValidationInfo
    ) -> tuple[tuple[str, ...], ...]:
        if not all(tiers):
            raise ValueError("a tier is empty")
        _require_every_letter_once([letter for tier in tiers for letter in tier], info)
        return tiers

    @field_validator("shown_order")
    @classmethod
    def _order_complete(
        cls, order: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        if order is not None:
            _require_every_letter_once(list(order), info)
        return order

    @field_validator("ratings")
    @classmethod
    def _known_letters(
        cls, ratings: dict[str, CardRating], info: ValidationInfo
    ) -> dict[str, CardRating]:
        if strange := ratings.keys() - set(_letters(info)):
            raise ValueError(f"there is no candidate {sorted(strange)[0]}")
        return ratings

    def about(self) -> list[Candidate]:
        return list(self.candidates)


class Comparison(Judgement):
    """Two answers, side by side."""

    form: ClassVar[str] = "comparison"

    a: Candidate
    b: Candidate
    preference: Annotated[int, Field(ge=-3, le=3), JSON_NUMBER] = Field(
        description="3: a is much better; 0: a tie; -3: b is much better."
    )
    both_bad: StrictBool = False

    @field_validator("b")
    @classmethod
    def _another(cls, b: Candidate, info: ValidationInfo) -> Candidate:
        if b == info.data.get("a"):
            raise ValueError("a and b are the same answer")
        return b

    def about(self) -> list[Candidate]:
        return [self.a, self.b]


class Rating(Judgement):
    """One answer by itself."""

    form: ClassVar[str] = "rating"

    completion_id: Annotated[str, Field(min_length=1, max_length=128)]
    index: Annotated[int, Field(ge=0, lt=MAX_CANDIDATES), JSON_NUMBER] = 0
    likert: Likert | None = None
    thumb: Literal["up", "down"] | None = None
    flags: dict[Flag, StrictBool] = {}
    metrics: Annotated[dict[Name, Metric], Field(max_length=16)] = Field(
        default={}, description="What the caller measures, on the caller's own scale."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Rating:
        if self.likert is None and self.thumb is None and not self.flags and not self.metrics:
            raise ValueError("a rating has a likert, a thumb, flags or metrics")
        return self

    def about(self) -> list[Candidate]:
        return [Candidate(completion_id=self.completion_id, index=self.index)]


class Comment(Judgement):
    """Words about one answer. Kept and shown; nothing trains on them."""

    form: ClassVar[str] = "comment"

    completion_id: Annotated[str, Field(min_length=1, max_length=128)]
    index: Annotated[int, Field(ge=0, lt=MAX_CANDIDATES), JSON_NUMBER] = 0
    text: Text

    def about(self) -> list[Candidate]:
        return [Candidate(completion_id=self.completion_id, index=self.index)]


class Message(_Record):
    """One turn of the conversation that a demonstration answers."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Demonstration(Judgement):
    """The answer that a person would have given."""

    form: ClassVar[str] = "demonstration"

    messages: Annotated[tuple[Message, ...], Field(max_length=512)] = ()
    completion: Text
    parent: Annotated[str | None, Field(min_length=1, max_length=128)] = Field(
        default=None, description="Id of the completion that this one should have been."
    )

    @model_validator(mode="after")
    def _answers_something(self) -> Demonstration:
        if not self.messages and self.parent is None:
            raise ValueError("a demonstration has messages, or a parent whose prompt it answers")
        return self

    def about(self) -> list[Candidate]:
        return [] if self.parent is None else [Candidate(completion_id=self.parent)]


SkipReason = Literal["unclear", "language", "personal_data", "harmful", "broken"]


class Skip(_Record):
    """Why an assignment cannot be judged."""

    reason: SkipReason
    note: Note = ""


def aspects(rating: Mapping[str, Any]) -> list[str]:
    """What a rating's body states. Two metrics of one answer are two opinions, not one that changed."""
    names = [name for name in ("likert", "thumb", "flags") if rating.get(name)]
    return names + [f"metrics.{name}" for name in sorted(rating.get("metrics", {}))]


def body_of(judgement: Judgement) -> dict[str, Any]:
    """The JSON that the log keeps; who judged is beside it."""
    return judgement.model_dump(
        mode="json", exclude={"labeler", "assignment_id"}, exclude_defaults=False
    )


def _letters(info: ValidationInfo) -> str:
    return ascii_lowercase[: len(info.data.get("candidates", ()))]


def _require_every_letter_once(given: list[str], info: ValidationInfo) -> None:
    expected = _letters(info)
    if not expected:
        return  # the candidates themselves are refused already
    if sorted(given) != list(expected):
        raise ValueError(
            f"every candidate exactly once: {', '.join(expected)}; not {', '.join(given)}"
        )
