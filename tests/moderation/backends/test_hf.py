from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from feedback.errors import Refused
from moderation.backends.hf import HfClassifier
from moderation.settings import ModerationSettings
from tests.moderation.backends.random_classifier import TEXTS, reference, write_classifier

_END = "bake bread every one of them"

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("is_multi_label", [False, True])
async def test_a_classifier_of_transformers_scores_as_transformers_does(
    tmp_path: Path, kind: Literal["bert", "distilbert"], is_multi_label: bool
) -> None:
    folder = write_classifier(tmp_path / "model", kind, is_multi_label=is_multi_label)
    backend = HfClassifier(ModerationSettings(backend="hf", model=str(folder)))
    short = [text for text in TEXTS if len(text) < 64]
    # Beside one another, in one batch with padding.
    judged = await asyncio.gather(*(backend.score([text]) for text in short))
    await backend.close()
    assert backend.scored == ("hate", "self-harm", "sexual", "violence")
    seen = set()
    for text, (one,) in zip(short, judged, strict=True):
        expected = reference(folder, text)
        for name in backend.scored:
            assert one.scores[name] == pytest.approx(expected[name], abs=1e-5)
        seen.add(tuple(round(score, 3) for score in one.scores.values()))
    assert len(seen) == len(short)


async def test_a_long_text_is_read_to_its_end(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", "bert", is_multi_label=True)
    backend = HfClassifier(ModerationSettings(backend="hf", model=str(folder)))
    beginning = "the quick brown fox " * 15 + "over dog "  # a window, to the last token
    (long, short, end) = await backend.score([beginning + _END, beginning, _END])
    await backend.close()
    assert (long.num_windows, short.num_windows, end.num_windows) == (2, 1, 1)
    assert long.scores != short.scores
    assert all(long.scores[name] >= short.scores[name] for name in backend.scored)


def test_without_a_model_the_server_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="HONE_MODERATION_MODEL"):
        HfClassifier(ModerationSettings(backend="hf", model=str(tmp_path)))
    with pytest.raises(Refused, match="HONE_MODERATION_MODEL"):
        HfClassifier(ModerationSettings(backend="hf"))
