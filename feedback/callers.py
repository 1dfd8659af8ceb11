"""Who sends a judgement, and what they may judge. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from feedback.errors import Unprocessable
from feedback.events import Completion, Feedback

# Of ids of people with a record. A key that used one would spend their trust, or ruin it.
LABELER_PREFIX = "lab_"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sends a judgement, as the gateway knows them."""

    key_id: str
    tenant: str
    is_labeler: bool  # may judge every answer of the tenant, not only the key's own
    source: str = "key"  # as in feedback.events.Feedback
    person: str | None = None  # who is logged in; None: the key speaks, and may name people

    def names(self, labeler: str | None) -> str:
        """Whose judgement it is, where the body names `labeler`. Raises Unprocessable."""
        if self.person is None:
            if (labeler or "").startswith(LABELER_PREFIX):
                raise Unprocessable(
                    f"{labeler} is a labeler, who judges by logging in; a key cannot speak for them",
                    param="labeler",
                )
            return labeler or self.key_id
        if labeler not in (None, self.person):
            raise Unprocessable("you judge in your own name; leave it out", param="labeler")
        return self.person

    def said(self, event: Feedback) -> bool:
        """Whether it is theirs: the person's who is logged in, else the key's."""
        if event.tenant != self.tenant or event.source != self.source:
            return False
        if self.person is not None:
            return event.labeler == self.person
        return self.key_id in (event.key_id, event.labeler)

    def may_judge(self, completion: Completion) -> bool:
        """A key judges its own answers, a visitor those to their own questions, a labeler the tenant's."""
        if completion.tenant != self.tenant:
            return False
        is_own = completion.key_id == self.key_id
        if self.source == "end_user":
            is_own = is_own and completion.end_user == self.person
        return self.is_labeler or is_own
