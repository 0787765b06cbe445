"""A classifier that learns from a handful of examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from metacortex.errors import DataError, SettingsError
from metacortex.estimators.adapted import Adapted, adapt_head, adapt_learner
from metacortex.estimators.base import Encode, FewShotEstimator
from metacortex.estimators.heads import softmax
from metacortex.estimators.source import FAR, TEMPERATURE
from metacortex.learners.base import Learner

if TYPE_CHECKING:
    from metacortex.estimators.estimate import Estimate
    from metacortex.explain.explained import ExplainedClasses

__all__ = ["NONE_OF_THESE", "FewShotClassifier"]

NONE_OF_THESE = "none of these"
Array = NDArray[np.float64]


class FewShotClassifier(ClassifierMixin, FewShotEstimator):
    """Names classes after a few examples of each; scikit-learn's conventions.

    X may be

    - a table ``[n, features]`` of numbers: columns are standardised, and a prototype, ridge or kernel head in
      closed form is chosen by its leave-one-out loss;
    - images: arrays ``[n, h, w]`` or ``[n, h, w, 3]`` of any size and range, a list of arrays of different
      sizes, Pillow images, or paths of image files. A small network trained on drawn characters
      (`metacortex.estimators.weights`) sees them, and a head is fitted to what it sees. It knows drawings and
      writing; for photographs give a `model` of your own;
    - texts: character n-grams, or what `encode` makes of them.

    Fitting is adapting: it takes milliseconds to seconds. Nothing is downloaded.

    Args:
        model: a run folder of ``metacortex train`` or a `Learner`, which then adapts in its own way; a folder of
            weights packed for heads; ``None`` for the weights that come with the package (images), or none
            (tables, texts).
        head: ``"auto"``, ``"prototype"``, ``"ridge"`` or ``"kernel"``. With a `model`, anything but ``"auto"``
            puts that head on the features of its backbone.
        reject: answer `NONE_OF_THESE` (or this text) for inputs that are far from all classes. `predict` then
            returns an object array.
        accept: share of the inputs of your classes that rejection shall let pass, in (0, 1).
        encode: for texts (or any other items), a callable: list of n items → ``[n, features]``.
        invert: exchange dark and light in images; ``None``: where the border is light.
        random_state: seed of the learner's own randomness and of held-out parts.

    Attributes:
        classes_: ``[way]`` the labels, sorted.
        input_kind_: ``"table"``, ``"images"`` or ``"texts"``.
        n_features_in_: columns of a table.
        adapted_: what adaptation left behind.
        threshold_: largest `novelty` that counts as one of the classes.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0.0, 1.0], [0.2, 0.9], [3.0, 4.0], [3.1, 4.2]])
        >>> FewShotClassifier().fit(X, ["low", "low", "high", "high"]).predict([[2.8, 4.0]]).tolist()
        ['high']
    """

    def __init__(
        self,
        model: str | Path | Learner | None = None,
        *,
        head: str = "auto",
        reject: bool | str = False,
        accept: float = 0.95,
        encode: Encode | None = None,
        invert: bool | None = None,
        random_state: int = 0,
    ) -> None:
        self.model = model
        self.head = head
        self.reject = reject
        self.accept = accept
        self.encode = encode
        self.invert = invert
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> FewShotClassifier:
        """Adapt to labelled examples.

        Args:
            X: examples, see the class.
            y: ``[n]`` labels: names, numbers, booleans.

        Returns:
            Itself.

        Raises:
            DataError: for inputs that cannot be read, or fewer than two classes.
            SettingsError: for a parameter out of range.
            RunError: if the model cannot be loaded.
        """
        if not isinstance(self.reject, bool | str):
            raise SettingsError(f"reject must be True, False or the label to answer with, got {self.reject!r}")
        if not 0 < self.accept < 1:
            raise SettingsError(f"accept must lie between 0 and 1, got {self.accept!r}")
        inputs, y = self._read_first(X, y)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"expected examples of at least 2 classes to tell apart, got 1 class: {self.classes_[0]!r}")
        self.inputs_, self.targets_ = inputs, targets.astype(np.int64)
        self.adapted_ = self._adapt(inputs, self.targets_)
        self.support_features_ = self.adapted_.embed(inputs)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each input, or the label of rejection.

        Returns:
            ``[n]`` labels.
        """
        inputs = self._read(X)
        answers = self.classes_[self.adapted_.logits(inputs).argmax(1)]
        if self.reject is False:
            return answers
        label = self.reject if isinstance(self.reject, str) else NONE_OF_THESE
        answers = answers.astype(object)
        answers[self._novelty(inputs) > self.threshold_] = label
        return answers

    def predict_proba(self, X: Any) -> Array:
        """Calibrated probabilities ``[n, way]``, columns in the order of ``classes_``.

        They are those of the classes alone: rejection does not change them.
        """
        inputs = self._read(X)
        return softmax(self.adapted_.logits(inputs))

    def novelty(self, X: Any) -> Array:
        """How far each input is from all classes, ``[n]``: 0 on a class, 1 as far as classes are from each other.

        Above ``threshold_``, `predict` answers "none of these" if `reject` is on.
        """
        return self._novelty(self._read(X))

    @property
    def threshold_(self) -> float:
        """Largest `novelty` that counts as one of the classes."""
        check_is_fitted(self, "adapted_")
        return self.adapted_.novelty.threshold(self.accept)

    def estimate(self, *, repeats: int = 3, folds: int = 5, rivals: bool = True) -> Estimate:
        """How good is this on *your* task? Cross-validation on the examples of `fit`, beside simple rivals.

        See `metacortex.estimators.estimate.estimate`.
        """
        from metacortex.estimators.estimate import estimate

        return estimate(self, repeats=repeats, folds=folds, rivals=rivals)

    def explain(self, X: Any, *, parts: bool = True) -> ExplainedClasses:
        """Why each answer: which examples spoke for it and against it, which parts of the input, how sure it is.

        What an example adds is the log-probability of the answer, minus that of the classifier without the example:
        for heads exactly, without fitting again (features, temperature and kind of head stay); a learner that
        adapts in its own way adapts anew. What a pixel, a column or an n-gram of characters adds to the log-odds are
        integrated gradients, from an empty image, the mean of the examples' rows, or an empty text; with an `encode` of
        your own, words are left out.

        Args:
            X: inputs, as of `predict`.
            parts: also say which parts of the inputs mattered (needs the extra ``explain``).

        Returns:
            A sequence of `metacortex.explain.explanation.Explanation`; ``save("why.html")`` writes a page.

        Raises:
            DataError: for an estimator that was loaded, which does not hold its examples.
            MissingExtraError: if parts are asked for and captum is not installed.

        Example:
            >>> model = FewShotClassifier().fit([[0.0], [0.1], [2.0], [2.1]], ["low", "low", "high", "high"])
            >>> why = model.explain([[0.3]], parts=False)
            >>> why.classes[why[0].answer], why[0].influence.argmax().item() in (0, 1)
            ('low', True)
        """
        from metacortex.estimators.reasons import explain_classifier

        check_is_fitted(self, "adapted_")
        return explain_classifier(self, X, parts)

    def suggest(self, pool: Any, count: int = 1) -> NDArray[np.int64]:
        """Which unlabelled examples are worth a label next?

        See `metacortex.estimators.suggest.suggest`.

        Args:
            pool: unlabelled examples, as X.
            count: how many.

        Returns:
            ``[count]`` rows of the pool, the most useful first.
        """
        from metacortex.estimators.suggest import suggest

        return suggest(self, pool, count)

    def _adapt(self, inputs: np.ndarray, targets: NDArray[np.int64]) -> Adapted:
        """Adapt to a part of the examples that has all classes."""
        way, source = len(self.classes_), self.source_
        if source is not None and self._own_way():
            seed = int(self.random_state)
            return adapt_learner(source.learner, inputs, targets, way, seed, source.temperature, source.far)
        measured = source is not None and source.for_heads
        temperature, far = (source.temperature, source.far) if measured and source else (TEMPERATURE, FAR)
        return adapt_head(self._features(inputs), self.head, inputs, targets, way, temperature, far)

    def _novelty(self, inputs: np.ndarray) -> Array:
        return self.adapted_.novelty.scores(self.adapted_.embed(inputs))
