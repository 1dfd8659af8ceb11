from __future__ import annotations

import pytest
from pydantic import ValidationError

from feedback.errors import Refused
from moderation.backends import chosen
from moderation.settings import ModerationSettings


def test_the_environment_moves_borders_by_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_MODERATION_BLOCK_PROMPT", '{"hate": 0.9, "violence": null}')
    thresholds = ModerationSettings().thresholds()
    assert thresholds.of("prompt") == {"hate": 0.9, "violence": None}
    assert thresholds.of("completion") == {}


@pytest.mark.parametrize("changes", ['{"hat": 0.9}', '{"hate": 2}'])
def test_a_threshold_that_means_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: str
) -> None:
    monkeypatch.setenv("HONE_MODERATION_FLAG", changes)
    with pytest.raises(ValidationError, match=r"use one of|0 < x <= 1"):
        ModerationSettings()


@pytest.mark.parametrize("field", ["flag", "block_prompt", "block_completion"])
def test_a_threshold_for_what_the_backend_does_not_judge_stops_the_server(field: str) -> None:
    settings = ModerationSettings.model_validate(
        {"backend": "guard", "mapping": "llama-guard", field: {"violence/graphic": 0.5}}
    )
    with pytest.raises(Refused, match="not scored by this backend"):
        chosen.load(settings)


def test_the_backend_s_thresholds_count_where_the_operator_has_none() -> None:
    settings = ModerationSettings(backend="guard", mapping="llama-guard", flag={"hate": 0.8})
    flags = chosen.flags(chosen.load(settings), settings)
    assert (flags["hate"], flags["violence"]) == (0.8, 0.5)
    assert "harassment" not in flags
