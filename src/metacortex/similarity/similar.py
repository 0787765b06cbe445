"""From names (a run, a data source, folders) to a ranking of known tasks for a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metacortex.data.dataset import SPLITS, Dataset
from metacortex.data.registry import load_dataset
from metacortex.errors import DataError, RunError, unknown_name
from metacortex.evaluation.run import LoadedRun, load_run
from metacortex.runs.images import build_dataset
from metacortex.settings import DataSettings
from metacortex.similarity.baselines import ClassCountDistance, PixelDistance
from metacortex.similarity.distance import Ranked, TaskDistance
from metacortex.similarity.examples import examples_of, folder_task, groups_of, has_groups, only_classes
from metacortex.similarity.kept import kept_transfers
from metacortex.similarity.learned import LearnedDistance
from metacortex.similarity.otdd import OTDD
from metacortex.similarity.probe import Probe, default_probe, probe_of
from metacortex.similarity.set_encoder import SetDistance
from metacortex.similarity.task2vec import Task2Vec
from metacortex.similarity.transfer import TransferSettings
from metacortex.skills.images import ImageReader
from metacortex.skills.learn import training_background
from metacortex.task import Examples

__all__ = ["MEASURES", "Similar", "make_measure", "similar_tasks"]

MEASURES: dict[str, Callable[[Callable[[], Probe], int], TaskDistance]] = {
    "classes": lambda probe, seed: ClassCountDistance(),
    "learned": lambda probe, seed: LearnedDistance([Task2Vec(probe(), seed=seed), PixelDistance("mean")]),
    "otdd": lambda probe, seed: OTDD(probe()),
    "pixels": lambda probe, seed: PixelDistance(),
    "set": lambda probe, seed: SetDistance(probe(), seed=seed),
    "task2vec": lambda probe, seed: Task2Vec(probe(), seed=seed),
}
"""The measures by name, made from a probe (when it is asked for) and a seed."""

_EXAMPLES, _CLASSES = 20, 64
"""Examples of a class, and classes of a task, that are looked at."""


@dataclass(frozen=True)
class Similar:
    """Known tasks ranked for a new one.

    Attributes:
        new: what the new task is called.
        measure: name of the measure.
        probe: the network that the tasks were seen through; ``None`` for measures without one.
        way: classes of the new task.
        examples: examples of the new task.
        ranking: the known tasks, the most alike first.
    """

    new: str
    measure: str
    probe: str | None
    way: int
    examples: int
    ranking: Sequence[Ranked]

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "new": {"name": self.new, "classes": self.way, "examples": self.examples},
            "measure": self.measure,
            "probe": self.probe,
            "ranking": [
                {"task": r.name, "distance": r.distance, "classes": r.way, "examples": r.examples} for r in self.ranking
            ],
        }


def make_measure(name: str, probe: Callable[[], Probe], seed: int = 0) -> TaskDistance:
    """A measure by its name.

    Args:
        name: one of `MEASURES`.
        probe: makes the probe, for measures that need one.
        seed: of what is drawn or initialised.

    Raises:
        SettingsError: for an unknown name.
        MissingExtraError: if POT is needed and not installed.
    """
    if name not in MEASURES:
        raise unknown_name("measure", name, MEASURES)
    return MEASURES[name](probe, seed)


def similar_tasks(
    new: str | Path,
    *,
    run: Path | str | None = None,
    data: str | None = None,
    among: str = "",
    measure: str = "task2vec",
    transfers: Path | str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Similar:
    """Rank known tasks for a new one.

    Args:
        new: a folder with one sub-folder of images per class, or a group (alphabet, script) of the data source.
        run: a run folder: its data source is used where no other is named, its network is the probe; without it the
            probe is the network that comes with the package.
        data: a data source whose groups are tasks.
        among: known tasks: folders, groups, or splits (``train``, ``val``, ``test``: the groups that have classes
            there), with commas. Empty: the groups of the run's training split; without a run, all.
        measure: one of `MEASURES`. ``"learned"`` measures the transfer between the known tasks, seconds for each.
        transfers: file in which these transfers are kept, or were; with it ``"set"`` learns to foretell them.
        seed: of what the measure draws or initialises.
        progress: called with (tasks measured, tasks).

    Raises:
        SettingsError: for an unknown measure, data source or group, naming the nearest that there is.
        DataError: if a folder cannot be read, or there is nothing to compare with.
        RunError: if the run cannot be used.
        LearnerError: if no tasks can be seen through the network of the run.

    Example:
        >>> similar_tasks("letters", data="omniglot").ranking[0].name  # doctest: +SKIP
        'Latin'
    """
    loaded = None if run is None else _images_run(run)
    world = _World(loaded, _dataset(loaded, data), measure == "classes")
    task = world.task(str(new))
    known = world.known(among or ("train" if loaded is not None and data is None else "all"), str(new))
    shape = tuple(task.inputs.shape[1:])
    probe = (lambda: default_probe(shape)) if loaded is None else (lambda: probe_of(loaded.learner))
    judge = make_measure(measure, probe, seed)
    if isinstance(judge, LearnedDistance) or (isinstance(judge, SetDistance) and transfers is not None):
        place = None if transfers is None else Path(transfers)
        judge.fit(known, kept_transfers(place, known, _possible(TransferSettings(), known), progress=progress))
    else:
        judge.fit(known)
    ranking = judge.rank(task, known)
    name = None
    if measure in ("learned", "otdd", "set", "task2vec"):
        name = "weights of the package" if loaded is None else str(loaded.folder.path)
    return Similar(str(new), measure, name, task.way, len(task.targets), [_true_way(r, world) for r in ranking])


def _possible(settings: TransferSettings, known: Mapping[str, Examples]) -> TransferSettings:
    """Few-shot tasks that every known task is large enough for: up to half of the examples of a class to learn from."""
    least = min(int(task.targets.bincount().min()) for task in known.values())
    shot = min(settings.shot, max(least // 2, 1))
    return replace(settings, shot=shot, queries=min(settings.queries, max(least - shot, 1)))


class _World:
    """Where tasks come from: groups of a data source, and folders."""

    def __init__(self, loaded: LoadedRun | None, dataset: Dataset | None, whole: bool) -> None:
        self.loaded, self.dataset, self.whole = loaded, dataset, whole
        self.groups: dict[str, list[int]] = {}
        if dataset is not None and has_groups(dataset):
            self.groups = groups_of(dataset)

    def task(self, name: str) -> Examples:
        """A group or a folder, with no more classes and examples than are looked at."""
        if name in self.groups and self.dataset is not None:
            found = examples_of(self.dataset.store, self.groups[name], most=_EXAMPLES)
        elif Path(name).expanduser().is_dir():
            found = folder_task(Path(name).expanduser(), self._reader(), most=_EXAMPLES)
        elif self.groups and "/" not in name:
            raise unknown_name("task (neither a folder nor a group of the data source)", name, self.groups)
        else:
            raise DataError(
                f"there is no folder {name}"
                + ("" if self.dataset else "; to name an alphabet or script, say of which data source: --data omniglot")
            )
        return found if self.whole or found.way <= _CLASSES else only_classes(found, _CLASSES)

    def known(self, among: str, new: str) -> dict[str, Examples]:
        """The known tasks by name, without the new one."""
        names: list[str] = []
        for part in (p.strip() for p in among.split(",")):
            if part == "all":
                names += list(self.groups)
            elif part in SPLITS and part not in self.groups and self.dataset is not None:
                names += list(groups_of(self.dataset, part))
            elif part:
                names.append(part)
        names = [name for name in dict.fromkeys(names) if name != new]
        if not names:
            raise DataError(
                "there is nothing to compare with: name a data source with groups (--data omniglot), or known tasks: "
                "--among FOLDER,FOLDER"
            )
        return {name: self.task(name) for name in names}

    def _reader(self) -> ImageReader:
        if self.loaded is not None:
            return ImageReader.of(self.loaded.folder.info()["learner"]["input_shape"], training_background(self.loaded))
        shape = (1, 28, 28) if self.dataset is None else self.dataset.store.shape
        # The network that comes with the package knows bright ink on a dark ground.
        return ImageReader.of(shape, "dark")


def _true_way(ranked: Ranked, world: _World) -> Ranked:
    """With the number of classes that there are, not of those that were looked at."""
    return replace(ranked, way=len(world.groups[ranked.name])) if ranked.name in world.groups else ranked


def _images_run(run: Path | str) -> LoadedRun:
    loaded = load_run(run)
    shape: Mapping[str, Any] = loaded.folder.info()["learner"]
    if shape.get("kind", "classification") != "classification" or len(shape.get("input_shape", ())) != 3:
        raise RunError(f"the run in {run} is not one of image classification: name one that is, or leave it out")
    return loaded


def _dataset(loaded: LoadedRun | None, data: str | None) -> Dataset | None:
    if loaded is None:
        return None if data is None else load_dataset(data)
    settings = loaded.settings.data
    if not isinstance(settings, DataSettings):
        raise RunError(f"the run in {loaded.folder.path} learned from no images: name a data source with --data")
    if data is not None:
        settings = DataSettings(name=data, size=settings.size)
    elif loaded.folder.info()["data"].get("source") is None:
        raise RunError(f"the run in {loaded.folder.path} was trained on data of your own: name a source with --data")
    return build_dataset(settings)
