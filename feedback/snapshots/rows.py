"""What is written: a ranking, a prompt, a demonstration.

Training reads token ids as the engine made them. Where a text held personal data its ids do too, so they
are left out (`null`) and the masked text stands in their place: the trainer makes ids of it anew, with the
model's chat template; so it does of imported texts, of which nobody has made any. No row holds
log-probabilities, so nothing that was computed on the old ids is mixed with the new ones. What cannot be
written anew faithfully (tool calls, pictures) is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feedback.snapshots.pii import Masker

Row = dict[str, Any]


class Writer:
    """Makes rows. None: it holds personal data that cannot be masked."""

    def __init__(self, masker: Masker | None) -> None:
        self._masker = masker

    def prompt(self, prompt: Mapping[str, Any]) -> Row | None:
        """Of a prompt as `answers.prompt_of` keeps it: its ids, or what they are to be made from."""
        texts = texts_of(prompt)
        masked = [self._mask(text) for text in texts]
        kinds = sorted({kind for _, found in masked for kind in found})
        row: Row = {"prompt_ids": prompt.get("prompt_ids"), "prompt_text": question_of(prompt)}
        if not kinds:
            if row["prompt_ids"] is None:
                row |= {name: prompt[name] for name in ("messages", "prompt") if name in prompt}
            return row
        if not _is_plain(prompt):
            return None
        row |= {"prompt_ids": None, "masked": kinds}
        if "messages" in prompt:
            row["messages"] = [
                {"role": message["role"], "content": text}
                for message, (text, _) in zip(prompt["messages"], masked, strict=True)
            ]
        else:
            row["prompt"] = masked[0][0]
        return row | {"prompt_text": question_of(row)}

    def answer(self, answer: Mapping[str, Any]) -> Row | None:
        text, kinds = self._mask(answer["text"])
        if not kinds:
            row: Row = {"token_ids": answer["token_ids"], "text": text}
            return row if row["token_ids"] is not None else {**row, "ended": answer["ended"]}
        if answer["has_tools"]:
            return None
        return {"token_ids": None, "text": text, "ended": answer["ended"], "masked": kinds}

    def ranking(
        self, judgement: Mapping[str, Any], completions: Mapping[str, Mapping[str, Any]]
    ) -> Row | None:
        """`completions`: those it is about, by their id."""
        prompt = self.prompt(completions[judgement["refs"][0][0]])
        answers = [
            self.answer(completions[completion_id]["answers"][str(index)])
            for completion_id, index in judgement["refs"]
        ]
        if prompt is None or None in answers:
            return None
        about = {name: judgement[name] for name in ("id", "labeler")}
        return {**about, **prompt, "completions": answers, "ranks": judgement["ranks"]}

    def demonstration(
        self, judgement: Mapping[str, Any], parent: Mapping[str, Any] | None
    ) -> Row | None:
        """Only its prompt is masked: a model that learns to write `<PHONE_NUMBER>` learned nothing good."""
        prompt = self.prompt(parent if parent is not None else {"messages": judgement["messages"]})
        if prompt is None or self._mask(judgement["text"])[1]:
            return None
        about = {name: judgement[name] for name in ("id", "labeler")}
        return {**about, **prompt, "completion_text": judgement["text"]}

    def _mask(self, text: str) -> tuple[str, list[str]]:
        masked = self._masker.mask(text) if self._masker is not None else None
        return (text, []) if masked is None else (masked.text, list(masked.kinds))


def texts_of(prompt: Mapping[str, Any]) -> list[str]:
    """Every text of a prompt, a message each."""
    if "messages" not in prompt:
        return [str(prompt.get("prompt", ""))]
    return [_text(message) for message in prompt["messages"]]


def question_of(prompt: Mapping[str, Any]) -> str:
    """What a person asked, as text: the last message, or the prompt."""
    return texts_of(prompt)[-1] if prompt.get("messages") else str(prompt.get("prompt", ""))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text") or "" for part in content if isinstance(part, dict))


def _is_plain(prompt: Mapping[str, Any]) -> bool:
    """Roles and texts are all there is, so that the chat template gives the same ids for the same texts."""
    return not prompt.get("has_tools") and all(
        set(message) <= {"role", "content"}
        and all(
            part.get("type") == "text"
            for part in message.get("content") or ()
            if isinstance(part, dict)
        )
        for message in prompt.get("messages", ())
    )
