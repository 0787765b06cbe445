"""Several devices in one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["DataParallel"]


class DataParallel(nn.DataParallel, MetaModule):
    """`torch.nn.DataParallel` that gives every replica the whole of ``params``.

    The names in ``params`` may begin with ``module.`` or not. New programs are better served by one process per
    device (``torchrun``), which metacortex does without a wrapper.
    """

    def forward(self, *inputs: Any, params: Parameters | None = None, **kwargs: Any) -> Any:
        """Call the module, the inputs split along their first axis over the devices."""
        if params is not None:
            kwargs["params"] = OrderedDict((name.removeprefix("module."), value) for name, value in params.items())
        return super().forward(*inputs, **kwargs)

    def scatter(self, inputs: Any, kwargs: Any, device_ids: Sequence[Any]) -> Any:
        """Split inputs over the devices, but copy ``params`` to each of them."""
        rest = dict(kwargs)
        params = rest.pop("params", None)
        scattered, options = super().scatter(inputs, rest, device_ids)
        if params is None:
            return scattered, options
        named = [
            {**own, "params": OrderedDict((name, value.to(device)) for name, value in params.items())}
            for own, device in zip(options, device_ids, strict=False)
        ]
        return scattered, tuple(named)
