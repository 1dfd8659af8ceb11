from __future__ import annotations

import pytest
from pydantic import ValidationError

from moderation.policy import decide
from moderation.settings import ModerationSettings


def test_the_environment_overrides_thresholds_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_MODERATION_BLOCK_PROMPT", '{"hate": 0.9, "violence": null}')
    monkeypatch.setenv("HONE_MODERATION_FLAG", '{"sexual": 0.7}')
    settings = ModerationSettings()
    scores = {"hate": 0.8, "violence": 0.99, "self-harm": 0.6}
    assert decide(scores, stage="prompt", thresholds=settings.thresholds()) == ["self-harm"]
    assert len(decide(scores, stage="completion", thresholds=settings.thresholds())) == 3
    assert settings.flags()["sexual"] == 0.7


@pytest.mark.parametrize("changes", ['{"hat": 0.9}', '{"illicit": 0.9}', '{"hate": 2}'])
def test_a_threshold_that_would_do_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: str
) -> None:
    monkeypatch.setenv("HONE_MODERATION_FLAG", changes)
    with pytest.raises(ValidationError, match=r"use one of|not scored|0 < x <= 1"):
        ModerationSettings()
