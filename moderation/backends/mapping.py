"""Mapping files (TOML): which labels or hazard codes of a model mean which of OpenAI's categories.

`labels` are a sequence classifier's classes. A guard LLM names hazard `codes` after one verdict, or
is asked one of `questions` at a time. A category without a label is null: nobody judges it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from feedback.errors import HoneError, Refused
from moderation import policy
from moderation.categories import CATEGORIES

FOLDER = Path(__file__).parent.parent / "mappings"

Activation = Literal["sigmoid", "softmax"]


class Mapping(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: Literal["labels", "codes", "questions"]
    categories: dict[str, tuple[str, ...]]  # what means a category; of several the highest counts
    thresholds: dict[str, float] = {}  # where a category is flagged, if not from 0.5 on

    # A classifier's, where its config.json does not say them or is not at hand.
    labels: tuple[str, ...] = ()  # in the order of its classes
    activation: Activation | None = None

    # A guard's.
    verdicts: dict[str, float] = {}  # word -> how much of its probability counts as unsafe
    verdict_after: str = ""  # what its answer says before the verdict
    codes_after: str = ""  # what it says before the codes, after the verdict
    questions: dict[str, dict[str, Any]] = {}  # label -> `chat_template_kwargs` that ask for it
    chat_template_kwargs: dict[str, Any] = {}  # of every question
    max_tokens: int = Field(default=32, ge=1)  # of an answer
    window_tokens: int = Field(default=2048, ge=32)  # of a text, read at a time

    @model_validator(mode="after")
    def _hangs_together(self) -> Mapping:
        for name, limit in {
            **dict.fromkeys(self.categories, policy.FLAG),
            **self.thresholds,
        }.items():
            try:
                policy.check(name, limit)
            except HoneError as error:
                raise ValueError(error.message) from error
        if unknown := self.thresholds.keys() - set(self.scored):
            raise ValueError(f"a threshold for what no label means: {', '.join(sorted(unknown))}")
        if self.style != "labels" and not (
            any(self.verdicts.values()) and 0.0 in self.verdicts.values()
        ):
            raise ValueError("verdicts: one word that is 0.0, and one that is more, are needed")
        if self.style == "questions" and (unasked := self.named - self.questions.keys()):
            raise ValueError(f"no question asks for {', '.join(sorted(unasked))}")
        return self

    @property
    def scored(self) -> tuple[str, ...]:
        """The categories that something means, in OpenAI's order."""
        return tuple(name for name in CATEGORIES if self.categories.get(name))

    @property
    def named(self) -> set[str]:
        """All labels that mean something."""
        return {label for labels in self.categories.values() for label in labels}

    @property
    def limits(self) -> dict[str, float]:
        """Where each scored category is flagged."""
        return {name: self.thresholds.get(name, policy.FLAG) for name in self.scored}


def shipped() -> list[str]:
    """Names of the mappings that come with hone."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def read(name: str) -> Mapping:
    """A shipped mapping by its name, or anybody's by its path. Raises Refused with the cure."""
    path = FOLDER / f"{name}.toml" if name in shipped() else Path(name)
    try:
        return Mapping.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(
            f"HONE_MODERATION_MAPPING: no mapping {name!r} ({error}); name a TOML file, or one of "
            + ", ".join(shipped())
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        at = ".".join(map(str, first["loc"])) or "the file"
        raise Refused(f"{path}: {at}: {first['msg']}") from error
