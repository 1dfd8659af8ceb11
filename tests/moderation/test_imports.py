from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ["numpy", "onnxruntime", "tokenizers", "torch", "transformers"]


@pytest.mark.parametrize("module", ["categories", "policy", "settings", "client"])
def test_what_the_gateway_imports_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, moderation.{module}; print(json.dumps([*sys.modules]))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not set(HEAVY) & set(loaded)


def test_the_server_loads_no_torch() -> None:
    code = "import json, sys, moderation.app; print(json.dumps([*sys.modules]))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert "onnxruntime" in loaded
    assert not {"torch", "transformers"} & set(loaded)
