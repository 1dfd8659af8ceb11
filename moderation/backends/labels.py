"""The labels of a sequence classifier, and the categories they mean. Pure but for reading files.

C classes. Labels of a softmax exclude each other, so those of one category add up; labels of
sigmoids do not, so the highest counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.errors import Refused
from moderation import policy
from moderation.backends import mapping as mappings
from moderation.backends.backend import Judged
from moderation.backends.mapping import Activation, Mapping
from moderation.categories import CATEGORIES
from moderation.settings import ModerationSettings


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What a classifier's logits mean."""

    names_C: tuple[str, ...]
    activation: Activation
    categories: dict[str, tuple[int, ...]]  # category -> its classes; only what is judged
    thresholds: dict[str, float]

    @property
    def scored(self) -> tuple[str, ...]:
        return tuple(self.categories)

    def scores(self, logits_C: Sequence[float]) -> dict[str, float]:
        """Category -> probability."""
        probs_C = activate(logits_C, self.activation)
        merge = sum if self.activation == "softmax" else max
        return {
            name: min(1.0, merge([probs_C[i] for i in classes]))
            for name, classes in self.categories.items()
        }


def activate(logits_C: Sequence[float], activation: Activation) -> list[float]:
    """Probabilities of the classes."""
    if activation == "sigmoid":
        return [0.5 * (1.0 + math.tanh(0.5 * logit)) for logit in logits_C]
    highest = max(logits_C)
    weights_C = [math.exp(logit - highest) for logit in logits_C]
    total = sum(weights_C)
    return [weight / total for weight in weights_C]


def read(settings: ModerationSettings) -> Labels:
    """By the mapping, where one is named, and the model's config.json. Raises Refused with the cure."""
    config = _config(settings.model)
    given = mappings.read(settings.mapping) if settings.mapping else None
    if given is not None and given.style != "labels":
        raise Refused(f"{settings.mapping}: a guard's mapping; a classifier's has style 'labels'.")
    names_C = (given.labels if given else ()) or _labels_of(config)
    if not names_C:
        raise Refused(
            "The labels of the classifier are not known: HONE_MODERATION_MODEL is its folder, with a "
            "config.json that has id2label, or a mapping has `labels`, in the order of its classes."
        )
    categories = _mapped(given, names_C) if given else _same_names(names_C)
    if not categories:
        raise Refused(
            f"None of the labels {', '.join(names_C)} is one of OpenAI's categories: say in "
            f"HONE_MODERATION_MAPPING what they mean (shipped: {', '.join(mappings.shipped())})."
        )
    return Labels(
        names_C=names_C,
        activation=(given.activation if given else None) or _activation(config, len(names_C)),
        categories=categories,
        thresholds=given.limits if given else dict.fromkeys(categories, policy.FLAG),
    )


def _config(model: str) -> dict[str, Any]:
    path = Path(model) / "config.json"
    if not model or not path.is_file():
        return {}
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _labels_of(config: dict[str, Any]) -> tuple[str, ...]:
    named = {int(i): str(label) for i, label in (config.get("id2label") or {}).items()}
    return tuple(named[i] for i in sorted(named))


def _activation(config: dict[str, Any], num_labels: int) -> Activation:
    """As transformers and vLLM have it: sigmoid only for a multi-label problem, or a single label."""
    is_multi = config.get("problem_type") == "multi_label_classification"
    return "sigmoid" if is_multi or num_labels == 1 else "softmax"


def _mapped(given: Mapping, names_C: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    if missing := given.named - set(names_C):
        raise Refused(
            f"The mapping speaks of {', '.join(sorted(missing))}; the model's labels are "
            + ", ".join(names_C)
        )
    return {
        name: tuple(names_C.index(label) for label in given.categories[name])
        for name in given.scored
    }


def _same_names(names_C: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    plain_C = [name.casefold().replace("_", "-").replace(" ", "-") for name in names_C]
    found = {}
    for category in CATEGORIES:
        spellings = (category, category.replace("/", "-"))
        if classes := tuple(i for i, plain in enumerate(plain_C) if plain in spellings):
            found[category] = classes
    return found


def gather(flat: Sequence[dict[str, float]], *, counts: Sequence[int]) -> list[Judged]:
    """Scores of pieces, text by text: of each category the highest."""
    judged, start = [], 0
    for count in counts:
        parts = flat[start : start + count]
        scores = {name: max(part[name] for part in parts) for name in parts[0]}
        judged.append(Judged(scores=scores, num_windows=count))
        start += count
    return judged
