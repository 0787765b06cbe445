"""What a visitor has drawn: immutable, so that undo, skills and two tabs at once cost nothing.

Every change makes a new `Board` that shares all drawings with the one before.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from metacortex.playground.limits import Limits, Refused

__all__ = ["Board", "Concept", "Drawing", "new_id"]


def new_id() -> str:
    """Twelve random letters that nobody guesses; ids of different visitors never meet."""
    return secrets.token_hex(6)


@dataclass(frozen=True, eq=False)
class Drawing:
    """A drawing or a photograph.

    Attributes:
        id: see `new_id`.
        image: ``[h, w]`` (grey) or ``[h, w, 3]`` uint8, at most 112 pixels a side.
        png: the same as a file.
    """

    id: str
    image: np.ndarray
    png: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.nbytes + len(self.png)


@dataclass(frozen=True, eq=False)
class Concept:
    """A class.

    Attributes:
        id: see `new_id`.
        name: as the visitor calls it.
        drawings: its examples.
        code: code point, for a class of an example alphabet; then more examples can be drawn by the machine.
    """

    id: str
    name: str
    drawings: tuple[Drawing, ...] = ()
    code: int | None = None


@dataclass(frozen=True, eq=False)
class Board:
    """All classes.

    Attributes:
        concepts: in the order in which they were made.
        order: ids of the drawings in the order in which they were added.

    Example:
        >>> board = Board().with_concept("A", Limits())
        >>> [c.name for c in board.concepts]
        ['A']
    """

    concepts: tuple[Concept, ...] = ()
    order: tuple[str, ...] = ()

    @cached_property
    def taught(self) -> tuple[Concept, ...]:
        """Classes that have a drawing."""
        return tuple(c for c in self.concepts if c.drawings)

    @cached_property
    def key(self) -> tuple[tuple[str, ...], ...]:
        """Equal for boards that teach the same; names do not count."""
        return tuple((c.id, *(d.id for d in c.drawings)) for c in self.taught)

    @property
    def drawings(self) -> Iterator[Drawing]:
        """All of them, class by class."""
        return (d for c in self.concepts for d in c.drawings)

    @property
    def count(self) -> int:
        """Number of drawings."""
        return sum(len(c.drawings) for c in self.concepts)

    def concept(self, name: str) -> Concept:
        """The class with an id.

        Raises:
            Refused: 404 if there is none.
        """
        found = next((c for c in self.concepts if c.id == name), None)
        if found is None:
            raise Refused("there is no such class: it was deleted, perhaps in another tab", 404)
        return found

    def with_concept(self, name: str, limits: Limits, code: int | None = None) -> Board:
        """With a new, empty class at the end.

        Raises:
            Refused: if there are too many, or one is called the same.
        """
        if len(self.concepts) >= limits.classes:
            raise Refused(f"there can be at most {limits.classes} classes: delete one", 409)
        self._unused(name)
        return replace(self, concepts=(*self.concepts, Concept(new_id(), name, (), code)))

    def renamed(self, concept: str, name: str) -> Board:
        """With another name for a class."""
        old = self.concept(concept)
        if name == old.name:
            return self
        self._unused(name)
        return self._put(replace(old, name=name))

    def without_concept(self, concept: str) -> Board:
        """Without a class."""
        self.concept(concept)
        return replace(self, concepts=tuple(c for c in self.concepts if c.id != concept))

    def with_drawing(self, concept: str, drawing: Drawing, limits: Limits) -> Board:
        """With one more example.

        Raises:
            Refused: if there are too many.
        """
        if self.count >= limits.drawings:
            raise Refused(f"there can be at most {limits.drawings} drawings: delete some", 409)
        old = self.concept(concept)
        board = self._put(replace(old, drawings=(*old.drawings, drawing)))
        return replace(board, order=(*self.order, drawing.id))

    def without_drawing(self, drawing: str) -> Board:
        """Without an example.

        Raises:
            Refused: 404 if there is none.
        """
        owner = next((c for c in self.concepts if any(d.id == drawing for d in c.drawings)), None)
        if owner is None:
            raise Refused("there is no such drawing: it was deleted, perhaps in another tab", 404)
        return self._put(replace(owner, drawings=tuple(d for d in owner.drawings if d.id != drawing)))

    def _unused(self, name: str) -> None:
        if any(c.name == name for c in self.concepts):
            raise Refused(f"there is a class '{name}' already: choose another name", 409)

    def _put(self, concept: Concept) -> Board:
        return replace(self, concepts=tuple(concept if c.id == concept.id else c for c in self.concepts))
