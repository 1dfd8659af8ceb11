from __future__ import annotations

from typing import Any

import torch

from training.losses import kl_rewards
from training.prove import mutants

GIVEN: dict[str, Any] = {
    "logprobs_BR": torch.tensor([[-1.0, -2.0, 0.0]]),
    "ref_logprobs_BR": torch.tensor([[-2.0, -2.0, 0.0]]),
    "mask_BR": torch.tensor([[True, True, False]]),
    "kl_coef": 0.5,
}


def test_the_score_on_the_first_token_is_all_that_differs() -> None:
    real = kl_rewards(torch.tensor([3.0]), **GIVEN)
    wrong = mutants.first_token_rewards(torch.tensor([3.0]), **GIVEN)
    torch.testing.assert_close(real, torch.tensor([[-0.5, 3.0, 0.0]]))
    torch.testing.assert_close(wrong, torch.tensor([[2.5, 0.0, 0.0]]))


def test_k3_is_the_other_estimate_of_kl() -> None:
    wrong = mutants.k3_rewards(torch.tensor([3.0]), **GIVEN)
    k3 = torch.exp(torch.tensor(-1.0)) - 1 + 1
    torch.testing.assert_close(wrong, torch.tensor([[-0.5 * k3, 3.0, 0.0]]))
