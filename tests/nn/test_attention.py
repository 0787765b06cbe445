"""Attention against PyTorch's own, by hand on tiny cases, and where there is nothing to attend to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from metacortex.errors import SettingsError
from metacortex.nn.attention import MultiHeadAttention, TransformerBlock, attend, masked_softmax


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand() -> None:
    """Scores ln 3 and 0 give the weights 3/4 and 1/4."""
    score = 2**0.5 * torch.tensor(3.0).log()
    queries, keys = torch.tensor([[1.0, 0.0]]), torch.stack([torch.tensor([score, 5.0]), torch.tensor([0.0, -7.0])])
    values = torch.tensor([[4.0, 0.0], [0.0, 8.0]])
    torch.testing.assert_close(attend(queries, keys, values), torch.tensor([[3.0, 2.0]]))
    allowed = torch.tensor([False, True])
    torch.testing.assert_close(attend(queries, keys, values, allowed), torch.tensor([[0.0, 8.0]]))


def test_as_pytorch_does_it() -> None:
    q, k, v = normal(2, 5, 4), normal(2, 7, 4, seed=1), normal(2, 7, 3, seed=2)
    mask = normal(2, 5, 7, seed=3) > -1
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(attend(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask))
    bias = normal(2, 5, 7, seed=4)
    torch.testing.assert_close(attend(q, k, v, None, bias), F.scaled_dot_product_attention(q, k, v, bias))


def test_many_heads_as_pytorch_does_it() -> None:
    ours, theirs = MultiHeadAttention(6, 6, 6, 6, 3).double(), nn.MultiheadAttention(6, 3, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    q, k, v = normal(4, 6), normal(5, 6, seed=1), normal(5, 6, seed=2)
    torch.testing.assert_close(ours(q, k, v), theirs(q, k, v)[0])
    batched = vmap(ours, in_dims=(0, None, None))(normal(3, 4, 6), k, v)
    torch.testing.assert_close(batched[1], ours(normal(3, 4, 6)[1], k, v))


def test_nothing_to_attend_to_gives_zero_and_finite_gradients() -> None:
    scores = normal(2, 3).requires_grad_()
    weights = masked_softmax(scores, torch.tensor([[True, False, True], [False, False, False]]))
    assert weights.sum(-1).tolist() == pytest.approx([1, 0])
    (gradient,) = torch.autograd.grad((weights**2).sum(), scores)
    assert bool(gradient.isfinite().all())
    assert not gradient[1].any()
    assert torch.equal(attend(normal(2, 4), normal(0, 4), normal(0, 3)), torch.zeros(2, 3, dtype=torch.float64))


def test_it_can_be_differentiated_twice() -> None:
    block = TransformerBlock(4, 2, hidden=3).double()
    mask = torch.tensor([True, True, False])
    parts = (normal(2, 4).requires_grad_(), normal(3, 4, seed=1).requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, context: block(x, context, mask), parts)


def test_a_block_reads_its_context_alone() -> None:
    block = TransformerBlock(4, 2).double()
    x, context = normal(3, 4), normal(5, 4, seed=1)
    torch.testing.assert_close(block(x, context)[1:2], block(x[1:2], context))
    torch.testing.assert_close(block(x, context), block(x, context.flip(0)))
    torch.testing.assert_close(block(x), block(x, x))
    assert not torch.allclose(block(x, context), block(x))


def test_widths_must_fit() -> None:
    with pytest.raises(SettingsError, match="multiple of heads, got 6 and 4"):
        MultiHeadAttention(6, 6, 6, 6, 4)
