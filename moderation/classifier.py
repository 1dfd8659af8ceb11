"""Scores per category: a sentence encoder, and one linear head per category on its vector.

Shapes: C scored categories, D dimensions of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from feedback.errors import Refused
from moderation.categories import CATEGORIES, SCORED
from moderation.encoder import DIMENSIONS, Encoder
from moderation.settings import ModerationSettings

HEADS = Path(__file__).with_name("heads.json")
SCHEMA = 1  # of heads.json

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The content of heads.json, ready for use."""

    model: str  # name given in answers, `hone-moderation-<n>`
    encoder_digest: str  # SHA-256 of the ONNX file the heads were fitted on
    weights_CD: Floats
    bias_C: Floats  # shifted by training so that 0.5 is the threshold


class Classifier:
    """Not for use by several threads at once; the server gives it one."""

    def __init__(self, encoder: Encoder, *, heads: Heads) -> None:
        """Raises Refused where the heads were fitted on another encoder."""
        if heads.encoder_digest != encoder.digest:
            raise Refused(
                f"The heads were fitted on encoder {heads.encoder_digest[:12]}, and this one is "
                f"{encoder.digest[:12]}: fit them again with python -m moderation.train."
            )
        self.model = heads.model
        self._encoder = encoder
        self._heads = heads

    def windows(self, text: str) -> list[list[int]]:
        """Token ids of a text in windows; `score_window` takes one."""
        return self._encoder.windows(text)

    def score_window(self, ids: list[int]) -> dict[str, float]:
        """Category -> score of one window: the step of a fixed longest time."""
        logits_C = self._heads.weights_CD @ self._encoder.embed(ids) + self._heads.bias_C
        scores_C = 0.5 * (1.0 + np.tanh(0.5 * logits_C))
        return dict(zip(SCORED, scores_C.tolist(), strict=True))

    def score(self, text: str) -> dict[str, float]:
        """Every one of OpenAI's categories -> score; 0.0 where we do not score it."""
        return worst([self.score_window(ids) for ids in self.windows(text)])


def worst(scored: Sequence[dict[str, float]]) -> dict[str, float]:
    """The highest score of each category over a text's windows, for all of OpenAI's categories."""
    return {name: max(scores.get(name, 0.0) for scores in scored) for name in CATEGORIES}


def load(settings: ModerationSettings) -> Classifier:
    """The classifier the settings name. Raises Refused with what is missing or does not fit."""
    heads = read_heads(settings.heads or HEADS)
    return Classifier(Encoder(settings.encoder, threads=settings.threads), heads=heads)


def read_heads(path: Path) -> Heads:
    """Heads from a file that `moderation.train` wrote. Raises Refused where it cannot be used."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise Refused(f"{path}: no heads ({error}). Make them with moderation.train.") from error
    if content.get("schema") != SCHEMA or set(content.get("heads", {})) != set(SCORED):
        raise Refused(f"{path}: not schema {SCHEMA} with the heads {', '.join(SCORED)}.")
    fitted = [content["heads"][name] for name in SCORED]
    heads = Heads(
        model=content["model"],
        encoder_digest=content["encoder_digest"],
        weights_CD=np.array([head["weights"] for head in fitted], dtype=np.float64),
        bias_C=np.array([head["bias"] for head in fitted], dtype=np.float64),
    )
    finite = np.isfinite(heads.weights_CD).all() and np.isfinite(heads.bias_C).all()
    if heads.weights_CD.shape != (len(SCORED), DIMENSIONS) or not finite:
        raise Refused(f"{path}: heads of {DIMENSIONS} finite weights each are needed.")
    return heads
