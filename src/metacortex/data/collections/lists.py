"""Which classes belong to which split of the published collections.

``classes.json`` holds the lists: mini-ImageNet by Ravi and Larochelle (2017), CIFAR-FS by Bertinetto et al.
(2019), FC100 by Oreshkin et al. (2018), CUB by Chen et al. (2019), Double and Triple MNIST as published with
torchmeta (Deleu et al., 2019), and the names of the German traffic signs from Meta-Dataset (Triantafillou
et al., 2020). A split is a list of names, or one text of names without blanks.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

__all__ = ["load_classes"]


@functools.cache
def _everything() -> dict[str, dict[str, list[str]]]:
    raw = json.loads(
        resources.files("metacortex.data.collections").joinpath("classes.json").read_text(encoding="utf-8")
    )
    return {
        name: {split: members.split() if isinstance(members, str) else members for split, members in splits.items()}
        for name, splits in raw.items()
    }


def load_classes(name: str) -> dict[str, list[str]]:
    """Sorted class names of each split of a collection.

    Example:
        >>> {split: len(names) for split, names in load_classes("mini_imagenet").items()}
        {'train': 64, 'val': 16, 'test': 20}
    """
    return {split: list(members) for split, members in _everything()[name].items()}
