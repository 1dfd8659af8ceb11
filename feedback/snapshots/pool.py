"""The second pass: prompts for PPO, a bounded sample of all that were asked.

A prompt's hash is its lot: the lowest `max_prompts` stay, so that each has the same chance whenever and
however often it was asked. Each user's lowest `max_prompts_per_user` stay. What is beyond is thrown out
whenever twice as many as wanted have come together, so that neither memory nor disk grows with the log.
"""

from __future__ import annotations

from collections import Counter

import orjson

from feedback.events import Completion
from feedback.snapshots.answers import is_flagged, prompt_hash, prompt_key, prompt_of
from feedback.snapshots.rules import Rules
from feedback.snapshots.splits import person_of, place_of
from feedback.snapshots.staging import Staging

_HIGHEST = (1 << 63) - 1

_OVER_USER_CAP = """
DELETE FROM prompts WHERE draw IN (SELECT draw FROM (
    SELECT draw, row_number() OVER (PARTITION BY person ORDER BY draw) AS place FROM prompts
) WHERE place > ?)
"""
_BEYOND = (
    "DELETE FROM prompts WHERE draw > (SELECT draw FROM prompts ORDER BY draw LIMIT 1 OFFSET ?)"
)


class PromptPool:
    """Takes every completion in order."""

    def __init__(self, staging: Staging, rules: Rules) -> None:
        self._staging = staging
        self._rules = rules
        self._seen: set[int] = set()
        self._highest = _HIGHEST  # prompts with a higher hash have no chance any more
        self.num_offered = 0
        self.removed: Counter[str] = Counter()

    def take(self, completion: Completion) -> None:
        self.num_offered += 1
        reason = self._stage(completion)
        if reason is not None:
            self.removed[reason] += 1
        elif len(self._seen) >= 2 * self._rules.max_prompts:
            self.prune()

    def prune(self) -> None:
        """Throw out what is beyond the caps; in the end, too."""
        self._staging.flush()
        rules, staging = self._rules, self._staging
        self.removed["over_user_cap"] += staging.change(_OVER_USER_CAP, rules.max_prompts_per_user)
        self.removed["not_sampled"] += staging.change(_BEYOND, rules.max_prompts - 1)
        self._seen = {draw for (draw,) in staging.rows("SELECT draw FROM prompts")}
        if len(self._seen) == rules.max_prompts:
            self._highest = max(self._seen)

    def _stage(self, completion: Completion) -> str | None:
        """None, or why not."""
        key = prompt_key(completion)
        if not key:
            return "no_prompt"
        if is_flagged(completion.moderation.get("prompt"), self._rules.max_moderation_score):
            return "flagged_by_moderation"
        draw = prompt_hash(key)
        if draw > self._highest:
            return "not_sampled"
        if draw in self._seen:
            return "same_prompt"
        self._seen.add(draw)
        person = person_of(completion.tenant, completion.end_user, completion.key_id)
        data = orjson.dumps(prompt_of(completion) | {"prompt_place": place_of(str(key))})
        row = (draw, self.num_offered, hash(person), place_of(person), data)
        self._staging.add("prompts", row)
        return None
