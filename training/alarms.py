"""What stops PPO, each with its cure. A stop loses no more than the iteration under way: the checkpoint
of the last good one stays, the round goes on from it, and nothing is published."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from feedback.errors import HoneError
from training.experience import Experience

_KL_ERRORS = 4.0  # standard errors below zero that chance does not explain
_KL_FLOOR_NATS = 0.01  # rounding of a policy that still is the reference


class Alarm(HoneError):
    """Training stopped itself."""


class EngineGapError(Alarm):
    """The engine samples from another distribution than the trainer computes."""


class NotFiniteError(Alarm):
    """A number that training rests on is NaN or infinite."""


class KLError(Alarm):
    """The policy has left the reference, or seems nearer to it than a policy can be."""


def check_gap(gap_nats: float, *, limit_nats: float, iteration: int) -> None:
    """Raises EngineGapError. A gap that is no number is over every limit."""
    if not gap_nats <= limit_nats:
        raise EngineGapError(
            f"iteration {iteration}: engine and trainer differ by {gap_nats:.3f} nats RMS per token; the "
            f"reference differs by half of {limit_nats:.3f}. The engine answers with other weights or "
            "sampling than asked for: look at its log and at GET /policy"
        )


def check_experience(experience: Experience, *, iteration: int) -> None:
    """Raises NotFiniteError for a score, value or log-probability that is NaN or infinite."""
    sources = {
        "scores_E": "the reward model's scores: its training diverged, lower [reward] learning_rate",
        "values_N": "the value model's values: it diverged, lower [ppo] value_learning_rate",
        "logprobs_N": "the policy's log-probabilities: it diverged, lower [ppo] learning_rate",
        "ref_logprobs_N": "the reference's log-probabilities: the base model is damaged",
        "engine_logprobs_N": "the engine's log-probabilities: look at its log",
    }
    for name, source in sources.items():
        is_bad = ~experience.everywhere(name).isfinite()
        if is_bad.any():
            raise NotFiniteError(
                f"iteration {iteration}: {int(is_bad.sum())} of {is_bad.numel()} are not finite among "
                f"{source}"
            )


def check_metrics(metrics: Mapping[str, float], *, iteration: int) -> None:
    """Raises NotFiniteError: a loss or a gradient that is NaN has already changed the weights."""
    if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise NotFiniteError(
            f"iteration {iteration}: {', '.join(bad)} not finite after the update; no checkpoint is "
            "written of it. Lower [ppo] learning_rate or value_learning_rate"
        )


def check_kl(experience: Experience, *, iteration: int, max_kl_nats: float) -> None:
    """Raises KLError when the mean KL per answer is over its bound, or below zero by more than chance."""
    kl_E = experience.everywhere("kl")
    mean = kl_E.mean().item()
    if mean > max_kl_nats:
        raise KLError(
            f"iteration {iteration}: the policy is {mean:.1f} nats per answer from the reference, over "
            f"[ppo] max_kl_nats = {max_kl_nats:g}. Raise kl_coef or lower learning_rate"
        )
    allowed = -_KL_ERRORS * standard_error(kl_E) - _KL_FLOOR_NATS - _sampler_kl(experience)
    if mean < allowed:
        raise KLError(
            f"iteration {iteration}: the sampled KL is {mean:.3f} nats per answer, and a KL is never "
            "negative: the answers are not drawn from the policy. Look for a temperature, top_k, top_p or "
            "penalty that the engine adds, and at GET /policy for the version it answers with"
        )


def standard_error(values: torch.Tensor) -> float:
    return float(values.std(unbiased=False) / len(values) ** 0.5)


def _sampler_kl(experience: Experience) -> float:
    """What the sampler's own distance costs, nats per answer: E_mu[log pi/ref] = KL(mu, ref) - KL(mu, pi),
    and KL(mu, pi) is half the mean squared log-ratio per token to second order. Twice that is allowed."""
    gaps = experience.everywhere("logprobs_N") - experience.everywhere("engine_logprobs_N")
    return float(gaps.square().mean()) * len(gaps) / len(experience.everywhere("lengths"))
