from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["numpy", "onnxruntime", "tokenizers", "torch", "transformers"]


@pytest.mark.parametrize(
    "module", ["categories", "policy", "settings", "wire", "client", "commands", "backends.chosen"]
)
def test_what_the_gateway_imports_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, moderation.{module}; print(json.dumps([*sys.modules]))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not set(HEAVY) & set(loaded)


def test_the_server_loads_no_torch_with_the_default_backend() -> None:
    code = (
        "import json, sys; from moderation.app import create_app; create_app();"
        "print(json.dumps([*sys.modules]))"
    )
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert "onnxruntime" in loaded
    assert not {"torch", "transformers"} & set(loaded)


@pytest.mark.parametrize("module", ["vllm_classify", "guard", "openai_api"])
def test_a_backend_behind_http_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, moderation.backends.{module}; print(json.dumps([*sys.modules]))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not set(HEAVY) & set(loaded)
