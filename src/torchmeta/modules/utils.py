"""A function of torchmeta 1.4 that many programs still import."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["get_subdict"]


def get_subdict(dictionary: Mapping[str, Any] | None, key: str | None = None) -> Mapping[str, Any] | None:
    """The entries of a submodule, their names without its own. Deprecated: use ``self.get_subdict``.

    Args:
        dictionary: values by name, or ``None``.
        key: name of the submodule; everything when empty. ``module.<key>.`` is tried where ``<key>.`` is not found.

    Returns:
        ``None`` for no dictionary, an empty one when nothing belongs to the submodule.
    """
    warnings.warn(
        "torchmeta.modules.utils.get_subdict is deprecated: use self.get_subdict(params, key) of MetaModule",
        DeprecationWarning,
        stacklevel=2,
    )
    if dictionary is None:
        return None
    if not key:
        return dictionary
    for start in (f"{key}.", f"module.{key}."):
        found = OrderedDict((k[len(start) :], v) for k, v in dictionary.items() if k.startswith(start))
        if found:
            return found
    return OrderedDict()
