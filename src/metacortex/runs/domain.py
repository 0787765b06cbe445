"""Where the tasks of a run come from, whatever they ask for: images, functions, sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from metacortex.learners.entry import Kind
from metacortex.settings import DataSettings, FunctionSettings, TaskSettings

if TYPE_CHECKING:
    from metacortex.settings import RunSettings
    from metacortex.tasks.source import TaskSource

__all__ = ["Domain", "open_domain"]


class Domain(Protocol):
    """Tasks of one kind by split, and what a learner must know to be built for them."""

    name: str
    """Of the source."""
    protocol: str
    """What is split how, to be printed beside every figure."""
    kind: Kind
    """What the tasks ask for."""
    input_shape: tuple[int, ...]
    """Shape of one input; empty where inputs have no fixed shape."""
    fingerprint: str
    """Sum over all that the tasks are made of."""

    @property
    def splits(self) -> Mapping[str, int]:
        """Split -> its size (classes, say); 0 where there is no end to it."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the data come from, as JSON holds it."""
        ...

    def learner_shape(self, settings: RunSettings, learner: Any) -> dict[str, Any]:
        """``kind``, ``input_shape``, ``way`` and ``train_classes`` for a class of learners."""
        ...

    def training_tasks(self, settings: RunSettings, learner: Any) -> TaskSource:
        """The tasks that a learner learns from, drawn with ``training.seed``."""
        ...

    def tasks(self, split: str, data: Any) -> TaskSource:
        """Fixed tasks of a split, of the sizes that the settings ask for.

        Raises:
            DataError: if there is no such split, or it is too small.
        """
        ...

    def details(self, split: str, data: Any) -> dict[str, Any]:
        """The protocol of `tasks` as data, for saved results."""
        ...


def open_domain(settings: TaskSettings) -> Domain:
    """Load what the settings name.

    Raises:
        SettingsError: for an unknown name.
        DataError: if the data are missing or broken.
    """
    if isinstance(settings, FunctionSettings):
        from metacortex.runs.functions import FunctionDomain

        return FunctionDomain(settings)
    from metacortex.runs.build import build_dataset
    from metacortex.runs.images import ImageDomain

    assert isinstance(settings, DataSettings)
    return ImageDomain(build_dataset(settings))
