"""What is compared: learners, the data they learn from, and the tasks they are tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from metacortex.errors import SettingsError
from metacortex.learners.registry import learner_entry
from metacortex.settings import RunSettings, merge
from metacortex.tasks.functions import function_names

__all__ = ["Cell", "ComparisonPlan"]


_NAMED = {
    "learner.name": "--learners",
    "data.name": "--data",
    "data.way": "--way",
    "data.shot": "--shots",
    "data.queries": "--queries",
    "training.steps": "--steps",
    "training.minutes": "--minutes",
    "training.seed": "--seed",
}
"""Settings that an argument of its own decides: any other value would contradict what the tables say."""

_COMMON = {"data.protocol", "data.size", "data.rotations", "data.seed", "data.min_examples"}
"""Settings that may differ from the defaults, but not from learner to learner."""


@dataclass(frozen=True, order=True)
class Cell:
    """One column of the comparison: fixed test tasks.

    Attributes:
        data: data source.
        shot: support examples per class.
    """

    data: str
    shot: int

    def __str__(self) -> str:
        return f"{self.data} {self.shot}-shot"


@dataclass(frozen=True)
class ComparisonPlan:
    """A comparison of learners; all have the same budget, backbone and test tasks.

    Attributes:
        learners: registry names.
        data: the data source that all learn from.
        way: classes per task.
        shots: numbers of support examples per class to test with; training uses the first.
        queries: query examples per class.
        transfer: data sources to test on without having learned from them.
        tasks: test tasks per cell.
        steps: budget of each learner in meta-steps; 0 for a budget in minutes.
        minutes: budget of each learner in minutes of training.
        seed: of initial weights and training tasks.
        reference: learner that the others are compared with pair by pair; empty for the best of
            the transfer family, else the first learner.
        options: settings for all, ``"section.key"`` -> value.
        own: learner -> settings for it alone.

    Raises:
        SettingsError: for unknown learners, no learner, no budget, or settings that must be the same for all.
    """

    learners: tuple[str, ...]
    data: str = "glyphs"
    way: int = 5
    shots: tuple[int, ...] = (1, 5)
    queries: int = 15
    transfer: tuple[str, ...] = ()
    tasks: int = 600
    steps: int = 0
    minutes: float = 5.0
    seed: int = 0
    reference: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.learners:
            raise SettingsError("a comparison needs learners: --learners protonet,maml,fine_tuning")
        for name in (*self.learners, *self.own, *([self.reference] if self.reference else [])):
            learner_entry(name)
            if name not in self.learners:
                raise SettingsError(f"settings for '{name}', which is not compared: add it to --learners")
        for key in _NAMED.keys() & self.options.keys():
            raise SettingsError(f"--set {key}: say it by {_NAMED[key]}")
        for name, options in self.own.items():
            for key in sorted((_NAMED.keys() | _COMMON) & options.keys()):
                raise SettingsError(f"--set {name}.{key}: learners are compared on the same tasks and budget")
        if len(set(self.learners)) < len(self.learners):
            raise SettingsError(f"a learner is named twice: {', '.join(self.learners)}")
        if not self.shots or min(self.shots) < 1:
            raise SettingsError(f"shots must be positive numbers, e.g. 1,5, got {self.shots}")
        if bool(self.steps) == bool(self.minutes):
            raise SettingsError(f"a comparison has one budget, got steps {self.steps} and minutes {self.minutes:g}")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All columns: the own data first."""
        return tuple(Cell(data, shot) for data in (self.data, *self.transfer) for shot in self.shots)

    @property
    def yardstick(self) -> str:
        """The learner that the others are compared with."""
        if self.reference:
            return self.reference
        transfer = [name for name in self.learners if learner_entry(name).learner.trains_on == "batches"]
        return (transfer or list(self.learners))[0]

    @property
    def functions(self) -> bool:
        """Whether the tasks are regression of functions."""
        return self.data in function_names()

    def settings_of(self, learner: str) -> RunSettings:
        """Settings of a learner's run.

        Raises:
            SettingsError: for settings that do not exist or values out of range.
        """
        budget = {"training.steps": self.steps} if self.steps else {"training.minutes": self.minutes}
        way = {} if self.functions else {"data.way": self.way}
        return merge(
            RunSettings(),
            {
                "learner.name": learner,
                "data.name": self.data,
                **way,
                "data.shot": self.shots[0],
                "data.queries": self.queries,
                "training.seed": self.seed,
                **budget,
                **self.options,
                **self.own.get(learner, {}),
            },
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> ComparisonPlan:
        """The inverse of `to_json`."""
        tuples = {key: tuple(content[key]) for key in ("learners", "shots", "transfer")}
        return ComparisonPlan(**{**content, **tuples})
