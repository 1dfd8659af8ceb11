"""vLLM alone: `python -m training.bench.offline`, `LLM.generate` on what standard input names.

Each line is a JSON object with `prompts`, `seeds`, `max_tokens` and `adapter` (a folder or null); the
answer is a line with `tokens` and `seconds`. The first line of output says that the model is loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import Any

from serving.in_vllm import server
from serving.settings import ServingSettings


def main() -> None:
    """With the very options of the engine that `python -m serving engine` would start here."""
    settings = ServingSettings()
    has_gpu = shutil.which("nvidia-smi") is not None
    os.environ.update(server.environment(settings, has_gpu=has_gpu))
    arguments = server.arguments(settings, has_gpu=has_gpu)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # vLLM logs to standard output, and so does its child

    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    options, _ = parser.parse_known_args(arguments)
    llm = LLM(**vars(EngineArgs.from_cli_args(options)))
    answers.write("ready\n")
    for line in sys.stdin:
        answers.write(json.dumps(_generate(llm, json.loads(line))) + "\n")


def _generate(llm: Any, work: dict[str, Any]) -> dict[str, float]:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    params = [
        SamplingParams(temperature=1.0, max_tokens=work["max_tokens"], seed=seed, logprobs=0)
        for seed in work["seeds"]
    ]
    adapter = LoRARequest("adapter", 1, work["adapter"]) if work["adapter"] else None
    prompts = [{"prompt_token_ids": ids} for ids in work["prompts"]]
    started = time.perf_counter()
    outputs = llm.generate(prompts, params, lora_request=adapter, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {
        "tokens": sum(len(answer.token_ids) for output in outputs for answer in output.outputs),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
