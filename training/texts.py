"""Token ids of texts that a snapshot holds without them: personal data was masked in them, or nobody has
sent them to an engine yet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from feedback.errors import Unprocessable


class Texts:
    """The base model's tokenizer and chat template, as the engine uses them. Loaded when needed first."""

    def __init__(self, base_model: Path) -> None:
        self._base_model = base_model

    def asked(self, text: str) -> tuple[int, ...]:
        """One message of a person; the bare text where the model has no chat template."""
        if self._tokenizer.chat_template is None:
            return self.prompt_ids({"prompt": text})
        return self.prompt_ids({"messages": [{"role": "user", "content": text}]})

    def prompt_ids(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        """Of a row with `messages`, or with `prompt` (the text endpoint)."""
        if "messages" not in row:
            return tuple(self._tokenizer(row["prompt"])["input_ids"])
        if self._tokenizer.chat_template is None:
            raise Unprocessable(
                f"{self._base_model} has no chat template, and the data hold conversations: save one with "
                'its tokenizer, or give prompts as text, in rows with "endpoint": "text"'
            )
        text = self._tokenizer.apply_chat_template(
            list(row["messages"]), tokenize=False, add_generation_prompt=True
        )
        return self.ids(text)

    def answer_ids(self, answer: Mapping[str, Any]) -> tuple[int, ...]:
        """Of an answer with `text`; with an EOS if it had `ended`."""
        end = (self.eos_id,) if answer.get("ended") else ()
        return (*self.ids(answer["text"]), *end)

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def eos_id(self) -> int:
        return int(self._tokenizer.eos_token_id)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._base_model)
