"""From a board to a classifier, and from a picture to an answer with its first reasons."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metacortex.errors import LearnerError
from metacortex.estimators.adapted import Adapted, HeadAdapted, adapt_learner
from metacortex.estimators.classifier import FewShotClassifier
from metacortex.estimators.heads import HeadSpec, choose_head, softmax
from metacortex.estimators.novelty import learn_novelty
from metacortex.estimators.pictures import PictureReader, learn_reader
from metacortex.estimators.source import ModelSource
from metacortex.playground.board import Board, Concept, Drawing
from metacortex.playground.limits import Refused
from metacortex.playground.memory import Memo, RememberedFeatures, Rows
from metacortex.skills.images import ImageReader

__all__ = ["Learned", "PlayClassifier", "Reply", "Teacher"]

Array = NDArray[np.float64]
_SPECS = (HeadSpec("kernel", 0.01, 2.0), HeadSpec("kernel", 0.1, 0.5), HeadSpec("ridge", 1.0), HeadSpec("ridge", 0.1))
"""Heads to choose from while somebody waits: the first is that of one example a class, as in `candidates`."""
_ROWS = 270
"""Examples times views, at most: more drawings are seen in fewer views, so that learning stays quick."""


class PlayClassifier(FewShotClassifier):
    """A `FewShotClassifier` that is given its network, and is put together from parts computed before."""

    def learn(
        self, source: ModelSource, reader: PictureReader, inputs: np.ndarray, targets: np.ndarray, names: list[str],
        adapted: Adapted,
    ) -> PlayClassifier:  # fmt: skip
        """Do as `fit` does, with everything computed already."""
        self.source_, self.reader_, self.input_kind_ = source, reader, "images"
        self.inputs_, self.targets_, self.classes_, self.adapted_ = inputs, targets, np.array(names), adapted
        self.support_features_ = adapted.embed(inputs)
        return self


@dataclass(frozen=True, eq=False)
class Reply:
    """An answer.

    Attributes:
        probabilities: ``[way]``, calibrated.
        novelty: how far from all classes, 1 is as far as they are from each other.
        threshold: from which it is none of these.
        distances: ``[N]`` to each drawing, in the unit of `novelty`.
        inputs: ``[1, C, H, W]`` uint8: what the network saw.
        seconds: that answering took.
    """

    probabilities: Array
    novelty: float
    threshold: float
    distances: Array
    inputs: np.ndarray
    seconds: float

    @property
    def slot(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def known(self) -> bool:
        """False for "none of these"."""
        return self.novelty <= self.threshold


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned of a board.

    Attributes:
        classifier: fitted.
        concepts: the classes with drawings, by slot.
        drawings: all of them, class by class.
        targets: ``[N]`` slot of each drawing.
        inputs: ``[N, C, H, W]`` uint8, what the network saw of them.
        seconds: that adapting took.
        teacher: who taught.
    """

    classifier: PlayClassifier
    concepts: tuple[Concept, ...]
    drawings: tuple[Drawing, ...]
    targets: NDArray[np.int64]
    inputs: np.ndarray
    seconds: float
    teacher: Teacher

    @property
    def adapted(self) -> Adapted:
        """What adaptation left behind."""
        return self.classifier.adapted_

    @property
    def how(self) -> str:
        """How the learner adapted, in words."""
        adapted = self.adapted
        return str(adapted.head.spec) if isinstance(adapted, HeadAdapted) else self.teacher.source.learner.name

    @cached_property
    def module(self) -> Any:
        """The classifier as a module that can be differentiated."""
        from metacortex.estimators.export import adapted_module

        return adapted_module(self.classifier)

    def ask(self, drawing: Drawing) -> Reply:
        """Answer."""
        began = time.perf_counter()
        inputs = self.teacher.seen([drawing], self.classifier.reader_)
        logits, embedded = self.adapted.logits(inputs), self.adapted.embed(inputs)
        novelty = self.adapted.novelty
        apart = np.sqrt(((embedded - self.classifier.support_features_) ** 2).sum(1)) / novelty.unit
        return Reply(
            softmax(logits)[0],
            float(novelty.scores(embedded)[0]),
            self.classifier.threshold_,
            apart,
            inputs,
            time.perf_counter() - began,
        )


class Teacher:
    """Adapts a network to boards; what it computed before it remembers.

    Args:
        source: the network.
    """

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        self._rows: Memo[Rows] = Memo(8_000)
        self._seen: Memo[np.ndarray] = Memo(8_000)
        self._drawn: Memo[bool] = Memo(8_000)
        self._learned: Memo[Learned] = Memo(48)

    @property
    def own_way(self) -> bool:
        """Whether the learner adapts in its own way, not by a head on its features."""
        return not self.source.for_heads

    def learn(self, board: Board) -> Learned:
        """Adapt to all drawings of a board.

        Raises:
            Refused: 409 for fewer than two classes with drawings.
            LearnerError: if the learner cannot serve so many classes.
        """
        known = self._learned.get(board.key)
        names = [c.name for c in board.taught]
        if known is not None:
            if [c.name for c in known.concepts] == names:
                return known
            return self._again(known, board)
        if len(board.taught) < 2:
            raise Refused("draw at least one example of each of two classes, then ask", 409)
        began = time.perf_counter()
        drawings = tuple(d for c in board.taught for d in c.drawings)
        targets = np.array([slot for slot, c in enumerate(board.taught) for _ in c.drawings], dtype=np.int64)
        reader = self._reader(drawings)
        inputs = self.seen(drawings, reader)
        adapted = self.adapt(inputs, targets, len(names))
        classifier = PlayClassifier(reject=True).learn(self.source, reader, inputs, targets, names, adapted)
        seconds = time.perf_counter() - began
        learned = Learned(classifier, board.taught, drawings, targets, inputs, seconds, self)
        self._learned.put(board.key, learned)
        return learned

    def adapt(self, inputs: np.ndarray, targets: NDArray[np.int64], way: int) -> Adapted:
        """Adapt to prepared images ``[N, C, H, W]`` with class slots ``[N]``."""
        source = self.source
        if self.own_way:
            return adapt_learner(source.learner, inputs, targets, way, 0, source.temperature, source.far)
        features = RememberedFeatures(source.learner, memo=self._rows).fitted(inputs)
        views = self.views(features, inputs)
        head, temperature, _ = choose_head(_SPECS, views, targets, way, source.temperature)
        return HeadAdapted(features, head, temperature, learn_novelty(views[0], targets, way, source.far))

    def views(self, features: Any, inputs: np.ndarray) -> Array:
        """``[V, N, D]``: as many views of each drawing as there is time for."""
        return features.views(inputs, most=max(1, _ROWS // len(inputs)))

    def seen(self, drawings: Any, reader: PictureReader | None) -> np.ndarray:
        """What the network sees of drawings, ``[N, C, H, W]`` uint8."""
        assert reader is not None
        found = []
        for drawing in drawings:
            key = (drawing.id, reader.drawn)
            seen = self._seen.get(key)
            if seen is None:
                seen = reader([Image.fromarray(drawing.image)])[0]
                self._seen.put(key, seen)
            found.append(seen)
        return np.stack(found)

    def _reader(self, drawings: tuple[Drawing, ...]) -> PictureReader:
        """As `FewShotClassifier` chooses it: for drawings, if at least half of the pictures are such."""
        shape = self.source.shape
        if len(shape) != 3:
            raise LearnerError(f"the playground needs a learner for images, this one takes inputs of shape {shape}")
        if not self.source.framed:
            reader = ImageReader.of(shape, self.source.background)
            return PictureReader(reader.shape, None, None, reader)
        size = (int(shape[0]), int(shape[1]), int(shape[2]))
        drawn = sum(self._is_drawn(d, size) for d in drawings)
        return PictureReader(size, None, 2 * drawn >= len(drawings))

    def _is_drawn(self, drawing: Drawing, size: tuple[int, int, int]) -> bool:
        known = self._drawn.get(drawing.id)
        if known is None:
            known = bool(learn_reader([Image.fromarray(drawing.image)], size).drawn)
            self._drawn.put(drawing.id, known)
        return known

    def _again(self, known: Learned, board: Board) -> Learned:
        """The same with other names of the classes."""
        k = known.classifier
        assert k.source_ is not None
        assert k.reader_ is not None
        names = [c.name for c in board.taught]
        classifier = PlayClassifier(reject=True).learn(k.source_, k.reader_, known.inputs, known.targets, names,
                                                       k.adapted_)  # fmt: skip
        learned = Learned(classifier, board.taught, known.drawings, known.targets, known.inputs, known.seconds, self)
        self._learned.put(board.key, learned)
        return learned
