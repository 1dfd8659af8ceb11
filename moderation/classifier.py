"""Scores per category: networks over the encoder's vector and a TF-IDF regression, averaged.

A text, in the order of `Classifier.score`:
1. its plain spelling, cut into windows
2. per window: the networks' log-odds and the regression's, averaged; minus the category's threshold,
   so that 0.5 is where a text is flagged
3. the composed categories
4. the highest of each category over the windows
Shapes: C fitted categories, F features, V buckets, M networks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import orjson

from feedback.errors import Refused
from moderation import composed
from moderation.categories import FITTED, SCORED
from moderation.encoder import Encoder, Window
from moderation.features import NUM_FEATURES, joined
from moderation.network import Network
from moderation.normaliser import normalise, without_emoji
from moderation.settings import ModerationSettings
from moderation.tfidf import NUM_BUCKETS, Table

HEADS = Path(__file__).with_name("heads.npz")
SCHEMA = 2  # of heads.npz

_NETWORK = ("into_FH", "into_H", "out_HC", "direct_FC", "out_C")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The content of heads.npz, ready for use."""

    model: str  # name given in answers, `hone-moderation-<n>`
    encoder_digest: str  # SHA-256 of the ONNX file the heads were fitted on
    networks: Sequence[Network]
    table: Table
    share: float  # of the networks in the average; the rest is the table's
    limit_C: Floats  # log-odds from which a text is flagged

    def logits(self, features_F: Floats, text: str) -> Floats:
        """(C,) averaged log-odds of one window, before the threshold."""
        by_network_MC = np.stack([one.logits(features_F[None])[0] for one in self.networks])
        mean_C: Floats = by_network_MC.mean(axis=0)
        return self.share * mean_C + (1.0 - self.share) * self.table.logits(text)


class Classifier:
    """Not for use by several threads at once; the server gives it one."""

    scored: tuple[str, ...] = SCORED

    def __init__(self, encoder: Encoder, *, heads: Heads) -> None:
        """Raises Refused where the heads were fitted on another encoder."""
        if heads.encoder_digest != encoder.digest:
            raise Refused(
                f"The heads were fitted on encoder {heads.encoder_digest[:12]}, and this one is "
                f"{encoder.digest[:12]}: fit them again with hone moderation train."
            )
        self.model = heads.model
        self.encoder = encoder
        self._heads = heads

    def windows(self, text: str) -> list[Window]:
        """A text's windows; `score_window` takes one. With emoji it is read without them too: they may
        say what is meant, or stand between the words to hide it."""
        readings = dict.fromkeys((normalise(text), normalise(without_emoji(text))))
        return [window for reading in readings for window in self.encoder.windows(reading)]

    def score_window(self, window: Window) -> dict[str, float]:
        """Category -> score of one window: the step of a fixed longest time."""
        features_F = joined(self.encoder.pooled(window), window.text)
        logits_C = self._heads.logits(features_F, window.text) - self._heads.limit_C
        scores_C = 0.5 * (1.0 + np.tanh(0.5 * logits_C.astype(np.float64)))
        fitted = dict(zip(FITTED, scores_C.tolist(), strict=True))
        return composed.with_composed(fitted, window.text)

    def score(self, text: str) -> dict[str, float]:
        """Every scored category -> 0 to 1; one that is not scored is absent."""
        scored = [self.score_window(window) for window in self.windows(text)]
        return {name: max(scores[name] for scores in scored) for name in SCORED}

    def score_many(
        self, texts: Sequence[str], *, num_threads: int | None = None
    ) -> list[dict[str, float]]:
        """`score` of each, in order; by default on every core this process may use."""
        num_threads = num_threads or len(os.sched_getaffinity(0))
        if num_threads == 1 or len(texts) < 2:
            return [self.score(text) for text in texts]
        # Longest first: else the last thread ends with a book. The encoder's runs hold no lock.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        with ThreadPoolExecutor(max_workers=num_threads) as pool:
            scored = dict(
                zip(order, pool.map(lambda index: self.score(texts[index]), order), strict=True)
            )
        return [scored[index] for index in range(len(texts))]


def load(settings: ModerationSettings) -> Classifier:
    """The classifier the settings name. Raises Refused with what is missing or does not fit."""
    heads = read_heads(settings.heads or HEADS)
    return Classifier(Encoder(settings.encoder, threads=settings.threads), heads=heads)


def write_heads(path: Path, heads: Heads) -> None:
    """Half precision: the scores move in the third digit, and the file is half as large."""
    about = {
        "schema": SCHEMA,
        "model": heads.model,
        "encoder_digest": heads.encoder_digest,
        "categories": FITTED,
        "share": heads.share,
        "num_networks": len(heads.networks),
    }
    arrays: dict[str, Any] = {
        "about": np.frombuffer(orjson.dumps(about), dtype=np.uint8),
        "limit_C": heads.limit_C.astype(np.float32),
        "idf_V": heads.table.idf_V.astype(np.float16),
        "weights_VC": heads.table.weights_VC.astype(np.float16),
        "bias_C": heads.table.bias_C.astype(np.float32),
    }
    for index, network in enumerate(heads.networks):
        arrays[f"shift_F.{index}"] = network.shift_F.astype(np.float32)
        arrays[f"scale_F.{index}"] = network.scale_F.astype(np.float32)
        arrays |= {
            f"{name}.{index}": value.astype(np.float16) for name, value in network.weights.items()
        }
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        np.savez_compressed(out, **arrays)
    os.replace(part, path)


def read_heads(path: Path) -> Heads:
    """Heads from a file that `hone moderation train` wrote. Raises Refused where it is not usable."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        about = orjson.loads(arrays.pop("about").tobytes())
        floats = {name: value.astype(np.float32) for name, value in arrays.items()}
    except (OSError, ValueError, KeyError, AttributeError, BadZipFile, EOFError) as error:
        raise Refused(
            f"{path}: no heads ({error}). Make them with hone moderation train."
        ) from error
    if about.get("schema") != SCHEMA or tuple(about.get("categories", ())) != FITTED:
        raise Refused(f"{path}: not schema {SCHEMA} with the heads {', '.join(FITTED)}.")
    if not all(np.isfinite(value).all() for value in floats.values()):
        raise Refused(f"{path}: it holds numbers that are not finite.")
    try:
        return _heads(about, floats)
    except KeyError as error:
        raise Refused(f"{path}: it lacks {error}. Make it with hone moderation train.") from error


def _heads(about: dict[str, Any], floats: dict[str, Floats]) -> Heads:
    networks = [
        Network(
            shift_F=floats[f"shift_F.{index}"],
            scale_F=floats[f"scale_F.{index}"],
            weights={name: floats[f"{name}.{index}"] for name in _NETWORK},
        )
        for index in range(about["num_networks"])
    ]
    table = Table(idf_V=floats["idf_V"], weights_VC=floats["weights_VC"], bias_C=floats["bias_C"])
    widths = {len(network.shift_F) for network in networks} | {
        len(network.weights["into_FH"]) for network in networks
    }
    if widths != {NUM_FEATURES} or table.weights_VC.shape != (NUM_BUCKETS, len(FITTED)):
        raise Refused(
            f"The heads are for {widths} features and {table.weights_VC.shape} buckets; "
            f"{NUM_FEATURES} and {NUM_BUCKETS} are needed: fit them with hone moderation train."
        )
    return Heads(
        model=about["model"],
        encoder_digest=about["encoder_digest"],
        networks=networks,
        table=table,
        share=float(about["share"]),
        limit_C=floats["limit_C"],
    )
