"""A sequence of modules with parameters from outside."""

from __future__ import annotations

from typing import Any

from torch import nn

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaSequential"]


class MetaSequential(nn.Sequential, MetaModule):  # type: ignore[misc]
    """`torch.nn.Sequential`; MetaModules in it get their part of ``params``, other modules use their own."""

    def forward(self, input: Any, params: Parameters | None = None) -> Any:
        """Apply one module after the other."""
        for name, module in self._modules.items():
            if module is None:
                continue
            if isinstance(module, MetaModule):
                input = module(input, params=self.get_subdict(params, name))
            else:
                input = module(input)
        return input
