"""Feature vectors of tables, texts and images, for the heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from metacortex.errors import DataError, LearnerError
from metacortex.learners.base import Learner
from metacortex.nn.mode import evaluating

__all__ = ["Features", "NetFeatures", "TableFeatures", "encode_texts", "frozen_features", "net_channels", "text_parts"]

Array = NDArray[np.float64]
_BATCH = 256
"""Images embedded at once: bounds memory, changes no answer."""
_SHIFTS = tuple((dy, dx) for dy in (0, 1, -1) for dx in (0, 1, -1))
"""Views of a support image: as it is, and moved by a pixel."""
_TEXT_FEATURES = 4096
_COLOUR_SHARE, _PIXEL_SHARE = 0.5, 0.15
"""Length of these parts of the features beside that of the network's, which is 1."""


class Features(Protocol):
    """Maps prepared inputs to feature vectors."""

    def __call__(self, inputs: np.ndarray) -> Array:
        """``[N, D]``."""
        ...

    def views(self, inputs: np.ndarray) -> Array:
        """``[V, N, D]``: each example seen in several ways, the first as it is."""
        ...


@dataclass(frozen=True, eq=False)
class TableFeatures:
    """Columns with mean 0 and variance 1 over the support set; constant columns count for nothing.

    Attributes:
        mean, scale: ``[D]``.
    """

    mean: Array
    scale: Array

    @staticmethod
    def learn(inputs: np.ndarray) -> TableFeatures:
        """Means and deviations of ``[N, D]``."""
        deviation = inputs.std(0)
        constant = deviation <= 1e-12 * np.maximum(np.abs(inputs).max(0), 1e-300)
        return TableFeatures(inputs.mean(0), np.where(constant, 1.0, deviation))

    def __call__(self, inputs: np.ndarray) -> Array:
        """``[N, D]``."""
        return (inputs - self.mean) / self.scale

    def views(self, inputs: np.ndarray) -> Array:
        """``[1, N, D]``."""
        return self(inputs)[None]


@dataclass(frozen=True, eq=False)
class NetFeatures:
    """What a trained network sees in an image, its pixels two by two, and its colours where the reader gives them.

    The pixels add what the network has not learned to see, the coarse shapes of photographs above all; on the scripts
    that it was validated on they add nothing, so their share is small.

    Attributes:
        learner: whose body is used; it stays as it is.
        unit: root mean square length of the network's features over the support set.
        pixel_unit: the same of the pixels; 0 for inputs that are no images.
        colour_unit: the same of the colours; 0 where there are none.
    """

    learner: Learner
    unit: float = 1.0
    pixel_unit: float = 0.0
    colour_unit: float = 0.0

    @staticmethod
    def learn(learner: Learner, inputs: np.ndarray) -> NetFeatures:
        """Units from the support images ``[N, C, H, W]`` uint8."""
        return NetFeatures(learner).fitted(inputs)

    def fitted(self, inputs: np.ndarray) -> Self:
        """The same with units from the support images ``[N, C, H, W]`` uint8."""
        features, pixels, colours = self._raw(inputs)
        coloured = colours.size > 0 and float(np.ptp(colours, axis=0).max()) > 0
        return replace(
            self,
            unit=_rms(features),
            pixel_unit=_rms(pixels) if pixels.size else 0.0,
            colour_unit=_rms(colours - colours.mean(0)) if coloured else 0.0,
        )

    def __call__(self, inputs: np.ndarray) -> Array:
        """``[N, D]``."""
        features, pixels, colours = self._raw(inputs)
        parts = [features / self.unit]
        if self.pixel_unit:
            parts.append(self.pixel_scale * pixels)
        if self.colour_unit:
            parts.append(self.colour_scale * colours)
        return np.concatenate(parts, 1)

    @property
    def pixel_scale(self) -> float:
        """Factor of the pixels; 0 where there are none."""
        return _PIXEL_SHARE / self.pixel_unit if self.pixel_unit else 0.0

    @property
    def colour_scale(self) -> float:
        """Factor of the colours; 0 where there are none."""
        return _COLOUR_SHARE / self.colour_unit if self.colour_unit else 0.0

    def views(self, inputs: np.ndarray, most: int = len(_SHIFTS)) -> Array:
        """``[9, N, D]``, or the first `most`: moved by a pixel in eight directions, what leaves on one side comes in
        on the other; ``[1, N, D]`` of inputs that are no images.
        """
        if inputs.dtype != np.uint8:
            return self(inputs)[None]
        return np.stack([self(np.roll(inputs, shift, (2, 3))) for shift in _SHIFTS[:most]])

    def _raw(self, inputs: np.ndarray) -> tuple[Array, Array, Array]:
        if inputs.dtype != np.uint8:
            nothing = np.zeros((len(inputs), 0))
            return frozen_features(self.learner, inputs), nothing, nothing
        channels = net_channels(inputs.shape[1])
        seen, colours = inputs[:, :channels], inputs[:, channels:]
        return frozen_features(self.learner, seen), _two_by_two(seen), colours.reshape(len(inputs), -1) / 255.0


def _two_by_two(images: np.ndarray) -> Array:
    """Means of blocks of 2 × 2 pixels, flattened, in 0..1; an odd last row or column is left out."""
    n, c, height, width = images.shape
    even = images[:, :, : height // 2 * 2, : width // 2 * 2].astype(np.float64)
    blocks = even.reshape(n, c, height // 2, 2, width // 2, 2)  # [N, C, H, W'] -> [N, C, H/2, 2, W'/2, 2]
    return blocks.mean((3, 5)).reshape(n, -1) / 255.0


def _rms(rows: Array) -> float:
    return max(float(np.sqrt((rows * rows).sum(1).mean())), 1e-12)


def net_channels(channels: int) -> int:
    """Those of a prepared image that are the network's: a reader adds three colours to its one or three."""
    return channels - 3 if channels > 3 else channels


def frozen_features(learner: Learner, inputs: np.ndarray) -> Array:
    """Features ``[N, D]`` of a learner's body, un-adapted and in evaluation mode.

    Args:
        learner: with a `metacortex.nn.body.Body` as ``body``.
        inputs: ``[N, C, H, W]`` uint8, or ``[N, ...]`` float32.

    Raises:
        LearnerError: if the learner has no body, or one whose batch norm needs other images beside.
    """
    body: Any = getattr(learner, "body", None)
    if body is None or body.norm not in ("running", "per-step"):
        raise LearnerError(
            f"heads need a learner with a backbone of its own and norm 'running'; '{learner.name}' has "
            f"{'none' if body is None else 'norm ' + repr(body.norm)}: use head='auto', the learner's own way to adapt"
        )
    parts = []
    with evaluating(learner), torch.no_grad():
        for start in range(0, len(inputs), _BATCH):
            part = torch.from_numpy(np.ascontiguousarray(inputs[start : start + _BATCH])).to(torch.float32)
            part = part / 255.0 if inputs.dtype == np.uint8 else part
            parts.append(body(body.weights(), part, body.given(0))[0].double().numpy())
    return np.concatenate(parts)


def encode_texts(texts: Sequence[Any], encode: Callable[[Sequence[Any]], Any] | None) -> Array:
    """Vectors of texts: by a callable, or counts of character n-grams.

    Args:
        texts: ``[N]``.
        encode: takes the list, gives ``[N, D]`` numbers, e.g. the embedding function of a language model.

    Returns:
        ``[N, D]``; without `encode`, 2- to 4-grams of characters within words, hashed to 4096 columns,
        each row of length 1.

    Raises:
        DataError: if the callable gives anything but one finite row of numbers per text.
    """
    if encode is None:
        return np.asarray(_counter().transform(texts).toarray(), dtype=np.float64)  # type: ignore[union-attr]
    given = encode(texts)
    try:
        rows = np.asarray(given.detach() if isinstance(given, torch.Tensor) else given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"encode must give an array [n, features] of numbers, got {type(given).__name__}") from None
    if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
        raise DataError(
            f"encode must give [{len(texts)}, features] finite numbers for {len(texts)} texts, got {list(rows.shape)}"
        )
    return rows


def text_parts(text: str, adds: Array) -> dict[str, dict[str, float]]:
    """What each n-gram and each word of a text adds, given what each column of `encode_texts` adds.

    N-grams that share a column share what it adds, by their counts (with the signs that hashing gave them).

    Args:
        text: as it was given.
        adds: ``[4096]``, zero where the text has no n-gram.

    Returns:
        ``n-gram`` and ``word``, each name -> figure; the figures of either sum to ``adds.sum()``.
    """
    words = [(word, gram) for word in text.split() for gram in _counter().build_analyzer()(word)]
    if not words:
        return {}
    hashed = _counter(analyzer=lambda gram: [gram], norm=None).transform([gram for _, gram in words]).tocsr()
    columns, signs = hashed.indices, hashed.data  # one of each for every n-gram
    total = np.zeros(len(adds))
    np.add.at(total, columns, signs)
    found: dict[str, dict[str, float]] = {"n-gram": {}, "word": {}}
    for (word, gram), column, sign in zip(words, columns, signs, strict=True):
        share = float(adds[column] * sign / total[column]) if total[column] else 0.0
        for kind, name in (("n-gram", gram), ("word", word)):
            found[kind][name] = found[kind].get(name, 0.0) + share
    return found


def _counter(**options: Any) -> Any:
    """Counts n-grams of characters within words."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(**{"analyzer": "char_wb", "ngram_range": (2, 4), "n_features": _TEXT_FEATURES, **options})
