"""What vLLM is started with."""

from __future__ import annotations

import pytest

from serving.in_vllm import server
from serving.settings import ServingSettings


@pytest.mark.parametrize(
    ("compiler", "has_gpu", "is_off"),
    [(None, False, True), ("/usr/bin/g++", False, False), (None, True, False)],
)
def test_without_a_compiler_nothing_is_compiled_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, compiler: str | None, has_gpu: bool, is_off: bool
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: compiler)
    settings = ServingSettings(engine_token="-" * 32)
    found = server.environment(settings, has_gpu=has_gpu)
    assert ("TORCHDYNAMO_DISABLE" in found) == is_off
