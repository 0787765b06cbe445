"""The loss of an output layer over many tokens, without ever holding all its logits.

    loss = Σ_i w_i [ (1 − ε) (−log p_i(y_i)) + ε mean_v (−log p_i(v)) ]        p_i = softmax(W f_i + b)

A batch of translations has some thousand rows of some thousand logits, and elementary operations pass over them
about ten times. Here a block of rows that fits into the cache is scored, turned into its gradient in place and
multiplied with features and weights at once, so that the logits never leave it.

Written after the idea of Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, section 3.2
(fused linear cross-entropy).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["token_loss"]

_CACHED = 2**19
"""Logits of a block on a CPU: 2 MiB."""
_ON_DEVICE = 2**26
"""Logits of a block on a GPU: 256 MiB."""


def token_loss(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, counts: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """See the module's first lines.

    Args:
        features: f, ``[N, E]``.
        weight: W, ``[V, E]``.
        bias: b, ``[V]``.
        targets: y, ``[N]`` int64.
        counts: w, ``[N]``, constant.
        smoothing: ε, 0–1 with 1 excluded.

    Returns:
        The loss, a scalar; −log p of each target without smoothing and the most likely tokens, both ``[N]`` and
        not differentiable.

    *Differentiability*: once, in features, weight and bias.
    """
    loss, plain, chosen, *_ = _TokenLoss.apply(
        features, weight, bias, targets, counts, smoothing, torch.is_grad_enabled()
    )
    return loss, plain, chosen


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        counts: Tensor,
        smoothing: float,
        slopes_wanted: bool,
    ) -> tuple[Tensor, ...]:
        rows, vocabulary = len(features), len(weight)
        block = max(1, (_ON_DEVICE if features.is_cuda else _CACHED) // vocabulary)
        plain, chosen = features.new_empty(rows), targets.new_empty(rows)
        d_features, d_weight, d_bias = torch.zeros_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        loss = features.new_zeros(())
        for begin in range(0, rows, block):
            part = slice(begin, begin + block)
            f, y, w = features[part], targets[part, None], counts[part]
            logits = torch.addmm(bias, f, weight.T)
            top, chosen[part] = logits.max(-1)
            at_target = logits.gather(1, y)[:, 0]
            mean = logits.mean(-1) if smoothing else at_target
            shares = logits.sub_(top[:, None]).exp_()
            total = shares.sum(-1)
            log_total = total.log() + top
            plain[part] = log_total - at_target
            loss += w @ (log_total - torch.lerp(at_target, mean, smoothing))
            if not slopes_wanted:
                continue
            # d loss / d logits = w (p − (1 − ε) onehot(y) − ε / V); the last part is the same for every token.
            slopes = shares.mul_((w / total)[:, None])
            slopes.scatter_add_(1, y, (-(1 - smoothing) * w)[:, None])
            d_features[part] = slopes @ weight
            d_weight.addmm_(slopes.T, f)
            d_bias += slopes.sum(0)
        if smoothing:
            even = counts * (smoothing / vocabulary)
            d_features.addr_(even, weight.sum(0), alpha=-1)
            d_weight -= even @ features
            d_bias -= even.sum()
        return loss, plain, chosen, d_features, d_weight, d_bias

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[3:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        d_features, d_weight, d_bias = ctx.saved_tensors
        return slope * d_features, slope * d_weight, slope * d_bias, None, None, None, None
