"""What can be done on the page: one method for each request."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from metacortex.playground import describe
from metacortex.playground.alphabets import draw_example, pick
from metacortex.playground.board import Board
from metacortex.playground.keep import file_name, read_skill, write_skill
from metacortex.playground.limits import Limits, Refused, clean_name
from metacortex.playground.pictures import read_drawing
from metacortex.playground.rival import Rivals
from metacortex.playground.teacher import Learned, Reply, Teacher
from metacortex.playground.visitors import Query, Visitor
from metacortex.playground.waves import check_points, fit_rival, fit_wave

__all__ = ["Actions", "Call", "File"]

Json = dict[str, Any]
_EXAMPLES = 5
"""Classes of an example alphabet."""


@dataclass(frozen=True)
class Call:
    """A request, read and within limits.

    Attributes:
        visitor: who asks.
        name: the id in the address, if there is one.
        body: what came with it.
    """

    visitor: Visitor
    name: str
    body: bytes

    def field(self, key: str) -> Any:
        """A field of the JSON object in the body.

        Raises:
            Refused: if there is no such object, or no such field in it.
        """
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused("expected a JSON object in the request, got something else") from None
        if not isinstance(content, dict) or key not in content:
            raise Refused(f"expected a JSON object with '{key}' in the request")
        return content[key]


@dataclass(frozen=True)
class File:
    """A file as the answer to a request.

    Attributes:
        data: its content.
        kind: media type.
        name: to save it under, ``None`` to show it.
    """

    data: bytes
    kind: str
    name: str | None = None


class Actions:
    """All of them.

    Args:
        teacher: who learns.
        limits: of visitors.
    """

    def __init__(self, teacher: Teacher, limits: Limits) -> None:
        self.teacher, self.limits = teacher, limits
        self.rivals = Rivals(limits.rivals)
        self._quick, self._slow = (threading.BoundedSemaphore(n) for n in (limits.at_once, 1))

    # --- what there is ---

    def about(self, call: Call) -> Json:
        """Learner, alphabets, limits."""
        return describe.about(self.teacher, self.limits)

    def state(self, call: Call, said: str = "") -> Json:
        """Board and skills."""
        with call.visitor.lock, self._turn():
            return describe.state(call.visitor, self.teacher, said)

    def picture(self, call: Call) -> File:
        """A drawing as PNG."""
        with call.visitor.lock:
            return File(call.visitor.drawing(call.name).png, "image/png")

    # --- teaching ---

    def add_class(self, call: Call) -> Json:
        """A new class."""
        name = self._name(call)
        with call.visitor.lock:
            board = call.visitor.board.with_concept(name, self.limits)
            return self._changed(call, f"new class {name}", board)

    def rename_class(self, call: Call) -> Json:
        """Another name for a class."""
        name = self._name(call)
        with call.visitor.lock:
            old = call.visitor.board.concept(call.name).name
            return self._changed(call, f"{old} renamed {name}", call.visitor.board.renamed(call.name, name))

    def delete_class(self, call: Call) -> Json:
        """Without a class."""
        with call.visitor.lock:
            name = call.visitor.board.concept(call.name).name
            return self._changed(call, f"class {name} deleted", call.visitor.board.without_concept(call.name))

    def add_drawing(self, call: Call) -> Json:
        """An uploaded picture as an example of a class."""
        with self._turn():
            drawing = read_drawing(call.body, self.limits)
        with call.visitor.lock:
            board = call.visitor.board.with_drawing(call.name, drawing, self.limits)
            return self._changed(call, f"example of {board.concept(call.name).name} added", board)

    def add_example(self, call: Call) -> Json:
        """One more example of a class of an alphabet, drawn by the machine."""
        with call.visitor.lock:
            concept = call.visitor.board.concept(call.name)
            if concept.code is None:
                raise Refused("the machine can only draw the letters of its example alphabets", 409)
            with self._turn():
                drawing = draw_example(concept.code, self._hand(call.visitor))
            board = call.visitor.board.with_drawing(call.name, drawing, self.limits)
            return self._changed(call, f"example of {concept.name} added", board)

    def delete_drawing(self, call: Call) -> Json:
        """Without an example."""
        with call.visitor.lock:
            return self._changed(call, "example deleted", call.visitor.board.without_drawing(call.name))

    def clear(self, call: Call) -> Json:
        """An empty board."""
        with call.visitor.lock:
            return self._changed(call, "everything cleared", Board())

    def undo(self, call: Call) -> Json:
        """Take the last change back."""
        with call.visitor.lock:
            what = call.visitor.undo()
            return self.state(call, f"undone: {what}")

    def load_alphabet(self, call: Call) -> Json:
        """Five letters of a script, one drawing each, in place of the board."""
        name = call.field("name")
        if not isinstance(name, str):
            raise Refused("expected the name of an alphabet")
        with call.visitor.lock:
            board = Board()
            with self._turn():
                for character in pick(name, _EXAMPLES, np.random.default_rng(secrets.randbits(64))):
                    board = board.with_concept(chr(character.code), self.limits, character.code)
                    drawing = draw_example(character.code, self._hand(call.visitor))
                    board = board.with_drawing(board.concepts[-1].id, drawing, self.limits)
            return self._changed(call, f"{name} letters loaded", board)

    # --- asking ---

    def ask(self, call: Call) -> Json:
        """What is this picture?"""
        with self._turn():
            drawing = read_drawing(call.body, self.limits)
        with call.visitor.lock:
            return self._answer(call.visitor.asked(drawing, self.limits))

    def ask_example(self, call: Call) -> Json:
        """Ask about a letter that the machine draws itself, by a hand that no example is from."""
        with call.visitor.lock:
            able = [c for c in call.visitor.board.taught if c.code is not None]
            if not able:
                raise Refused("load an example alphabet first: the machine can only draw letters of those", 409)
            concept = secrets.choice(able)
            assert concept.code is not None
            with self._turn():
                drawing = draw_example(concept.code, self._hand(call.visitor))
            return self._answer(call.visitor.asked(drawing, self.limits, concept.name))

    def answer(self, call: Call) -> Json:
        """The answer to an earlier question, as it was at that time."""
        return self._answer(self._query(call))

    def why(self, call: Call) -> Json:
        """Pixels, map and steps of an answer."""
        query = self._query(call)
        with self._turn(slow=True):
            learned, reply = self._reply(query)
            return describe.why(query, learned, reply)

    def rival(self, call: Call) -> Json:
        """What a network trained from scratch on the same drawings says."""
        query = self._query(call)
        with self._turn():
            learned, reply = self._reply(query)
            rival = self.rivals.of(learned)
            if rival is None:
                return {"query": query.id, "ready": False}
            shares = rival.probabilities(reply)
        return {
            "query": query.id,
            "ready": True,
            "seconds": round(rival.seconds, 3),
            "steps": rival.steps,
            "probabilities": [
                {"class": c.id, "p": round(float(p), 5)} for c, p in zip(learned.concepts, shares, strict=True)
            ],
        }

    # --- skills ---

    def keep_skill(self, call: Call) -> Json:
        """Keep the board as a skill."""
        name = self._name(call)
        with call.visitor.lock:
            board = call.visitor.board
            with self._turn():
                learned = self.teacher.learn(board)
            call.visitor.skill = call.visitor.keep(name, board, learned.seconds, self.limits).id
            return self.state(call, f"kept as {name}")

    def use_skill(self, call: Call) -> Json:
        """Put a skill in place of the board."""
        with call.visitor.lock:
            skill = call.visitor.the_skill(call.name)
            return self._changed(call, f"switched to {skill.name}", skill.board, skill.id)

    def delete_skill(self, call: Call) -> Json:
        """Forget a skill."""
        with call.visitor.lock:
            skill = call.visitor.the_skill(call.name)
            del call.visitor.skills[skill.id]
            if call.visitor.skill == skill.id:
                call.visitor.skill = None
            call.visitor.revision += 1
            return self.state(call, f"skill {skill.name} deleted")

    def skill_file(self, call: Call) -> File:
        """A skill as a file."""
        with call.visitor.lock:
            skill = call.visitor.the_skill(call.name)
        with self._turn(slow=True):
            data = write_skill(skill.name, skill.board, self.teacher.learn(skill.board))
        return File(data, "application/zip", file_name(skill.name))

    def load_skill(self, call: Call) -> Json:
        """A skill from a file; it is kept, and put in place of the board."""
        with self._turn(slow=True):
            name, board = read_skill(call.body, self.limits)
            learned = self.teacher.learn(board)
        with call.visitor.lock:
            skill = call.visitor.keep(name, board, learned.seconds, self.limits)
            return self._changed(call, f"skill {name} loaded", board, skill.id)

    # --- the function tab ---

    def function(self, call: Call) -> Json:
        """A wave through points, step by step."""
        points = check_points(call.field("points"))
        with self._turn():
            return fit_wave(points)

    def function_rival(self, call: Call) -> Json:
        """The same points, learned by a network from scratch."""
        points = check_points(call.field("points"))
        with self._turn(slow=True):
            return fit_rival(points)

    def _name(self, call: Call) -> str:
        return clean_name(call.field("name"), self.limits.name)

    def _hand(self, visitor: Visitor) -> int:
        visitor.hands = (visitor.hands + 1) % 60
        return visitor.hands

    def _changed(self, call: Call, what: str, board: Board, skill: str | None = None) -> Json:
        call.visitor.change(what, board, self.limits, skill)
        return self.state(call, what)

    def _query(self, call: Call) -> Query:
        with call.visitor.lock:
            return call.visitor.the_query(call.name)

    def _reply(self, query: Query) -> tuple[Learned, Reply]:
        learned = self.teacher.learn(query.board)
        return learned, learned.ask(query.drawing)

    def _answer(self, query: Query) -> Json:
        with self._turn():
            learned, reply = self._reply(query)
            return describe.answer(query, learned, reply)

    @contextmanager
    def _turn(self, slow: bool = False) -> Iterator[None]:
        """Wait for a turn to compute: a few at once, so that all are answered soon."""
        turns = self._slow if slow else self._quick
        if not turns.acquire(timeout=self.limits.wait):
            raise Refused("too many people ask at the moment: try again in a few seconds", 503, 3.0)
        try:
            yield
        finally:
            turns.release()
