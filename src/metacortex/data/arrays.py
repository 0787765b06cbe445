"""Arrays in memory as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from metacortex.data.dataset import SPLITS, Dataset
from metacortex.data.images import to_uint8
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, unknown_name

__all__ = ["from_arrays"]

_COLOURS = (1, 3, 4)


def from_arrays(
    X: Any,
    y: Any,
    *,
    names: Sequence[str] | None = None,
    splits: Mapping[str, Sequence[Any]] | None = None,
    value_range: tuple[float, float] | None = None,
    layout: Literal["auto", "hwc", "chw"] = "auto",
    name: str = "arrays",
) -> Dataset:
    """Make a data set of labelled arrays.

    Args:
        X: images ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` of any real dtype, stored as uint8; or rows
            of a table ``[n, d]``, stored as float32.
        y: ``[n]`` labels: whole numbers, texts or booleans.
        names: names of the classes in the order of the sorted labels; the labels themselves when not given.
        splits: labels of each split, e.g. ``{"train": [0, 1, 2], "test": [3, 4]}``; everything is ``test`` when
            not given.
        value_range: the values that become 0 and 255; see `metacortex.data.images.to_uint8`.
        layout: where the channels of four-dimensional images are; ``"auto"`` looks for the axis of length 1, 3 or 4.
        name: name of the data set.

    Raises:
        DataError: for NaN or infinite values (with the first bad row), labels that do not fit, or a shape
            that is neither images nor a table.
        SettingsError: for an unknown split.

    Example:
        >>> data = from_arrays(np.zeros((4, 8, 8)), ["a", "a", "b", "b"])
        >>> data.splits["test"].names, data.store.shape
        (['a', 'b'], (1, 8, 8))
    """
    values, labels = _numbers(X), _labels(y)
    if len(values) != len(labels):
        raise DataError(f"expected as many labels as rows, got {len(labels)} labels and {len(values)} rows")
    if values.ndim == 2:
        data = values.astype(np.float32)
        _finite(data, "after conversion to float32 ")
    else:
        data = to_uint8(_channels_first(values, layout), value_range)
    store = ClassStore.from_arrays(data, labels, names, name=name)
    views = _views(store, np.unique(labels).tolist(), splits)
    size = "x".join(map(str, store.shape))
    counts = ", ".join(f"{split} {len(view)}" for split, view in views.items())
    return Dataset(name, f"classes: {counts}, {size}", store, views, provenance={"source": "arrays in memory"})


def _numbers(X: Any) -> np.ndarray:
    try:
        values = np.asarray(X)
    except (ValueError, TypeError) as error:
        raise DataError(f"X is no array: {error}") from None
    if not (
        np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating) or values.dtype == bool
    ):
        raise DataError(f"X must hold real numbers, got dtype {values.dtype}")
    if values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise DataError(
            f"X must be images [n, h, w], [n, h, w, c] or [n, c, h, w], or a table [n, d], and not empty, "
            f"got shape {list(values.shape)}"
        )
    _finite(values)
    return values


def _finite(values: np.ndarray, when: str = "") -> None:
    if np.issubdtype(values.dtype, np.floating):
        good = np.isfinite(values).reshape(len(values), -1).all(axis=1)  # [n, ...] -> [n, D]
        if not good.all():
            raise DataError(
                f"X holds NaN or infinite values {when}in {int((~good).sum())} rows, "
                f"first in row {int(np.argmin(good))}: drop or repair these rows"
            )


def _labels(y: Any) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iubUS":
        raise DataError(
            f"y must be [n] whole numbers or texts, one label per row, got shape {list(labels.shape)} {labels.dtype}"
        )
    return labels


def _channels_first(values: np.ndarray, layout: str) -> np.ndarray:
    if layout not in ("auto", "hwc", "chw"):
        raise unknown_name("layout", layout, ["auto", "hwc", "chw"])
    if values.ndim == 3:
        return values[:, None]  # [n, h, w] -> [n, 1, h, w]
    if layout == "auto":
        last, first = values.shape[3] in _COLOURS, values.shape[1] in _COLOURS
        if last == first:
            raise DataError(
                f"cannot tell the channels of X of shape {list(values.shape)}: say layout='hwc' or layout='chw'"
            )
        layout = "hwc" if last else "chw"
    return values.transpose(0, 3, 1, 2) if layout == "hwc" else values  # [n, h, w, c] -> [n, c, h, w]


def _views(store: ClassStore, labels: list[Any], splits: Mapping[str, Sequence[Any]] | None) -> dict[str, ClassView]:
    if splits is None:
        return {"test": ClassView.of(store)}
    seen: dict[Any, str] = {}
    for split, members in splits.items():
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        for label in members:
            if label not in labels:
                raise DataError(f"split '{split}' names the label {label!r}, which no row has")
            if label in seen:
                raise DataError(f"label {label!r} is in split '{seen[label]}' and again in '{split}'")
            seen[label] = split
    return {s: ClassView.of(store, [labels.index(m) for m in members]) for s, members in splits.items()}
