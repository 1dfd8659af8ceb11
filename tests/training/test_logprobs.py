from __future__ import annotations

import pytest
import torch

from training import logprobs as logprobs_module
from training.logprobs import token_logprobs

NUM_TOKENS, SIZE, NUM_ENTRIES = 11, 8, 30


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs_module, "CHUNK_TOKENS", 4)
    monkeypatch.setattr(logprobs_module, "CHUNK_ENTRIES", 7)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("trains_unembedding", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_blocks_and_their_gradients_equal_the_full_softmax(
    temperature: float, trains_unembedding: bool
) -> None:
    torch.manual_seed(0)
    hidden = (3 * torch.randn(NUM_TOKENS, SIZE)).requires_grad_()
    weights = torch.randn(NUM_ENTRIES, SIZE, requires_grad=trains_unembedding)
    targets, upstream = torch.randint(0, NUM_ENTRIES, (NUM_TOKENS,)), torch.randn(NUM_TOKENS)
    leaves = [hidden, weights] if trains_unembedding else [hidden]

    found = token_logprobs(
        hidden, unembedding_VD=weights, targets_N=targets, temperature=temperature
    )
    full = (hidden @ weights.T / temperature).log_softmax(1)[torch.arange(NUM_TOKENS), targets]
    torch.testing.assert_close(found, full)
    torch.testing.assert_close(
        torch.autograd.grad((found * upstream).sum(), leaves),
        torch.autograd.grad((full * upstream).sum(), leaves),
    )


@pytest.mark.usefixtures("_small_blocks")
def test_logits_too_large_for_an_exponential_are_no_trouble() -> None:
    hidden, weights = torch.full((2, 1), 100.0), torch.arange(NUM_ENTRIES).float()[:, None]
    found = token_logprobs(
        hidden, unembedding_VD=weights, targets_N=torch.tensor([29, 28]), temperature=1.0
    )
    torch.testing.assert_close(found, torch.tensor([0.0, -100.0]))


@pytest.mark.usefixtures("_small_blocks")
def test_in_bf16_it_is_as_close_to_the_truth_as_bf16_logits_are() -> None:
    torch.manual_seed(0)
    hidden, weights = torch.randn(NUM_TOKENS, SIZE).bfloat16(), torch.randn(NUM_ENTRIES, SIZE)
    weights = weights.bfloat16()
    targets = torch.randint(0, NUM_ENTRIES, (NUM_TOKENS,))
    found = token_logprobs(hidden, unembedding_VD=weights, targets_N=targets, temperature=1.0)
    exact = (hidden.double() @ weights.double().T).log_softmax(1)
    wanted = exact[torch.arange(NUM_TOKENS), targets].float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)
