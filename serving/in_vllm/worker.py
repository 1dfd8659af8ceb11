"""What we add to vLLM's workers, by its `--worker-extension-cls`."""

from __future__ import annotations

from typing import Any

from serving.in_vllm.base_rows import leave_base_rows_alone

leave_base_rows_alone()  # a worker loads this module before its model


class Extension:
    """Mixed into vLLM's worker class; called by `collective_rpc`."""

    model_runner: Any  # vLLM's

    def repack_head(self) -> None:
        """Pack the unembedding anew after a reload.

        On a CPU vLLM 0.32 multiplies by a packed copy of every matrix. A reload packs what it loads; an
        unembedding that is tied to the embedding is not among that, and goes on with the old weights:
        log-probabilities 0.8 nats off (tests/flows/test_rollouts.py). Remove when vLLM packs it itself.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        for module in self.model_runner.get_model().modules():
            if isinstance(module, ParallelLMHead) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)
