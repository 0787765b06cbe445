"""All collections by name."""

from __future__ import annotations

from metacortex.data.collections.base import Collection
from metacortex.data.collections.cifar import CIFAR_FS, FC100
from metacortex.data.collections.cub import CUB
from metacortex.data.collections.gtsrb import GTSRB
from metacortex.data.collections.mini_imagenet import MINI_IMAGENET
from metacortex.data.collections.mnist import DOUBLE_MNIST, MNIST, TRIPLE_MNIST
from metacortex.data.collections.tables import TABLES
from metacortex.data.collections.tiered_imagenet import TIERED_IMAGENET

__all__ = ["COLLECTIONS"]

COLLECTIONS: dict[str, Collection] = {
    collection.name: collection
    for collection in (
        *(MINI_IMAGENET, TIERED_IMAGENET, CIFAR_FS, FC100, CUB, DOUBLE_MNIST, TRIPLE_MNIST, MNIST, GTSRB),
        *TABLES.values(),
    )
}
"""Name of the data source -> collection."""
