"""A regressor that learns from a handful of examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from metacortex.errors import DataError, SettingsError
from metacortex.estimators.adapted import as_tensor, bind
from metacortex.estimators.base import Encode, FewShotEstimator
from metacortex.estimators.features import Features
from metacortex.estimators.heads import Head, HeadSpec, candidates, fit_head
from metacortex.learners.base import Learner, Predictor
from metacortex.learners.objective import GaussianLikelihood
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.explain.explained import ExplainedValues

__all__ = ["FewShotRegressor"]

Array = NDArray[np.float64]


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """Predicts numbers after a few examples; scikit-learn's conventions.

    Without a `model`, a ridge or kernel head in closed form is fitted to the standardised features and chosen by its
    leave-one-out error. With one (a run on function tasks, say, whose learner has seen thousands of functions
    of that family), the learner adapts in its own way.

    Args:
        model: a run folder of ``metacortex train`` or a `Learner` for regression; ``None`` for the weights that come
            with the package (images), or none (tables, texts).
        head: ``"auto"``, ``"ridge"`` or ``"kernel"``; see `FewShotClassifier`.
        encode: for texts (or any other items), a callable: list of n items → ``[n, features]``.
        invert: exchange dark and light in images; ``None``: where the border is light.
        random_state: seed of the learner's own randomness.

    Attributes:
        input_kind_: ``"table"``, ``"images"`` or ``"texts"``.
        n_features_in_: columns of a table.
        error_: root mean square error of the leave-one-out predictions, ``[outputs]``; ``None`` for a `model`.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 8)[:, None]
        >>> model = FewShotRegressor().fit(x, 2 * x[:, 0] + 1)
        >>> bool(abs(model.predict([[0.5]])[0] - 2.0) < 0.05)
        True
    """

    def __init__(
        self,
        model: str | Path | Learner | None = None,
        *,
        head: str = "auto",
        encode: Encode | None = None,
        invert: bool | None = None,
        random_state: int = 0,
    ) -> None:
        self.model = model
        self.head = head
        self.encode = encode
        self.invert = invert
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @property
    def _numeric_targets(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> FewShotRegressor:
        """Adapt to examples.

        Args:
            X: examples, see `FewShotClassifier`.
            y: ``[n]`` or ``[n, outputs]`` finite numbers.

        Returns:
            Itself.

        Raises:
            DataError: for inputs or targets that cannot be used.
            SettingsError: for a parameter out of range.
            RunError: if the model cannot be loaded.
        """
        if self.head == "prototype":
            raise SettingsError("head 'prototype' is for classes: use auto, ridge or kernel")
        inputs, y = self._read_first(X, y)
        values = np.asarray(y, dtype=np.float64)
        if values.ndim not in (1, 2) or not np.isfinite(values).all():
            raise DataError(f"y must be [n] or [n, outputs] finite numbers, got shape {list(values.shape)}")
        self.flat_ = values.ndim == 1
        columns = values.reshape(len(values), -1)  # [n] -> [n, 1]
        self.inputs_, self.targets_ = inputs, columns
        if self._own_way():
            self.predictor_, self.error_ = self._bound(inputs, columns), None
            return self
        self.features_ = self._features(inputs)
        self.offset_ = columns.mean(0)
        deviation = columns.std(0)
        self.unit_ = np.where(deviation > 1e-12 * np.maximum(np.abs(columns).max(0), 1e-300), deviation, 1.0)
        views = self.features_.views(inputs)
        scaled = (columns - self.offset_) / self.unit_
        self.head_, self.error_ = _best(candidates(self.head, views.shape[0] * views.shape[1]), views, scaled)
        self.error_ = self.error_ * self.unit_
        return self

    def predict(self, X: Any) -> Array:
        """``[n]`` or ``[n, outputs]`` values, as `fit` was given."""
        values = self._values(self._read(X))
        return values[:, 0] if self.flat_ else values

    def explain(self, X: Any, *, parts: bool = True) -> ExplainedValues:
        """Why each value: by how much each example moves it and with what weight, which parts of the input, how sure.

        By how much an example moves a value is the value, minus that without the example; its weight, by how much
        the value rises with its target. An interval comes from the errors on left-out examples. See
        `FewShotClassifier.explain` for the rest; pixels are not explained here.

        Args:
            X: inputs, as of `predict`.
            parts: also say which columns or n-grams mattered (needs the extra ``explain``).

        Returns:
            A sequence of `metacortex.explain.values.ValueExplanation`; ``save("why.html")`` writes a page, with a
            picture of the function where the table has one column.

        Raises:
            DataError: for an estimator that was loaded, which does not hold its examples.
            MissingExtraError: if parts are asked for and captum is not installed.
        """
        from metacortex.estimators.reasons import explain_regressor

        check_is_fitted(self, "input_kind_")
        return explain_regressor(self, X, parts)

    def _values(self, inputs: np.ndarray) -> Array:
        """``[n, outputs]`` for prepared inputs."""
        if not self._own_way():
            return self.head_.scores(self.features_(inputs)) * self.unit_ + self.offset_
        values = self.predictor_(as_tensor(inputs))
        if isinstance(self.predictor_.learner.objective, GaussianLikelihood):
            values, _ = GaussianLikelihood.split(values)
        return values.double().numpy()

    def _bound(self, inputs: np.ndarray, columns: Array) -> Predictor:
        assert self.source_ is not None
        kind = (self.source_.description or {}).get("kind", "regression")
        if kind != "regression":
            raise DataError(f"the model '{self.source_.name}' was trained for {kind}: give one for regression")
        targets = torch.from_numpy(columns).to(torch.float32)
        return bind(self.source_.learner, inputs, lambda x: Examples(x, targets), int(self.random_state))

    head_: Head
    features_: Features
    predictor_: Predictor
    error_: Array | None


def _best(specs: Sequence[HeadSpec], views: Array, values: Array) -> tuple[Head, Array]:
    """The head with the least leave-one-out error, and that error by output."""
    found: tuple[float, Head, Array] | None = None
    for spec in specs:
        if spec.kind == "prototype":
            continue
        head, left_out = fit_head(spec, views, values)
        error = np.sqrt(((left_out - values) ** 2).mean(0))
        if found is None or float(error.mean()) < found[0] - 1e-9:
            found = (float(error.mean()), head, error)
    assert found is not None
    return found[1], found[2]
