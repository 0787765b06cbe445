"""Explanations with the names of everything in them: on a page, as data, as tables for a terminal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from torch import Tensor

from metacortex.explain.explanation import Explanation
from metacortex.explain.page import explanation_page
from metacortex.explain.values import Curve, ValueExplanation
from metacortex.explain.values_page import values_page
from metacortex.reports.page import Page, write_page
from metacortex.task import Examples

__all__ = ["Explained", "ExplainedClasses", "ExplainedValues", "point_names"]

_SHOWN = 5
Reason = TypeVar("Reason", Explanation, ValueExplanation)


@dataclass(frozen=True, eq=False)
class Explained(ABC, Generic[Reason]):
    """A sequence of explanations, one per query.

    Attributes:
        title: what is explained.
        lead: a sentence on it.
        explanations: one per query.
        support: what the learner adapted on.
        inputs: the queries ``[Q, ...]``.
        examples: names of the support examples.
        queries: names of the queries.
    """

    title: str
    lead: str
    explanations: Sequence[Reason]
    support: Examples
    inputs: Any
    examples: Sequence[str]
    queries: Sequence[str]

    def __len__(self) -> int:
        return len(self.explanations)

    @overload
    def __getitem__(self, index: int) -> Reason: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Reason]: ...
    def __getitem__(self, index: int | slice) -> Reason | Sequence[Reason]:
        return self.explanations[index]

    def __iter__(self) -> Iterator[Reason]:
        return iter(self.explanations)

    @abstractmethod
    def page(self) -> Page:
        """As a page with pictures."""

    @abstractmethod
    def answer(self, query: int) -> str:
        """The answer to a query, and how sure it is, in words."""

    @abstractmethod
    def adds(self, query: int) -> list[tuple[str, str, float]]:
        """Name, class or target, and influence of each support example."""

    def save(self, path: Path | str) -> Path:
        """Write the page: one HTML file that loads nothing from elsewhere.

        Raises:
            RunError: if it cannot be written.
        """
        return write_page(self.page(), Path(path))

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """For each query a title, columns, and rows: the examples that mattered most."""
        found = []
        for query, name in enumerate(self.queries):
            rows = sorted(self.adds(query), key=lambda row: -abs(row[2]))[:_SHOWN]
            texts = [[example, kind, f"{adds:+.3f}"] for example, kind, adds in rows]
            found.append((f"{name}: {self.answer(query)}", ["example", self.kind, "adds"], texts))
        return found

    kind = ""
    """What an example has: a class or a target."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        rows = [{"query": n, **e.to_json()} for n, e in zip(self.queries, self.explanations, strict=True)]
        return {"examples": list(self.examples), "queries": rows}


@dataclass(frozen=True, eq=False)
class ExplainedClasses(Explained[Explanation]):
    """Explanations of classes.

    Attributes:
        classes: their names, by slot.
        truths: the right classes, where they are known.
    """

    classes: Sequence[str]
    truths: Sequence[int] | None = None
    kind = "class"

    def page(self) -> Page:
        """A section for each query."""
        return explanation_page(self.title, self.lead, self.explanations, self.support, self.inputs, self.classes,
                                self.examples, self.queries, self.truths)  # fmt: skip

    def answer(self, query: int) -> str:
        """The class and its probability."""
        found = self.explanations[query]
        return f"{self.classes[found.answer]}, {100 * float(found.probabilities[found.answer]):.0f} %"

    def adds(self, query: int) -> list[tuple[str, str, float]]:
        """What each example adds to the log-probability of the answer."""
        slots: list[int] = self.support.targets.tolist()
        found: list[float] = self.explanations[query].influence.tolist()
        return [(n, self.classes[s], float(a)) for n, s, a in zip(self.examples, slots, found, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"classes": list(self.classes), **super().to_json()}


@dataclass(frozen=True, eq=False)
class ExplainedValues(Explained[ValueExplanation]):
    """Explanations of values.

    Attributes:
        truths: ``[Q]`` lists of the right values, where they are known.
        curve: the function before and after adapting, for inputs of one number.
    """

    truths: Sequence[Sequence[float]] | None = None
    curve: Curve | None = None
    kind = "target"

    def page(self) -> Page:
        """A section for each query, after the function where it can be drawn."""
        return values_page(self.title, self.lead, self.explanations, self.support, self.inputs, self.examples,
                           self.queries, self.truths, self.curve)  # fmt: skip

    def answer(self, query: int) -> str:
        """The value, give or take the error on left-out examples."""
        found = self.explanations[query]
        pairs = zip(found.value.tolist(), found.error.tolist(), strict=True)
        return ", ".join(f"{value:.4g} ± {error:.2g}" for value, error in pairs)

    def adds(self, query: int) -> list[tuple[str, str, float]]:
        """By how much each example moves the value; with several outputs, the one that it moves most."""
        moved = self.explanations[query].influence
        most = moved.gather(1, moved.abs().argmax(1, keepdim=True))[:, 0].tolist()
        targets = [", ".join(f"{t:.4g}" for t in row) for row in self.support.targets.tolist()]
        return list(zip(self.examples, targets, most, strict=True))


def point_names(inputs: Tensor, kind: str) -> list[str]:
    """What to call inputs ``[N, ...]`` that have no names: ``example 3 at 0.52``, the place of up to three numbers.

    Example:
        >>> from torch import tensor, zeros
        >>> point_names(tensor([[0.5, 2.0]]), "query"), point_names(zeros(1, 4), "query")
        (['query 0 at 0.5, 2'], ['query 0'])
    """
    flat = inputs.flatten(1)
    places = ["" if flat.shape[1] > 3 else " at " + ", ".join(f"{x:.3g}" for x in row) for row in flat.tolist()]
    return [f"{kind} {i}{place}" for i, place in enumerate(places)]
