"""Digits: 1,797 handwritten digits by 43 people, 8x8, that come with scikit-learn.

Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (1998), CC BY 4.0; the copy of scikit-learn.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from metacortex.data.arrays import from_arrays
from metacortex.data.dataset import Dataset, square
from metacortex.data.images import to_uint8

__all__ = ["load_digits"]


def load_digits(*, size: int = 28) -> Dataset:
    """The ten digits as a ``test`` split: real handwriting for learners trained on something else.

    Args:
        size: pixels on a side; the 8x8 images are scaled up by bilinear interpolation. Ink is bright on 0.

    Raises:
        DataError: for a size that is no size.
    """
    from sklearn.datasets import load_digits as load  # slow to import, and needed here alone

    shape = square(size)
    images, targets = load(return_X_y=True)
    ink = to_uint8(np.asarray(images).reshape(-1, 8, 8), (0, 16))  # [N, 64] -> [N, H, W]
    pictures = np.stack(
        [np.asarray(Image.fromarray(i).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) for i in ink]
    )
    data = from_arrays(pictures, targets, name="digits")
    return Dataset(
        "digits",
        f"all 10 classes for test, {shape[0]}x{shape[1]}",
        data.store,
        data.splits,
        provenance={
            "source": "scikit-learn: sklearn.datasets.load_digits",
            "licence": "CC BY 4.0",
            "reference": "Alpaydin and Kaynak (1998), UCI Machine Learning Repository",
        },
    )
