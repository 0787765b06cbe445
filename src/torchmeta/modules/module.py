"""Modules that take their parameters from outside."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

__all__ = ["MetaModule", "Parameters"]

Parameters = Mapping[str, Tensor]
"""Parameters by name, as ``forward(..., params=...)`` takes them."""


class MetaModule(nn.Module):
    """A module whose ``forward`` may be given its parameters: ``forward(x, params=None)``.

    Meta-parameters are those of a MetaModule itself and of the MetaModules inside it. Those of plain torch layers
    are invisible here: they are trained, but not adapted (which is how ANIL is written). `MetaWrap` makes those of
    any module visible.

    Example:
        >>> from torchmeta.modules import MetaLinear, MetaSequential
        >>> model = MetaSequential(MetaLinear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> [name for name, _ in model.meta_named_parameters()]
        ['0.weight', '0.bias']
    """

    def meta_named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Names, as in ``named_parameters``, and values of the meta-parameters."""
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix) if recurse else [(prefix, self)]
        for place, module in modules:
            if not isinstance(module, MetaModule):
                continue
            for name, value in module.own_meta_parameters():
                if id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{place}.{name}" if place else name), value

    def own_meta_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Those of this module alone, by its own names."""
        return self.named_parameters(recurse=False)

    def meta_parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The meta-parameters."""
        for _, value in self.meta_named_parameters(recurse=recurse):
            yield value

    def get_subdict(self, params: Parameters | None, key: str | None = None) -> OrderedDict[str, Tensor] | None:
        """The parameters of a submodule, their names without its own.

        Args:
            params: parameters by name, or ``None``.
            key: name of the submodule; everything when empty.

        Returns:
            ``None`` for no parameters. Also, with a warning, when none of them belongs to the submodule, which then
            uses its own.
        """
        if params is None:
            return None
        if not key:
            return OrderedDict(params)
        start = f"{key}."
        found = OrderedDict((name[len(start) :], value) for name, value in params.items() if name.startswith(start))
        if found:
            return found
        warnings.warn(
            f"{type(self).__name__}: the dictionary params has no parameter of the submodule '{key}', which uses its "
            f"own instead: pass {start}… as well, or call it without params",
            stacklevel=2,
        )
        return None
