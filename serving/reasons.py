"""Why an operator changes something: bodies of their requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Reason = Annotated[str, Field(max_length=512)]
MustSay = Annotated[str, Field(min_length=1, max_length=512)]


class Why(BaseModel):
    """Why, for the audit log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason = ""


class WhyIndeed(BaseModel):
    """Why, where a reason must be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: MustSay


class RollBack(Why):
    """Why, and what is to be taken back."""

    production: Annotated[str | None, Field(max_length=128)] = None
