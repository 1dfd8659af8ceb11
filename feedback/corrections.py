"""What moderation should have said of a text: the word of an operator, or of a labeler.

About a prompt or an answer of the log, one that was withheld too, or about a text that was never kept: a
prompt that moderation refused is not in the log.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, model_validator

from feedback.json_numbers import JSON_NUMBER
from feedback.judgements import MAX_CANDIDATES, Candidate, Judgement, Text

# OpenAI's thirteen, in its order.
Category = Literal[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]


class Correction(Judgement):
    """A text with the categories that it belongs to, and those that it does not."""

    form: ClassVar[str] = "correction"

    completion_id: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    index: Annotated[int | None, Field(ge=0, lt=MAX_CANDIDATES), JSON_NUMBER] = Field(
        default=None, description="Which of its answers; without one its prompt is meant."
    )
    text: Text | None = Field(default=None, description="A text that the log does not hold.")
    labels: Annotated[dict[Category, StrictBool], Field(min_length=1)] = Field(
        description="Categories that nothing is said of stay unknown."
    )

    @model_validator(mode="after")
    def _about_one_text(self) -> Correction:
        if (self.completion_id is None) == (self.text is None):
            raise ValueError("a correction is about a completion_id, or about a text")
        if self.completion_id is None and self.index is not None:
            raise ValueError("an index goes with a completion_id")
        return self

    def about(self) -> list[Candidate]:
        if self.completion_id is None:
            return []
        return [Candidate(completion_id=self.completion_id, index=self.index or 0)]
