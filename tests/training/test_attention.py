from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from training import attention as attention_module
from training.attention import attention

NUM_ROWS, NUM_HEADS, NUM_KEYS, LENGTH, SIZE = 2, 6, 2, 13, 8


def inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(NUM_ROWS, heads, LENGTH, SIZE, dtype=dtype, requires_grad=True)
        for heads in (NUM_HEADS, NUM_KEYS, NUM_KEYS)
    ]


def mask() -> torch.Tensor:
    """Causal, and the second row's later half does not see its first half."""
    found = torch.ones(NUM_ROWS, 1, LENGTH, LENGTH, dtype=torch.bool).tril()
    found[1, :, 6:, :6] = False
    return found


def results(
    dtype: torch.dtype, mask_B1TT: torch.Tensor | None, *, is_ours: bool
) -> list[torch.Tensor]:
    """Output and the three gradients, in float32."""
    query, key, value = inputs(dtype)
    if is_ours:
        module = torch.nn.Module()
        module.num_key_value_groups = NUM_HEADS // NUM_KEYS
        found, _ = attention(module, query, key, value, mask_B1TT, scaling=0.3)
        found = found.transpose(1, 2)
    else:
        found = scaled_dot_product_attention(
            query,
            key.repeat_interleave(3, 1),
            value.repeat_interleave(3, 1),
            attn_mask=mask_B1TT,
            is_causal=mask_B1TT is None,
            scale=0.3,
        )
    found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(dtype))
    return [t.float() for t in (found.detach(), query.grad, key.grad, value.grad) if t is not None]


@pytest.mark.parametrize("mask_B1TT", [None, mask()], ids=["causal", "masked"])
def test_bf16_products_are_attention_and_have_its_gradients(
    mask_B1TT: torch.Tensor | None,
) -> None:
    exact = results(torch.float32, mask_B1TT, is_ours=False)
    for found, wanted in zip(results(torch.bfloat16, mask_B1TT, is_ours=True), exact, strict=True):
        assert (found - wanted).square().mean().sqrt() < 0.01 * wanted.square().mean().sqrt() + 1e-3


@pytest.mark.parametrize("block", [100, 5])
@pytest.mark.parametrize("mask_B1TT", [None, mask()], ids=["causal", "masked"])
def test_in_float32_blocks_of_queries_are_attention_to_rounding(
    mask_B1TT: torch.Tensor | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_module, "_BLOCK", block)
    monkeypatch.setattr(attention_module, "_VECTOR", 2)
    query, key, value = inputs(torch.float32)
    causal = torch.ones(1, 1, LENGTH, LENGTH, dtype=torch.bool).tril()
    seen = causal if mask_B1TT is None else mask_B1TT
    found = attention_module._Products.apply(query * 0.3, key, value, seen)
    found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(1)))
    wanted = results(torch.float32, mask_B1TT, is_ours=False)
    torch.testing.assert_close([found.detach(), query.grad, key.grad, value.grad], wanted)


def test_a_block_of_queries_is_multiplied_with_the_keys_that_it_sees_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_module, "_BLOCK", 4)
    monkeypatch.setattr(attention_module, "_VECTOR", 2)
    seen = torch.ones(2, 1, 8, 8, dtype=torch.bool).tril()
    seen[:, :, 4:, :3] = False  # another prompt begins at 3
    seen[1, :, 4:, 3] = False
    first, second = attention_module._blocks(seen)
    assert first == (slice(0, 4), slice(0, 4))
    assert second == (slice(4, 8), slice(2, 8))


def test_float32_queries_under_autocast_are_of_its_kind() -> None:
    """The rotation gives those to full weights."""
    query, key, value = inputs(torch.bfloat16)
    plain, _ = attention(torch.nn.Module(), query, key, value, None, scaling=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attention(
            torch.nn.Module(), query.float(), key.float(), value, None, scaling=0.3
        )
    torch.testing.assert_close(found, plain, rtol=0, atol=0)


def test_what_torch_does_well_is_left_to_torch() -> None:
    for dtype, longest in ((torch.float32, 1024), (torch.bfloat16, 4)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attention_module, "_LONGEST", longest)
            found = results(dtype, mask(), is_ours=True)
        wanted = results(dtype, mask(), is_ours=False)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_under_autocast_the_softmax_stays_in_bf16() -> None:
    query, key, value = inputs(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = attention(torch.nn.Module(), query, key, value, None, scaling=0.3)
    plain, _ = attention(torch.nn.Module(), query, key, value, None, scaling=0.3)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
