"""Building a learner whose weights come from a file, without drawing random ones first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metacortex.errors import RunError
from metacortex.learners.base import Learner
from metacortex.runs.build import build_learner

__all__ = ["build_empty", "fill"]

_RANDOM = frozenset(
    {Tensor.uniform_, Tensor.normal_, Tensor.exponential_, Tensor.bernoulli_, Tensor.cauchy_, Tensor.log_normal_}
)
"""What fills a tensor with random numbers, besides the functions of `torch.nn.init` ending as below."""
_RANDOM_ENDINGS = ("uniform_", "normal_", "orthogonal_", "sparse_")


class _Zeros(TorchFunctionMode):
    """Tensors that would be filled with random numbers are filled with zeros: faster, and no random state is used."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        initial = getattr(func, "__module__", "") == "torch.nn.init" and func.__name__.endswith(_RANDOM_ENDINGS)
        if initial or func in _RANDOM:
            with torch.no_grad():
                return (args[0] if args else given["tensor"]).zero_()
        return func(*args, **given)


def build_empty(description: Mapping[str, Any]) -> Learner:
    """Build a learner with zeros for weights, in evaluation mode.

    Args:
        description: see `metacortex.runs.build.describe_learner`.

    Raises:
        SettingsError: for a learner or an option that does not exist here.
    """
    with _Zeros():
        return build_learner(description).eval()


def fill(learner: Learner, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put weights into those tensors of a learner that it keeps after adaptation.

    Args:
        learner: what receives them.
        tensors: name -> tensor for every name in ``learner.keeps()``.
        where: what they come from, for the message.

    Raises:
        RunError: if names or shapes differ.
    """
    own = learner.state_dict()  # detached views of the learner's own tensors
    for name in sorted(learner.keeps()):
        if name not in tensors or tensors[name].shape != own[name].shape:
            came = list(tensors[name].shape) if name in tensors else "nothing"
            raise RunError(
                f"{where} does not fit its own learner: expected {name} of shape {list(own[name].shape)}, got {came}; "
                "it is damaged, or the learner has changed since it was made"
            )
        own[name].copy_(tensors[name])
