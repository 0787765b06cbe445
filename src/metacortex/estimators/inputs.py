"""What the X of an estimator is: a table, images or texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from metacortex.errors import DataError
from metacortex.skills.examples import IMAGE_SUFFIXES

__all__ = ["InputKind", "as_items", "item_names", "kind_of"]

InputKind = Literal["table", "images", "texts"]

_LONGEST = 60
_EXPECTED = (
    "X must be a table [n, features], images (arrays [n, h, w] or [n, h, w, 3], a list of arrays, Pillow images or "
    "paths of image files) or a list of texts"
)


def kind_of(X: Any) -> InputKind:
    """Tell what X is.

    A text is the path of an image if it ends like one (``photo.jpg``); everything numeric with fewer than
    three axes is taken for a table and left to scikit-learn's own checks.

    Raises:
        DataError: for a mixture, or texts some of which are image files.

    Example:
        >>> kind_of([[1.0, 2.0]]), kind_of(["good", "bad"]), kind_of(["a.png"]), kind_of(np.zeros((2, 8, 8)))
        ('table', 'texts', 'images', 'images')
    """
    if isinstance(X, Tensor):
        X = X.numpy(force=True)
    if hasattr(X, "iloc"):  # pandas: a table, or a column of texts
        return "table" if getattr(X, "ndim", 2) == 2 else kind_of(X.tolist())
    if isinstance(X, np.ndarray):
        if X.ndim == 1 and X.dtype.kind in "OUS" and len(X) and _is_item(X[0]):
            return _kind_of_items(X.tolist())
        return "images" if X.ndim >= 3 else "table"
    if isinstance(X, list | tuple) and len(X):
        if _is_item(X[0]):
            return _kind_of_items(X)
        if isinstance(X[0], np.ndarray | Tensor) and X[0].ndim >= 2:
            return "images"
    return "table"


def as_items(X: Any) -> list[Any]:
    """The rows of X as a list."""
    if isinstance(X, Tensor):
        X = X.numpy(force=True)
    return X.tolist() if hasattr(X, "iloc") or (isinstance(X, np.ndarray) and X.dtype.kind in "OUS") else list(X)


def item_names(X: Any, otherwise: str) -> list[str]:
    """What to call images or texts: the beginning of a text, the name of a file, else a word and a number.

    Example:
        >>> item_names(["good"], "query"), item_names(np.zeros((2, 9, 9)), "query")
        (['good'], ['query 0', 'query 1'])
    """
    return [_name(item) or f"{otherwise} {i}" for i, item in enumerate(as_items(X))]


def _name(item: Any) -> str:
    if isinstance(item, Path) or (isinstance(item, str) and _is_picture(item)):
        return Path(item).name
    if not isinstance(item, str):
        return ""
    return item if len(item) <= _LONGEST else item[: _LONGEST - 1] + "…"


def _is_item(item: Any) -> bool:
    return isinstance(item, str | bytes | Path | Image.Image)


def _kind_of_items(items: Sequence[Any]) -> InputKind:
    pictures = [_is_picture(item) for item in items]
    if all(pictures):
        return "images"
    if all(isinstance(item, str) for item in items):
        if any(pictures):
            raise DataError(
                f"X holds both names of image files ('{items[pictures.index(True)]}') and other texts "
                f"('{items[pictures.index(False)]}'): give one kind, or name image files by pathlib.Path"
            )
        return "texts"
    other = items[pictures.index(False)]
    raise DataError(f"{_EXPECTED}; got a {type(other).__name__} among them")


def _is_picture(item: Any) -> bool:
    if isinstance(item, str):
        return Path(item).suffix.lower() in IMAGE_SUFFIXES
    return isinstance(item, Path | Image.Image)
