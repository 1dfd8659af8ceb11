"""The second pass: the completions that were judged, and every prompt.

Most completions of a log were not judged: of those only the prompt is looked at.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from feedback.events import Choice, Completion
from feedback.snapshots.judged import Mentioned
from feedback.snapshots.rules import Rules
from feedback.snapshots.splits import person_of, place_of
from feedback.snapshots.staging import Staging


class Answers:
    """Stages the completions that somebody judged."""

    def __init__(self, staging: Staging, mentioned: Mentioned, rules: Rules) -> None:
        self._staging = staging
        self._mentioned = mentioned
        self._limit = rules.max_moderation_score

    def take(self, completion: Completion) -> None:
        if completion.id not in self._mentioned:
            return
        person = person_of(completion.tenant, completion.end_user, completion.key_id)
        prompt = prompt_hash(prompt_key(completion))
        scores = completion.moderation.get("choices") or []
        choices = {
            choice.index: self._fault(completion, choice, scores[i] if i < len(scores) else {})
            for i, choice in enumerate(completion.choices)
        }
        places = (place_of(person), place_of(str(prompt_key(completion))))
        start, size = self._staging.put(orjson.dumps(_kept(completion)))
        row = (hash(completion.id), prompt, hash(person), *places, self._prompt_fault(completion))
        choices_json = orjson.dumps(choices, option=orjson.OPT_NON_STR_KEYS)
        self._staging.add("completions", (*row, choices_json, start, size))

    def _prompt_fault(self, completion: Completion) -> str | None:
        """Why no judgement about this completion can be trained on, whichever answer it is about."""
        if not prompt_key(completion):
            return "no_prompt"
        if is_flagged(completion.moderation.get("prompt"), self._limit):
            return "flagged_by_moderation"
        if completion.is_mixed:
            return "mixed_versions"
        return None if completion.complete else "incomplete"

    def _fault(
        self, completion: Completion, choice: Choice, scores: Mapping[str, float]
    ) -> str | None:
        if choice.blocked:
            return "blocked"
        if not choice.token_ids and not completion.is_imported:
            return "incomplete"
        return "flagged_by_moderation" if is_flagged(scores, self._limit) else None


def is_flagged(scores: Mapping[str, float] | None, limit: float) -> bool:
    """One category reaches the limit. Texts that were not scored pass."""
    return bool(scores) and max((scores or {}).values()) >= limit


def prompt_hash(prompt_ids: list[int]) -> int:
    """The same prompt has the same number in every snapshot."""
    data = array("Q", prompt_ids).tobytes()
    return int.from_bytes(blake2b(data, digest_size=8).digest(), signed=True)


def prompt_key(completion: Completion) -> list[int]:
    """Equal for equal prompts: token ids; bytes of the text where there are none yet."""
    if completion.is_imported:
        asked = completion.request.get("messages") or completion.request.get("prompt")
        return list(orjson.dumps(asked)) if asked else []
    return completion.prompt_ids


def prompt_of(completion: Completion) -> dict[str, Any]:
    """What a prompt's row is made from."""
    request = completion.request
    ids = None if completion.is_imported else completion.prompt_ids
    fields: dict[str, Any] = {"id": completion.id, "prompt_ids": ids}
    if request.get("messages"):
        fields["messages"] = request["messages"]
        if request.get("tools"):
            fields["has_tools"] = True
    else:
        fields["prompt"] = str(request.get("prompt", ""))
    return fields


def _kept(completion: Completion) -> dict[str, Any]:
    answers = {
        choice.index: {
            "token_ids": None if completion.is_imported else choice.token_ids,
            "text": choice.text,
            "ended": choice.finish_reason == "stop",
            "has_tools": choice.message is not None,
        }
        for choice in completion.choices
    }
    return prompt_of(completion) | {"answers": {str(i): answer for i, answer in answers.items()}}
