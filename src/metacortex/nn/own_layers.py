"""Layers of PyTorch exchanged for the library's, which are right under nested gradients and quicker."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from metacortex.nn.norm import BatchNorm, InstanceNorm, LayerNorm
from metacortex.nn.winograd import Conv2d

__all__ = ["own_layers"]

_STOCK_FORWARDS = (
    nn.BatchNorm2d.forward,
    nn.SyncBatchNorm.forward,
    nn.InstanceNorm2d.forward,
    nn.LayerNorm.forward,
)


def _counterpart(layer: nn.Module) -> nn.Module | None:
    """The counterpart of a stock layer with the same parameters, or None for other layers."""
    if (
        type(layer) is nn.Conv2d
    ):  # a subclass, also one that PyTorch makes for reparametrised weights, may have more to it
        return Conv2d.like(layer)
    if type(layer).forward not in _STOCK_FORWARDS:
        return None  # Whoever wrote a forward pass of their own meant it.
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not isinstance(layer, nn.modules.batchnorm._LazyNormBase):
        momentum = 0.1 if layer.momentum is None else layer.momentum
        new: nn.Module = BatchNorm(layer.num_features, layer.eps, momentum, layer.affine)
    elif isinstance(layer, nn.modules.instancenorm._InstanceNorm):
        new = InstanceNorm(layer.num_features, layer.eps, layer.affine)
    elif isinstance(layer, nn.LayerNorm):
        new = LayerNorm(tuple(layer.normalized_shape), layer.eps, layer.elementwise_affine)
    else:
        return None
    for name in ("weight", "bias"):
        setattr(new, name, getattr(layer, name, None))
    for name in ("running_mean", "running_var"):
        if isinstance(new, BatchNorm) and isinstance(getattr(layer, name, None), Tensor):
            setattr(new, name, getattr(layer, name))
    # Statistics that the stock layer did not track are made beside its other tensors.
    own = next((x for x in layer.parameters()), None)
    return (new if own is None else new.to(own)).train(layer.training)


def own_layers(model: nn.Module) -> nn.Module:
    """A deep copy of a model whose stock norm layers and convolutions are replaced by the library's own.

    The model itself is left as it is. Each batch-norm layer of the copy knows its qualified name,
    by which statistics are given and recorded.
    """
    model = copy.deepcopy(model)
    replaced: dict[int, tuple[nn.Module, nn.Module]] = {}  # with the old one, lest another gets its number

    def visit(parent: nn.Module) -> None:
        # Not named_children(), which leaves out the second place of a shared layer.
        for key, child in list(parent._modules.items()):
            if child is None:
                continue
            new = replaced[id(child)][1] if id(child) in replaced else _counterpart(child)
            if new is None:
                visit(child)
            else:
                replaced[id(child)] = child, new
                setattr(parent, key, new)

    root = _counterpart(model)
    if root is not None:
        model = root
    else:
        visit(model)
    for name, layer in model.named_modules():
        if isinstance(layer, BatchNorm):
            layer.name = name
    return model
