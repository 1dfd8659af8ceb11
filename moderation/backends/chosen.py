"""The backend that HONE_MODERATION_BACKEND names; the others' modules are not even loaded."""

from __future__ import annotations

from feedback.errors import Refused
from moderation import policy
from moderation.backends.backend import Backend
from moderation.settings import ModerationSettings


def load(settings: ModerationSettings) -> Backend:
    """Ready to score. Raises Refused with what is missing, or does not fit."""
    backend = _load(settings)
    for field, changes in (
        ("FLAG", settings.flag),
        ("BLOCK_PROMPT", settings.block_prompt),
        ("BLOCK_COMPLETION", settings.block_completion),
    ):
        for name in changes.keys() - set(backend.scored):
            raise Refused(
                f"HONE_MODERATION_{field}: {name!r} is not scored by this backend "
                f"({settings.backend}): remove its threshold. It scores {', '.join(backend.scored)}."
            )
    return backend


def flags(backend: Backend, settings: ModerationSettings) -> dict[str, float]:
    """Score from which each category counts as flagged: the backend's, with the operator's changes."""
    return policy.override(backend.thresholds, settings.flag)


def _load(settings: ModerationSettings) -> Backend:
    match settings.backend:
        case "onnx":
            from moderation.backends.onnx import OnnxBackend

            return OnnxBackend.open(settings)
        case "hf":
            from moderation.backends.hf import HfClassifier

            return HfClassifier(settings)
        case "vllm-classify":
            from moderation.backends.vllm_classify import VllmClassify

            return VllmClassify(settings)
        case "guard":
            from moderation.backends.guard import Guard

            return Guard(settings)
        case "openai":
            from moderation.backends.openai_api import OpenAiApi

            return OpenAiApi(settings)
