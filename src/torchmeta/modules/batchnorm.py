"""Batch normalisation with parameters from outside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaBatchNorm1d", "MetaBatchNorm2d", "MetaBatchNorm3d"]


class _MetaBatchNorm(_BatchNorm, MetaModule):
    """Weights from outside, running statistics always those of the module.

    With the default settings every pass in training mode moves the running statistics, those of the inner loop and
    of the queries included; ``track_running_stats=False`` is what most programs want.
    """

    def forward(self, input: Tensor, params: Parameters | None = None) -> Tensor:
        """Normalise ``[N, C, ...]``."""
        if params is None:
            return super().forward(input)
        self._check_input_dim(input)
        tracked = self.training and self.track_running_stats
        factor = self.momentum or 0.0
        if tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # a cumulative average
                factor = 1.0 / float(self.num_batches_tracked)
        use_running = tracked or not self.training
        return F.batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            params.get("weight"),
            params.get("bias"),
            self.training or self.running_mean is None,
            factor,
            self.eps,
        )


class MetaBatchNorm1d(_MetaBatchNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d`; with ``params``, ``weight`` and ``bias`` are taken from there."""


class MetaBatchNorm2d(_MetaBatchNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with parameters from outside."""


class MetaBatchNorm3d(_MetaBatchNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` with parameters from outside."""
