"""The image collections by torchmeta's names, each a few lines over metacortex."""

from __future__ import annotations

from metacortex.data.store import ClassInfo
from torchmeta.datasets.combined import StoredMetaDataset
from torchmeta.datasets.stored import StoredClassDataset, StoredDataset
from torchmeta.transforms.vision import CenterCrop, Compose, Resize, ToTensor

__all__ = [
    "CIFARFS",
    "CUB",
    "FC100",
    "CIFAR100ClassDataset",
    "CIFAR100Dataset",
    "CIFARFSClassDataset",
    "CUBClassDataset",
    "CUBDataset",
    "DoubleMNIST",
    "DoubleMNISTClassDataset",
    "DoubleMNISTDataset",
    "FC100ClassDataset",
    "MiniImagenet",
    "MiniImagenetClassDataset",
    "MiniImagenetDataset",
    "TieredImagenet",
    "TieredImagenetClassDataset",
    "TieredImagenetDataset",
    "TripleMNIST",
    "TripleMNISTClassDataset",
    "TripleMNISTDataset",
]

MiniImagenetDataset = TieredImagenetDataset = CUBDataset = DoubleMNISTDataset = TripleMNISTDataset = StoredDataset
CIFAR100Dataset = StoredDataset


class MiniImagenetClassDataset(StoredClassDataset):
    """64, 16 and 20 classes of ImageNet, 600 images of 84x84 each."""

    source, native = "mini_imagenet", 84
    default_transform = Compose([Resize(84), ToTensor()])


class MiniImagenet(StoredMetaDataset):
    """mini-ImageNet; arguments as of `StoredMetaDataset`.

    Reference: Vinyals et al. (2016); split of Ravi and Larochelle (2017).
    """

    classes = MiniImagenetClassDataset


class TieredImagenetClassDataset(StoredClassDataset):
    """351, 97 and 160 classes of ImageNet, images of 84x84."""

    source, native = "tiered_imagenet", 84
    default_transform = Compose([Resize(84), ToTensor()])


class TieredImagenet(StoredMetaDataset):
    """tiered-ImageNet; arguments as of `StoredMetaDataset`.

    Reference: Ren et al., "Meta-Learning for Semi-Supervised Few-Shot Classification" (2018).
    """

    classes = TieredImagenetClassDataset


class CIFAR100ClassDataset(StoredClassDataset):
    """Classes of CIFAR-100, sorted by (superclass, class)."""

    native = 32
    default_transform = ToTensor()

    def label_of(self, info: ClassInfo) -> str:
        """``superclass/class``."""
        return f"{info.meta['coarse']}/{info.name}"


class CIFARFSClassDataset(CIFAR100ClassDataset):
    """64, 16 and 20 classes of CIFAR-100."""

    source = "cifar_fs"


class CIFARFS(StoredMetaDataset):
    """CIFAR-FS; arguments as of `StoredMetaDataset`.

    Reference: Bertinetto et al., "Meta-learning with differentiable closed-form solvers" (2019).
    """

    classes = CIFARFSClassDataset


class FC100ClassDataset(CIFAR100ClassDataset):
    """60, 20 and 20 classes of CIFAR-100, no superclass in two splits."""

    source = "fc100"


class FC100(StoredMetaDataset):
    """FC100; arguments as of `StoredMetaDataset`.

    Reference: Oreshkin et al., "TADAM" (2018).
    """

    classes = FC100ClassDataset


class CUBClassDataset(StoredClassDataset):
    """100, 50 and 50 species of birds; pictures are stretched to squares."""

    source, native = "cub", 126
    default_transform = Compose([Resize(126), CenterCrop(84), ToTensor()])


class CUB(StoredMetaDataset):
    """CUB-200-2011; arguments as of `StoredMetaDataset`.

    Reference: Wah et al. (2011); split of Chen et al. (2019).
    """

    classes = CUBClassDataset


class DoubleMNISTClassDataset(StoredClassDataset):
    """64, 16 and 20 numbers of two digits, 64x64."""

    source, native = "double_mnist", 64
    default_transform = ToTensor()


class DoubleMNIST(StoredMetaDataset):
    """Double MNIST; arguments as of `StoredMetaDataset`.

    Reference: Sun, "Multi-digit MNIST for Few-shot Learning" (2019).
    """

    classes = DoubleMNISTClassDataset


class TripleMNISTClassDataset(StoredClassDataset):
    """640, 160 and 200 numbers of three digits, 84x84."""

    source, native = "triple_mnist", 84
    default_transform = ToTensor()


class TripleMNIST(StoredMetaDataset):
    """Triple MNIST; arguments as of `StoredMetaDataset`.

    Reference: Sun, "Multi-digit MNIST for Few-shot Learning" (2019).
    """

    classes = TripleMNISTClassDataset
