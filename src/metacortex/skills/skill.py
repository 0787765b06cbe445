"""A skill: an adapted learner with class names, examples to show, and a sense of what it does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metacortex.errors import DataError, RunError
from metacortex.evaluation.calibration import Calibration, novelty_scores
from metacortex.learners.base import Predictor
from metacortex.skills.answer import Answer, Neighbour
from metacortex.skills.build import build_empty, fill
from metacortex.skills.file import read_skill_file, write_skill_file
from metacortex.skills.images import ImageReader
from metacortex.skills.state import flatten_state, portable, unflatten_state

__all__ = ["Skill", "SupportSet"]

_BATCH = 64
"""Images embedded at once: bounds memory, changes no answer."""

Images = str | Path | np.ndarray | Tensor


@dataclass(frozen=True, eq=False)
class SupportSet:
    """The examples a skill was made of.

    Attributes:
        names: ``class/file`` of each.
        targets: ``[N]`` int64 class slots.
        embeddings: ``[N, D]`` float32, see `Learner.embed`.
    """

    names: tuple[str, ...]
    targets: Tensor
    embeddings: Tensor


@dataclass(frozen=True, eq=False)
class Skill:
    """Names the class of an image among those of a folder of examples, or says "none of these".

    Made by `metacortex.skills.learn.learn_skill`.

    Attributes:
        predictor: the adapted learner.
        classes: class names by slot.
        support: the examples it was made of.
        reader: how image files are read.
        calibration: threshold of "none of these" and temperature of the probabilities; without it
            every image is taken for known and probabilities are as the learner gives them.
        description: of the learner, see `metacortex.runs.build.describe_learner`.
        norm: batch-norm policy, ``None`` for a learner without one.
        created_by: program and version.
        provenance: which run it came from, in words.
    """

    predictor: Predictor
    classes: tuple[str, ...]
    support: SupportSet
    reader: ImageReader
    calibration: Calibration | None
    description: Mapping[str, Any]
    norm: str | None = None
    created_by: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)

    def predict(self, images: Images | Sequence[Images], *, nearest: int = 3) -> list[Answer]:
        """Name the classes of images. The answer to one does not depend on the others.

        Args:
            images: paths of image files; arrays ``[C, h, w]`` of uint8, of any height and width, that are
                brought to size and polarity as files are; tensors ``[C, H, W]`` of floats in 0–1, taken as
                they are; or one of these alone.
            nearest: how many support examples to name.

        Returns:
            One answer per image, in order.

        Raises:
            DataError: naming the image that cannot be read, or has another shape or NaN in it.
        """
        several = [images] if isinstance(images, str | Path) or hasattr(images, "shape") else list(images)
        named = [(str(x) if isinstance(x, str | Path) else f"image {i}", x) for i, x in enumerate(several)]
        return [answer for part in _parts(named) for answer in self._answers(part, nearest)]

    def save(self, path: Path | str) -> Path:
        """Write the skill as one file, atomically.

        Raises:
            RunError: if it cannot be written; a file that was there is then unchanged.
        """
        learner = self.predictor.learner
        structure, tensors = flatten_state(self.predictor.state)
        own = learner.state_dict()
        tensors |= {f"learner/{name}": portable(own[name]) for name in sorted(learner.keeps())}
        tensors |= {"support/targets": self.support.targets, "support/embeddings": portable(self.support.embeddings)}
        header = {
            "created_by": self.created_by,
            "learner": dict(self.description),
            "norm": self.norm,
            "classes": list(self.classes),
            "images": self.reader.to_json(),
            "support": {"files": list(self.support.names)},
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "provenance": dict(self.provenance),
            "state": structure,
        }
        write_skill_file(Path(path), header, tensors)
        return Path(path)

    @staticmethod
    def load(path: Path | str) -> Skill:
        """Read a skill in a few milliseconds.

        Raises:
            RunError: if the file is missing, no skill, damaged, or a newer metacortex wrote it.
        """
        path = Path(path)
        header, tensors = read_skill_file(path)
        if header.get("kind", "classification") != "classification":
            raise RunError(f"the skill {path} is one of {header['kind']}: use metacortex translate")
        try:
            state = unflatten_state(header["state"], tensors)
            support = SupportSet(
                tuple(header["support"]["files"]), tensors["support/targets"], tensors["support/embeddings"]
            )
            reader = ImageReader.from_json(header["images"])
            kept = header["calibration"]
            calibration = None if kept is None else Calibration.from_json(kept)
            facts = (header["learner"], header["norm"], header["created_by"], header["provenance"])
            classes = tuple(header["classes"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(f"the skill {path} is damaged: its header lacks or garbles {error}") from error
        learner = build_empty(facts[0])
        prefix = "learner/"
        fill(learner, {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}, str(path))
        return Skill(Predictor(learner, state), classes, support, reader, calibration, *facts)

    def _answers(self, named: Sequence[tuple[str, Images]], nearest: int) -> list[Answer]:
        inputs = torch.stack([self._tensor(name, image) for name, image in named])
        c, support = self.calibration, self.support
        probabilities = (self.predictor(inputs) / (c.temperature if c else 1.0)).softmax(-1).double()  # [N, way]
        embeddings = self.predictor.embed(inputs)
        distances = _distances(embeddings, support.embeddings, self._metric)  # [N, M]
        scores = novelty_scores(support.embeddings, support.targets, embeddings, self._metric)  # [N]
        rows = zip(named, probabilities, distances, scores.tolist(), strict=True)
        return [self._answer(name, p, d, score, nearest) for (name, _), p, d, score in rows]

    def _answer(self, name: str, probabilities: Tensor, distances: Tensor, score: float, nearest: int) -> Answer:
        order = probabilities.argsort(descending=True, stable=True).tolist()
        near = distances.argsort(stable=True)[: max(nearest, 0)].tolist()
        threshold = None if self.calibration is None else self.calibration.threshold
        return Answer(
            name,
            self.classes[order[0]],
            {self.classes[slot]: float(probabilities[slot]) for slot in order},
            tuple(
                Neighbour(self.support.names[i], self.classes[int(self.support.targets[i])], float(distances[i]))
                for i in near
            ),
            score,
            threshold,
            threshold is None or score <= threshold,
        )

    @property
    def _metric(self) -> str:
        return "euclid" if self.calibration is None else self.calibration.metric

    def _tensor(self, name: str, image: Images) -> Tensor:
        """``[C, H, W]`` float32 in 0–1."""
        if isinstance(image, Tensor):
            if tuple(image.shape) != self.reader.shape or not image.is_floating_point():
                raise DataError(
                    f"{name}: expected a float tensor {list(self.reader.shape)}, got {image.dtype} {list(image.shape)}"
                )
            if not bool(torch.isfinite(image).all()):
                raise DataError(f"{name} holds NaN or infinite values: give finite numbers in 0..1")
            return image.to(torch.float32)
        try:
            pixels = self.reader.prepare(image) if isinstance(image, np.ndarray) else self.reader(image)
        except DataError as error:
            raise DataError(str(error) if name in str(error) else f"{name}: {error}") from None
        return torch.from_numpy(np.array(pixels)).to(torch.float32) / 255.0


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), _BATCH):
        yield items[first : first + _BATCH]


def _distances(a: Tensor, b: Tensor, metric: str) -> Tensor:
    """``[N, M]`` distances between the rows of ``[N, D]`` and ``[M, D]``."""
    if metric == "cosine":
        return (1.0 - F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T).clamp_min(0)
    # The exact formula: an image that is itself an example is at distance 0.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
