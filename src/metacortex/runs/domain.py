"""Where the tasks of a run come from, whatever they ask for: images, functions, sentences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from metacortex.learners.entry import Kind
from metacortex.settings import DataSettings, FunctionSettings, TaskSettings, TextSettings

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
        """``kind``, ``input_shape``, ``way``, ``train_classes`` and maybe ``backbone_options`` of a learner."""
        ...

    def keep(self, run: Path) -> None:
        """Put what evaluation will need, and the settings do not name, into a run folder."""
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


def open_domain(settings: TaskSettings, run: Path | None = None) -> Domain:
    """Load what the settings name.

    Args:
        settings: of the tasks.
        run: folder of the run that they belong to, which may hold parts of it (subwords).

    Raises:
        SettingsError: for an unknown name.
        DataError: if the data are missing or broken.
    """
    if isinstance(settings, FunctionSettings):
        from metacortex.runs.functions import FunctionDomain

        return FunctionDomain(settings)
    if isinstance(settings, TextSettings):
        from metacortex.runs.translation import TranslationDomain

        return TranslationDomain(settings, run)
    from metacortex.runs.images import ImageDomain, build_dataset

    assert isinstance(settings, DataSettings)
    return ImageDomain(build_dataset(settings))
