"""What classifier and regressor have in common: reading X, finding the network, saving."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from metacortex.errors import DataError, SettingsError, unknown_name
from metacortex.estimators.adapted import as_tensor
from metacortex.estimators.features import Features, NetFeatures, TableFeatures, encode_texts
from metacortex.estimators.heads import HEADS
from metacortex.estimators.inputs import InputKind, as_items, item_names, kind_of
from metacortex.estimators.pictures import PictureReader, learn_reader
from metacortex.estimators.source import ModelSource, default_source, load_source
from metacortex.learners.base import Learner
from metacortex.skills.images import ImageReader

__all__ = ["FewShotEstimator"]

Encode = Callable[[Sequence[Any]], Any]


class FewShotEstimator(BaseEstimator):
    """Reads tables, images and texts; the parameters are those of its two subclasses."""

    model: str | Path | Learner | None
    head: str
    encode: Encode | None
    invert: bool | None
    random_state: int
    inputs_: np.ndarray
    targets_: np.ndarray
    names_: list[str] | None
    source_: ModelSource | None
    reader_: PictureReader | None
    input_kind_: InputKind

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def prepare(self, X: Any) -> np.ndarray:
        """X as what was fitted takes it, and as an exported graph takes it.

        Returns:
            Float32: images ``[n, C, H, W]`` in 0–1, else ``[n, features]`` (or of the shape that the model takes).
        """
        return as_tensor(self._read(X)).numpy()

    def save_pretrained(self, folder: str | Path, *, results: Any = None) -> Path:
        """Write ``config.json``, ``model.safetensors`` and a model card ``README.md``.

        See `metacortex.estimators.pretrained.save_estimator`.

        Args:
            folder: where.
            results: what `estimate` gave, for the card.
        """
        from metacortex.estimators.pretrained import save_estimator

        check_is_fitted(self, "input_kind_")
        return save_estimator(self, folder, results)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, encode: Encode | None = None, **options: Any) -> Self:
        """Read what `save_pretrained` wrote.

        Args:
            name: a folder, which needs no network, or ``owner/name`` on the hub (extra ``hub``).
            encode: the callable that it was fitted with, if any.
            options: of the download.
        """
        from metacortex.estimators.pretrained import fetch, load_estimator

        return load_estimator(cls, fetch(name, **options), encode)

    def push_to_hub(
        self, name: str, *, results: Any = None, private: bool | None = None, token: str | None = None
    ) -> str:
        """Upload to the hub (extra ``hub``), and return the address.

        Args:
            name: ``owner/name``.
            results: what `estimate` gave, for the card.
            private: of a repository that is made for it.
            token: of the hub; that of your login when not given.
        """
        from metacortex.estimators.pretrained import push

        with tempfile.TemporaryDirectory() as folder:
            return push(self.save_pretrained(folder, results=results), name, private=private, token=token)

    def export(self, path: str | Path, X: Any, *, episode: bool = False) -> Path:
        """Write a graph that runs without this library: ``.pt2`` (`torch.export`) or ``.onnx`` (extra ``onnx``).

        The file is run once, and its answers are compared with those here.

        Args:
            path: its ending decides.
            X: a few examples, two at least.
            episode: not what was learned but the learner itself, as one graph (support, labels, query) → logits or
                values, for a support set of as many examples and classes as `fit` was given; for models whose
                adaptation is no loop of gradients.
        """
        from metacortex.estimators.export import EpisodeModule, adapted_module, export_module

        inputs = torch.from_numpy(self.prepare(X))
        if len(inputs) < 2:
            raise DataError(f"export needs at least two examples to trace with, got {len(inputs)}")
        if not episode:
            return export_module(adapted_module(self), [inputs], [True], path)
        if self.source_ is None or not hasattr(self, "targets_"):
            raise SettingsError("an episode can be exported of an estimator with a model, that was fitted here")
        whole = self.targets_.dtype == np.int64
        labels = torch.from_numpy(self.targets_ if whole else self.targets_.astype(np.float32))
        channels = self.source_.shape[0] if len(self.source_.shape) == 3 else inputs.shape[1]
        module = EpisodeModule(self.source_.learner, int(labels.max()) + 1 if whole else None).eval()
        support = as_tensor(self.inputs_)[:, :channels]
        return export_module(module, [support, labels, inputs[:, :channels]], [False, False, True], path)

    def _read_first(self, X: Any, y: Any) -> tuple[np.ndarray, Any]:
        """Prepared inputs and y, and everything about reading that later calls need."""
        if self.head not in HEADS:
            raise unknown_name("head", str(self.head), HEADS)
        if isinstance(self.random_state, bool) or not isinstance(self.random_state, int | np.integer):
            raise SettingsError(f"random_state must be a whole number, got {self.random_state!r}")
        kind = kind_of(X)
        self.names_ = None
        if kind == "images" and self.encode is not None:
            kind = "texts"  # a callable takes items of any kind
        self.source_ = self._find_source(kind)
        self.reader_ = None
        if kind == "table":
            X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=self._numeric_targets)
            self.input_kind_ = kind
            return self._shaped(X), y
        check_consistent_length(X, y)
        self.names_ = item_names(X, "example")
        if kind == "images":
            self.reader_ = self._make_reader(X)
        self.input_kind_ = kind
        return self._prepare(X), y

    @property
    def _numeric_targets(self) -> bool:
        return False

    def _read(self, X: Any) -> np.ndarray:
        """Prepared inputs of a fitted estimator."""
        check_is_fitted(self, "input_kind_")
        if self.input_kind_ == "table":
            return self._shaped(np.asarray(validate_data(self, X, dtype=np.float64, reset=False)))
        kind = kind_of(X) if len(X) else self.input_kind_
        if kind != self.input_kind_ and not (self.encode is not None and self.input_kind_ == "texts"):
            raise DataError(f"fitted on {self.input_kind_}, asked about a {kind}: give X of the same kind")
        return self._prepare(X)

    def _prepare(self, X: Any) -> np.ndarray:
        if self.reader_ is not None:
            return self.reader_(X)
        return encode_texts(as_items(X), self.encode)

    def _shaped(self, table: np.ndarray) -> np.ndarray:
        shape = () if self.source_ is None else self.source_.shape
        if not shape:
            return table
        if int(np.prod(shape)) != table.shape[1]:
            raise DataError(
                f"the model takes inputs of shape {list(shape)}, X has {table.shape[1]} features: "
                "give data like what it was trained on, or no model"
            )
        return table.reshape(-1, *shape)

    def _find_source(self, kind: InputKind) -> ModelSource | None:
        if self.model is not None:
            return load_source(self.model)
        return default_source() if kind == "images" else None

    def _make_reader(self, X: Any) -> PictureReader:
        assert self.source_ is not None
        shape = self.source_.shape or (1, 28, 28)
        if self.source_.framed:
            return learn_reader(X, (int(shape[0]), int(shape[1]), int(shape[2])), self.invert)
        reader = ImageReader.of(shape, self.source_.background, self.invert)
        return PictureReader(reader.shape, learn_reader(X, reader.shape).value_range, None, reader, self.invert)

    def _own_way(self) -> bool:
        """Whether the learner adapts in its own way, not by a head on its features."""
        return self.source_ is not None and self.head == "auto" and not self.source_.for_heads

    def _features(self, inputs: np.ndarray) -> Features:
        if self.source_ is not None:
            return NetFeatures.learn(self.source_.learner, inputs)
        return TableFeatures.learn(inputs)
