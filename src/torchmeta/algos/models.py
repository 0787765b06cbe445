"""A user's module as a base model of metacortex."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from metacortex.nn.norm import BatchNorm
from torchmeta.modules.batchnorm import MetaBatchNorm1d, MetaBatchNorm2d, MetaBatchNorm3d
from torchmeta.modules.module import MetaModule, Parameters

__all__ = ["Embedding", "base_model"]

_NORMS = (MetaBatchNorm1d, MetaBatchNorm2d, MetaBatchNorm3d)


class _Norm(BatchNorm, MetaModule):
    """metacortex's batch normalisation where a MetaModule expects to hand ``params`` down."""

    def forward(self, x: Tensor, params: Parameters | None = None) -> Tensor:
        """Normalise ``[N, C, ...]``; parameters come through `torch.func.functional_call`, so ``params`` is None."""
        return super().forward(x)


class Embedding(nn.Module):
    """A module that maps inputs to flat features ``[N, features]``."""

    def __init__(self, model: nn.Module, features: int) -> None:
        super().__init__()
        self.model, self.features = model, features

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed ``[N, ...]``."""
        return self.model(inputs).flatten(1)


def base_model(model: nn.Module) -> nn.Module:
    """A copy of a module in which MetaBatchNorm layers obey metacortex's norm policies."""
    model = copy.deepcopy(model.module if isinstance(model, nn.DataParallel) else model)
    if isinstance(model, _NORMS):
        return _written_out(model)
    for parent in list(model.modules()):
        for key, child in list(parent._modules.items()):
            if isinstance(child, _NORMS):
                setattr(parent, key, _written_out(child))
    return model


def _written_out(layer: nn.Module) -> nn.Module:
    momentum = 0.1 if layer.momentum is None else layer.momentum
    new = _Norm(layer.num_features, layer.eps, momentum, layer.affine)  # type: ignore[arg-type]
    known = new.state_dict()
    new.load_state_dict({k: v for k, v in layer.state_dict().items() if k in known}, strict=False)
    own = next(layer.parameters(), None)
    return (new if own is None else new.to(own)).train(layer.training)
