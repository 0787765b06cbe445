"""Normalisation layers that are right under nested gradients and say where their statistics come from.

PyTorch's fused batch, instance and layer normalisation return silently wrong second-order
gradients under ``vmap`` (pytorch/functorch issue 534). The layers here are written out in
elementary operations; where the caller knows that no ``vmap`` is active it may allow the fused
kernels with `fused_kernels`, which are right and faster there.

A forward pass is told its statistics from outside with `statistics_pass`, so that no layer keeps
state between passes and no module is switched to another mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metacortex.nn.mode import on_gpu
from metacortex.nn.normed_pool import normed_pool
from metacortex.nn.pooled import pooled, pools_in_c
from metacortex.nn.standardise import standardise

__all__ = [
    "BatchNorm",
    "InstanceNorm",
    "LayerNorm",
    "Statistics",
    "StatisticsPass",
    "applications",
    "fused_kernels",
    "fusing",
    "real_rows",
    "running_statistics",
    "statistics_pass",
]

Statistics = dict[str, tuple[Tensor, Tensor]]
"""Mean and variance, each ``[features]``, by layer name. A layer that one forward pass applies several
times has an entry for each application: ``name``, ``name#2``, ``name#3`` …"""


@dataclass
class StatisticsPass:
    """What the batch-norm layers of one forward pass read and write.

    Attributes:
        given: statistics to normalise with; a layer that is not named uses those of its batch. A
            repeated application without an entry of its own uses that of its layer.
        unbiased: record the variance divided by n − 1, as running statistics want it, instead of the
            one divided by n that the layer normalises with.
        seen: filled with the statistics that each layer took from its batch.
        applied: how often each layer has been applied so far.
    """

    given: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    unbiased: bool = False
    seen: Statistics = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)

    def enter(self, layer: str) -> str:
        """Count an application of a layer; returns the name of its entry."""
        count = self.applied[layer] = self.applied.get(layer, 0) + 1
        return layer if count == 1 else f"{layer}#{count}"


def applications(statistics: Mapping[str, tuple[Tensor, Tensor]], layer: str) -> list[tuple[Tensor, Tensor]]:
    """The entries of one layer, in the order of its applications."""
    found, count = [], 1
    while (key := layer if count == 1 else f"{layer}#{count}") in statistics:
        found.append(statistics[key])
        count += 1
    return found


_current: ContextVar[StatisticsPass | None] = ContextVar("metacortex_statistics", default=None)
_fused: ContextVar[bool] = ContextVar("metacortex_fused", default=False)
_rows: ContextVar[Tensor | None] = ContextVar("metacortex_rows", default=None)


@contextmanager
def statistics_pass(
    given: Mapping[str, tuple[Tensor, Tensor]] | None = None, *, unbiased: bool = False
) -> Iterator[StatisticsPass]:
    """Run the forward passes inside with the statistics ``given`` and record those of the batch."""
    current = StatisticsPass(given or {}, unbiased)
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)


@contextmanager
def fused_kernels(allowed: bool = True) -> Iterator[None]:
    """Allow PyTorch's fused kernels inside; only right where no ``vmap`` is active."""
    token = _fused.set(allowed)
    try:
        yield
    finally:
        _fused.reset(token)


def fusing() -> bool:
    """Whether fused kernels are allowed here, see `fused_kernels`."""
    return _fused.get()


@contextmanager
def real_rows(mask: Tensor | None) -> Iterator[None]:
    """Keep padding out of batch statistics in the forward passes inside.

    Args:
        mask: ``[N]`` bool, False where a row of the inputs is padding; ``None`` when all are real.
    """
    token = _rows.set(mask)
    try:
        yield
    finally:
        _rows.reset(token)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    if weight is not None:
        x = x * weight.reshape(shape)
    if bias is not None:
        x = x + bias.reshape(shape)
    return x


def _full(x: Tensor) -> Tensor:
    """At least single precision: 8 significant bits are too few to take a mean from, or a variance."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _row_mean(x: Tensor, rows: Tensor | None) -> Tensor:
    """Mean of ``[N, C, ...]`` over all axes but the second, counting only the real rows."""
    axes = [0, *range(2, x.dim())]
    if rows is None:
        return x.mean(axes)
    # A model may fold another axis into the first: [N, L, ...] -> [N*L, ...].
    weights = rows.to(x.dtype).repeat_interleave(x.shape[0] // rows.shape[0]).reshape(-1, *[1] * (x.dim() - 1))
    return (x * weights).mean(axes) / weights.mean().clamp_min(torch.finfo(x.dtype).tiny)


class BatchNorm(nn.Module):
    """Batch normalisation over every axis but the second, for 2 to 5 dimensional inputs.

    y = (x − E[x]) / √(Var[x] + eps) · weight + bias

    Parameter and buffer names are those of `torch.nn.BatchNorm2d`, so state dictionaries fit.
    Running statistics are never changed by a forward pass; the caller commits them.

    Args:
        features: channels ``C`` of inputs ``[N, C, ...]``.
        eps: added to the variance.
        momentum: share of the newest batch in the running statistics, 0–1.
        affine: learn weight and bias.

    Reference: Ioffe and Szegedy, "Batch Normalization", 2015.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        self.features, self.eps, self.momentum = features, eps, momentum
        self.name = ""
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def extra_repr(self) -> str:
        """The settings, for ``repr``."""
        return f"{self.features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C, ...]`` with the statistics of the current pass.

        Outside any pass: statistics of the batch in training mode, else the running ones.
        """
        return self._normalised(x, *self._enter())

    def pooled(self, x: Tensor) -> Tensor:
        """ReLU and 2×2 maxima of ``self(x)``: ``[N, C, H, W']`` to ``[N, C, H//2, W'//2]``."""
        entry, given = self._enter()
        own = (
            given is None
            and not self.masked
            and all(t is not None and t.dtype == x.dtype and t.shape == x.shape[1:2] for t in (self.weight, self.bias))
        )
        if not own or not _fused.get() or not pools_in_c(x):
            return pooled(self._normalised(x, entry, given))
        y, mean, var = normed_pool(x, self.weight, self.bias, self.eps)  # type: ignore[arg-type]
        self._record(entry, x.numel() // x.shape[1], mean, var)
        return y

    def _normalised(self, x: Tensor, entry: str, given: tuple[Tensor, Tensor] | None) -> Tensor:
        if given is not None:
            scale, shift = self._scale_and_shift(*given)
            shape = (1, -1, *[1] * (x.dim() - 2))
            return (_full(x) * scale.reshape(shape) + shift.reshape(shape)).to(x.dtype)
        rows, count = _rows.get(), x.numel() // max(x.shape[1], 1)
        if _fused.get() and rows is None:
            y, mean, inverse = torch.native_batch_norm(
                x, self.weight, self.bias, None, None, True, self.momentum, self.eps
            )
            if x.shape[0]:
                self._record(entry, count, mean.detach(), (inverse.detach() ** -2 - self.eps).clamp_min(0))
            return y
        wide = _full(x)
        if on_gpu(x) and rows is None and x.shape[0] and self.weight is not None and self.bias is not None:
            y, mean, var = standardise(wide, self.weight, self.bias, self.eps)
            self._record(entry, count, mean, var)
            return y.to(x.dtype)
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean = _row_mean(wide, rows)
        centred = wide - mean.reshape(shape)
        var = _row_mean(centred * centred, rows)
        self._record(entry, count, mean, var)
        normal = centred * torch.rsqrt(var + self.eps).reshape(shape)
        return _affine(normal, self.weight, self.bias, shape).to(x.dtype)

    @property
    def masked(self) -> bool:
        """Whether rows of the present forward pass are padding, see `real_rows`."""
        return _rows.get() is not None

    def folded(self, weights: Tensor, centre: Tensor, covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """A linear map with this layer behind it, as one linear map of centred inputs.

        y = norm(w·p) = w'·(p − E[p]) + b',  with E[w·p] = w·E[p] and Var[w·p] = w Cov[p] wᵀ

        Args:
            weights: w ``[features, D]``.
            centre: E[p] ``[D]``.
            covariance: Cov[p] ``[D, D]``.
            count: inputs p of the batch.

        Returns:
            w' ``[features, D]`` and b' ``[features]``.
        """
        entry, given = self._enter()
        wide = weights.to(covariance.dtype)  # which may be wider
        mean = (wide @ centre).to(weights.dtype)
        if given is not None:
            scale, shift = self._scale_and_shift(*given)
            return weights * scale[:, None], shift + mean * scale
        var = ((wide @ covariance) * wide).sum(1).clamp_min(0).to(weights.dtype)
        fused = _fused.get()  # where nobody wants gradients through what is recorded
        self._record(entry, count, mean.detach() if fused else mean, var.detach() if fused else var)
        scale, _ = self._scale_and_shift(mean, var)
        return weights * scale[:, None], torch.zeros_like(scale) if self.bias is None else self.bias

    def _enter(self) -> tuple[str, tuple[Tensor, Tensor] | None]:
        """Under which name this application is recorded, and the statistics that are prescribed for it."""
        current = _current.get()
        if current is None:
            return self.name, None if self.training else (self.running_mean, self.running_var)
        entry = current.enter(self.name)
        return entry, current.given.get(entry, current.given.get(self.name))

    def _record(self, entry: str, rows_and_places: int, mean: Tensor, var: Tensor) -> None:
        current, rows = _current.get(), _rows.get()
        if current is None:
            return
        if current.unbiased:
            share = torch.ones_like(var[0]) if rows is None else rows.to(var.dtype).mean()
            count = rows_and_places * share
            var = var * (count / (count - 1).clamp_min(1))
        current.seen[entry] = (mean, var)

    def _scale_and_shift(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.rsqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        return scale, shift


class LayerNorm(nn.Module):
    """Layer normalisation over the last dimensions, as `torch.nn.LayerNorm`.

    Args:
        shape: the trailing shape that is normalised.
        eps: added to the variance.
        affine: learn an elementwise weight and bias.

    Reference: Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """

    def __init__(self, shape: tuple[int, ...], eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.shape, self.eps = tuple(shape), eps
        self.weight = nn.Parameter(torch.ones(self.shape)) if affine else None
        self.bias = nn.Parameter(torch.zeros(self.shape)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[..., *shape]``."""
        if _fused.get():
            return F.layer_norm(_full(x), self.shape, self.weight, self.bias, self.eps).to(x.dtype)
        axes, wide = list(range(-len(self.shape), 0)), _full(x)
        centred = wide - wide.mean(axes, keepdim=True)
        var = (centred * centred).mean(axes, keepdim=True)
        return _affine(centred * torch.rsqrt(var + self.eps), self.weight, self.bias, self.shape).to(x.dtype)


class InstanceNorm(nn.Module):
    """Instance normalisation over the spatial axes, as `torch.nn.InstanceNorm2d` without tracking.

    Args:
        features: channels ``C`` of inputs ``[N, C, ...]`` with at least one spatial axis.
        eps: added to the variance.
        affine: learn weight and bias.
    """

    def __init__(self, features: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        self.features, self.eps = features, eps
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C, ...]`` per example and channel."""
        axes, wide = list(range(2, x.dim())), _full(x)
        centred = wide - wide.mean(axes, keepdim=True)
        var = (centred * centred).mean(axes, keepdim=True)
        shape = (1, -1, *[1] * (x.dim() - 2))
        return _affine(centred * torch.rsqrt(var + self.eps), self.weight, self.bias, shape).to(x.dtype)


def running_statistics(model: nn.Module) -> Statistics:
    """The running statistics of every batch-norm layer, by layer name."""
    return {
        layer.name: (layer.running_mean, layer.running_var) for layer in model.modules() if isinstance(layer, BatchNorm)
    }
