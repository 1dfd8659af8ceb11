"""A reward model as one ordinary checkpoint, for whoever scores without this trainer.

`AutoModelForSequenceClassification.from_pretrained(folder)` and `vllm serve folder --runner pooling` load
it; a score is the model's one logit at an answer's last token. transformers' head has no bias: a score
there lacks the constant `score_bias` of config.json, which no ranking depends on. vLLM adds it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from feedback.errors import Unprocessable
from training import files
from training.config import Readout
from training.job import Job
from training.reward import HEAD, WEIGHTS


def run(job: Job) -> dict[str, Any]:
    """The round's reward model; returns the report."""
    folder = job.step_folder("export")
    base_model, readout = Path(job.plan.base_model), job.recipe.reward.readout
    export_classifier(job.reward_folder, folder / "model", base_model=base_model, readout=readout)
    report = {"model": str(folder / "model")}
    files.write_text(folder / "report.json", json.dumps(report, indent=1))
    return report


def export_classifier(saved: Path, folder: Path, *, base_model: Path, readout: Readout) -> None:
    """Write what `reward.save` saved as a sequence classifier with one label.

    Adapters are merged and written in float32: rounded to bfloat16 most of what they say would be lost.
    Raises Unprocessable where a classifier would not say the same as the reward model.
    """
    if readout != "last":
        raise Unprocessable(
            "this reward model scores the mean over an answer's tokens; transformers and vLLM score the "
            'last token. Train it with [reward] readout = "last" to export it'
        )
    causal_lm = _causal_lm(saved, base_model)
    head = load_file(saved / HEAD)
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    classifier = _classifier(causal_lm, head["weight"])
    config = classifier.config
    config.problem_type = "regression"  # vLLM: the score as it is, not its sigmoid
    config.score_bias = head["bias"].item()
    # Padding that is also an answer's end would hide the end: without one, only single rows are scored.
    has_padding = tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    config.pad_token_id = tokenizer.pad_token_id if has_padding else None
    bias = {"score.bias": head["bias"].reshape(1)}
    classifier.save_pretrained(folder, state_dict=classifier.state_dict() | bias)
    tokenizer.save_pretrained(folder)


def _causal_lm(saved: Path, base_model: Path) -> Any:
    """Its weights, whole: adapters merged into the base, or the full weights as they are."""
    if not (saved / WEIGHTS / "adapter_config.json").is_file():
        return AutoModelForCausalLM.from_pretrained(saved / WEIGHTS, dtype="auto")
    base = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(base, saved / WEIGHTS).merge_and_unload()


def _classifier(causal_lm: Any, weight_D: torch.Tensor) -> Any:
    causal_lm.config.num_labels = 1
    try:
        with torch.device("meta"):  # its own weights are never used
            classifier = AutoModelForSequenceClassification.from_config(causal_lm.config)
        setattr(classifier, classifier.base_model_prefix, causal_lm.base_model)
        classifier.score.weight = torch.nn.Parameter(weight_D[None].to(causal_lm.dtype))
    except (ValueError, AttributeError) as error:
        raise Unprocessable(
            f"transformers has no sequence classifier with one linear head for"
            f" {type(causal_lm).__name__}: {error}"
        ) from error
    return classifier
