"""Any module as a MetaModule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.func import functional_call

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["MetaWrap"]


class MetaWrap(MetaModule):
    """Any module (`torch.nn.LSTM`, a pretrained network …) whose parameters can be given from outside.

    The module is used as it is, not copied; its parameters keep their names, after ``module.``. torchmeta had no such
    thing.

    Args:
        module: called with ``params`` in place of its own parameters, through `torch.func.functional_call`.

    Example:
        >>> import torch
        >>> lstm = MetaWrap(nn.LSTM(2, 3))
        >>> sum(1 for _ in lstm.meta_parameters())
        4
        >>> output, _ = lstm(torch.zeros(5, 1, 2), params={k: p * 2 for k, p in lstm.meta_named_parameters()})
        >>> list(output.shape)
        [5, 1, 3]
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def own_meta_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters of the module inside."""
        return self.named_parameters()

    def forward(self, *args: Any, params: Parameters | None = None, **kwargs: Any) -> Any:
        """Call the module."""
        if params is None:
            return self.module(*args, **kwargs)
        own = {name.removeprefix("module."): value for name, value in params.items()}
        return functional_call(self.module, own, args, kwargs)
