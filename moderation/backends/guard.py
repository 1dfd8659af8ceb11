"""A guard LLM behind an OpenAI-compatible chat API, read by its log-probabilities.

`codes`: one question; the guard says safe or unsafe, and names hazards (Llama Guard, Qwen3Guard).
`questions`: one question a hazard, put by its chat template; it says Yes or No (ShieldGemma, Granite
Guardian). The mapping file knows the words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feedback.errors import Refused
from moderation.backends import labels, verdicts
from moderation.backends import mapping as mappings
from moderation.backends.backend import Judged
from moderation.backends.pieces import pieces
from moderation.backends.remote import Remote, served
from moderation.backends.verdicts import Unreadable, Verdict
from moderation.settings import ModerationSettings

_TOP_LOGPROBS = 20  # the most that vLLM and OpenAI give


class Guard:
    """Raises Refused without a mapping of a guard."""

    def __init__(self, settings: ModerationSettings) -> None:
        if not settings.mapping:
            raise Refused(
                "HONE_MODERATION_BACKEND=guard needs HONE_MODERATION_MAPPING: a TOML file, or one of "
                + ", ".join(mappings.shipped())
            )
        self._mapping = mappings.read(settings.mapping)
        if self._mapping.style == "labels":
            raise Refused(f"{settings.mapping}: a classifier's mapping, not a guard's.")
        self._remote = Remote(
            settings.backend_url, key=settings.backend_key, timeout_s=settings.backend_timeout_s
        )
        self._room = asyncio.Semaphore(settings.backend_batch)  # questions asked at once
        self._served_as = settings.model
        self.model = settings.model or f"guard-{Path(settings.mapping).stem}"

    @property
    def scored(self) -> tuple[str, ...]:
        return self._mapping.scored

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self._mapping.limits

    async def score(self, texts: Sequence[str]) -> list[Judged]:
        if not self._served_as:
            self._served_as, _ = await served(self._remote, prefix="/v1")
            self.model = self._served_as
        cut = [pieces(text, max_tokens=self._mapping.window_tokens) for text in texts]
        asked = [self._judge(piece) for parts in cut for piece in parts]
        return labels.gather(await asyncio.gather(*asked), counts=[len(parts) for parts in cut])

    async def close(self) -> None:
        await self._remote.close()

    async def _judge(self, text: str) -> dict[str, float]:
        mapping = self._mapping
        if mapping.style == "codes":
            verdict = await self._ask(text, {})
            found = verdicts.hazards(
                verdict,
                labels=mapping.named,
                after=mapping.codes_after,
                is_unsafe=mapping.verdicts[verdict.word] > 0.0,
            )
        else:
            names = sorted(mapping.named)
            answers = await asyncio.gather(
                *(self._ask(text, mapping.questions[name]) for name in names)
            )
            found = {name: answer.unsafe for name, answer in zip(names, answers, strict=True)}
        return {
            name: max(found[label] for label in mapping.categories[name]) for name in self.scored
        }

    async def _ask(self, text: str, question: Mapping[str, Any]) -> Verdict:
        mapping = self._mapping
        body: dict[str, Any] = {
            "model": self._served_as,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0.0,
            "max_tokens": mapping.max_tokens,
            "logprobs": True,
            "top_logprobs": _TOP_LOGPROBS,
        }
        if template := {**mapping.chat_template_kwargs, **question}:
            body["chat_template_kwargs"] = template
        async with self._room:
            answer = await self._remote.post("/v1/chat/completions", body)
        try:
            content = answer["choices"][0]["logprobs"]["content"]
            return verdicts.read(content, verdicts=mapping.verdicts, after=mapping.verdict_after)
        except Unreadable as error:
            raise self._remote.broken(f"gave {error}") from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._remote.broken("answered without log-probabilities") from error
