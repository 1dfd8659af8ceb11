"""`python -m serving engine`: vLLM's OpenAI server, with our policy endpoint inside it.

This process becomes vLLM's (exec), so that its signals, memory and exit code are vLLM's own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from feedback.errors import Unprocessable
from serving import otlp
from serving.registry import BASE
from serving.settings import ServingSettings

_VLLM_TRACES_WITH = (  # both, whichever is spoken
    "opentelemetry.exporter.otlp.proto.grpc",
    "opentelemetry.exporter.otlp.proto.http",
)


def main(extra: Sequence[str] = ()) -> None:
    """Start vLLM with `extra` arguments of its own appended."""
    settings = ServingSettings()
    has_gpu = shutil.which("nvidia-smi") is not None
    command = arguments(settings, has_gpu=has_gpu)
    os.environ.update(environment(settings, has_gpu=has_gpu))
    if not any(word.startswith("--otlp-traces-endpoint") for word in extra):
        command += _traces()
    os.execv(sys.executable, [*command, *extra])


def _traces() -> list[str]:
    """vLLM's own spans, a part of the gateway's: it is told where they go by an argument, and how by a
    variable whose default is not the specification's."""
    protocol = otlp.wanted_protocol()
    if protocol is None or not all(map(find_spec, _VLLM_TRACES_WITH)):
        return []
    os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = protocol
    os.environ.setdefault("OTEL_SERVICE_NAME", "hone-engine")
    return ["--otlp-traces-endpoint", otlp.traces_url(os.environ, protocol=protocol)]


def arguments(settings: ServingSettings, *, has_gpu: bool) -> list[str]:
    """The command line. Raises Unprocessable for NCCL without a GPU. `vllm serve` is not used: the CPU
    build lacks the metadata that it asks for."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    options: dict[str, str] = {
        "model": str(settings.base_model),
        "served-model-name": BASE,
        "host": settings.engine_host,
        "port": str(settings.engine_port),
        "middleware": "serving.in_vllm.policy_endpoint.PolicyEndpoint",
        "worker-extension-cls": "serving.in_vllm.worker.Extension",
        "dtype": "bfloat16",
        "max-model-len": str(settings.max_model_len),
        "max-num-seqs": str(settings.max_num_seqs),
        "max-loras": str(settings.max_loras),
        "max-cpu-loras": str(2 * settings.max_loras),
        "max-lora-rank": str(settings.max_lora_rank),
        "uvicorn-log-level": "warning",
    }
    if has_gpu:
        options["gpu-memory-utilization"] = str(settings.gpu_memory_fraction)
    if settings.weight_transfer != "off":
        options |= _weight_transfer(settings.weight_transfer, has_gpu=has_gpu)
    for name, value in options.items():
        command += [f"--{name}", value]
    # Adapters on few, large matrices: every adapted matrix costs time on every token (MEASURED).
    command += ["--enable-lora", "--lora-target-modules", *settings.lora_target_modules]
    if not has_gpu:
        command.append(
            "--enforce-eager"
        )  # starts in a third of the time; compiling gains little on CPU
        # A request with a seed whose prompt is read in two parts ends the engine: vLLM 0.32 sets its
        # generator back, which torch's CPU generators refuse ("CPU Generator does not use offset").
        # Remove when vLLM's gpu_model_runner no longer calls set_offset on a CPU.
        command.append("--no-enable-chunked-prefill")
    return command


def _weight_transfer(backend: str, *, has_gpu: bool) -> dict[str, str]:
    if backend == "nccl" and not has_gpu:
        raise Unprocessable(
            "HONE_SERVING_WEIGHT_TRANSFER=nccl needs an NVIDIA GPU, and this machine shows none: take "
            "gloo, or off (weights by path)"
        )
    options = {"weight-transfer-config": json.dumps({"backend": backend})}
    if backend == "gloo":
        options["worker-extension-cls"] = "serving.in_vllm.gloo.Registered"
    return options


def environment(settings: ServingSettings, *, has_gpu: bool) -> dict[str, str]:
    found = {
        "VLLM_CPU_KVCACHE_SPACE": f"{settings.kv_cache_gib:g}",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "0",
        "HF_HUB_OFFLINE": os.environ.get(
            "HF_HUB_OFFLINE", "1" if settings.base_model.exists() else "0"
        ),
    }
    if not has_gpu and shutil.which(os.environ.get("CXX", "g++")) is None:
        # vLLM's sampler compiles two small functions even so; without a compiler the first answer ended it.
        found["TORCHDYNAMO_DISABLE"] = "1"
    return found
