"""Visitors: what each of them has on the page, how many are remembered, and how fast they may ask."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from metacortex.playground.board import Board, Drawing, new_id
from metacortex.playground.limits import Limits, Refused

__all__ = ["Bucket", "Query", "Skill", "Visitor", "Visitors"]

Clock = Callable[[], float]
_AT_ONCE = 16
"""Requests of one visitor at the same time: more than browsers send, fewer than would keep others out."""


class Bucket:
    """A token bucket: `rate` requests a second in the long run, `burst` at once.

    Args:
        rate: tokens per second.
        burst: most tokens.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._then = float(burst), clock()

    def wait(self, cost: float = 1.0) -> float:
        """Take so many tokens; seconds until they are there, 0 if they were."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens >= cost:
            self._tokens -= cost
            return 0.0
        return (cost - self._tokens) / self._rate


@dataclass(frozen=True, eq=False)
class Skill:
    """What a visitor keeps.

    Attributes:
        id: see `new_id`.
        name: as the visitor calls it.
        board: classes and drawings.
        seconds: that adapting took.
    """

    id: str
    name: str
    board: Board
    seconds: float


@dataclass(frozen=True, eq=False)
class Query:
    """A picture that was asked about, and the board at that time.

    Attributes:
        id: see `new_id`.
        drawing: the picture.
        board: what was known.
        truth: name of its class where the machine drew it itself.
    """

    id: str
    drawing: Drawing
    board: Board
    truth: str | None = None


@dataclass(eq=False)
class Visitor:
    """One visitor's part of the page; change it under `lock`.

    Attributes:
        bucket: how fast the visitor asks.
        places: how many requests at once.
        board: the present one.
        skill: id of the skill that the board was taken from or kept as, unless it changed since.
        revision: counts changes, so that two tabs know of each other.
        past: boards before, for undo: what was done since, board, skill.
        skills: by id.
        queries: the last ones, by id.
        seen: when the visitor was here last.
        hands: drawings that the machine made for the visitor.
        size: bytes of all drawings that are remembered.
    """

    bucket: Bucket
    places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_AT_ONCE))
    lock: threading.RLock = field(default_factory=threading.RLock)
    board: Board = field(default_factory=Board)
    skill: str | None = None
    revision: int = 0
    past: deque[tuple[str, Board, str | None]] = field(default_factory=deque)
    skills: OrderedDict[str, Skill] = field(default_factory=OrderedDict)
    queries: OrderedDict[str, Query] = field(default_factory=OrderedDict)
    seen: float = 0.0
    hands: int = 0
    size: int = 0

    def change(self, what: str, board: Board, limits: Limits, skill: str | None = None) -> None:
        """Put another board in place; the one before can be had back."""
        self.past.append((what, self.board, self.skill))
        while len(self.past) > limits.undo:
            self.past.popleft()
        self.board, self.skill = board, skill
        self.revision += 1
        self._make_room(limits)

    def undo(self) -> str:
        """Take the last change back, and say what it was.

        Raises:
            Refused: 409 if there is none.
        """
        if not self.past:
            raise Refused("there is nothing to undo", 409)
        what, self.board, self.skill = self.past.pop()
        if self.skill not in self.skills:
            self.skill = None
        self.revision += 1
        return what

    def keep(self, name: str, board: Board, seconds: float, limits: Limits) -> Skill:
        """Keep a skill; one of the same name is replaced.

        Raises:
            Refused: 409 if there are too many.
        """
        known = next((s for s in self.skills.values() if s.name == name), None)
        if known is None and len(self.skills) >= limits.skills:
            raise Refused(f"at most {limits.skills} skills are kept: delete one", 409)
        skill = Skill(known.id if known else new_id(), name, board, seconds)
        before = self.skills.get(skill.id)
        self.skills[skill.id] = skill
        if self._size() > limits.session_bytes:
            if before is None:
                del self.skills[skill.id]
            else:
                self.skills[skill.id] = before
            raise Refused("there is no more room: delete a skill", 409)
        self.size = self._size()
        self.revision += 1
        return skill

    def the_skill(self, name: str) -> Skill:
        """The skill with an id.

        Raises:
            Refused: 404 if there is none.
        """
        if name not in self.skills:
            raise Refused("there is no such skill: it was deleted, perhaps in another tab", 404)
        return self.skills[name]

    def asked(self, drawing: Drawing, limits: Limits, truth: str | None = None) -> Query:
        """Remember a question."""
        query = Query(new_id(), drawing, self.board, truth)
        self.queries[query.id] = query
        while len(self.queries) > limits.queries:
            self.queries.popitem(last=False)
        self.size = self._size()
        return query

    def the_query(self, name: str) -> Query:
        """The question with an id.

        Raises:
            Refused: 404 if it is forgotten.
        """
        if name not in self.queries:
            raise Refused("this question is forgotten: ask again", 404)
        return self.queries[name]

    def drawing(self, name: str) -> Drawing:
        """A drawing of the board, a skill, or a question.

        Raises:
            Refused: 404 if there is none.
        """
        for board in (self.board, *(s.board for s in self.skills.values())):
            for drawing in board.drawings:
                if drawing.id == name:
                    return drawing
        found = next((q.drawing for q in self.queries.values() if q.drawing.id == name), None)
        if found is None:
            raise Refused("there is no such drawing", 404)
        return found

    def _size(self) -> int:
        boards = [self.board, *(b for _, b, _ in self.past), *(s.board for s in self.skills.values())]
        drawings = {d.id: d.size for board in boards for d in board.drawings}
        drawings.update({q.drawing.id: q.drawing.size for q in self.queries.values()})
        return sum(drawings.values())

    def _make_room(self, limits: Limits) -> None:
        self.size = self._size()
        while self.past and self.size > limits.session_bytes:
            self.past.popleft()
            self.size = self._size()


class Visitors:
    """All visitors, in memory alone.

    Args:
        limits: how many, how large, how fast.
        clock: seconds.
    """

    def __init__(self, limits: Limits, clock: Clock = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._doors: OrderedDict[str, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def find(self, key: str | None) -> Visitor | None:
        """The visitor with a key, as the cookie has it; ``None`` if unknown or forgotten."""
        with self._lock:
            visitor = self._visitors.get(key or "")
            now = self._clock()
            if visitor is None or now - visitor.seen > self._limits.idle:
                return None
            visitor.seen = now
            self._visitors.move_to_end(key or "")
            return visitor

    def admit(self, address: str) -> tuple[str, Visitor]:
        """A new visitor and a key that nobody can guess.

        Raises:
            Refused: 429 if too many come from one address.
        """
        limits = self._limits
        with self._lock:
            door = self._doors.setdefault(address, Bucket(limits.new_rate, limits.new_burst, self._clock))
            self._doors.move_to_end(address)
            while len(self._doors) > 4 * limits.sessions:
                self._doors.popitem(last=False)
            wait = door.wait()
            if wait:
                raise Refused("too many new visitors from your address: wait a little", 429, wait)
            key = secrets.token_urlsafe(24)
            visitor = Visitor(Bucket(limits.rate, limits.burst, self._clock), seen=self._clock())
            self._visitors[key] = visitor
            while len(self._visitors) > limits.sessions:
                self._visitors.popitem(last=False)
            return key, visitor

    def make_room(self) -> None:
        """Forget the visitors seen least recently until all drawings fit into memory; the last one stays."""
        with self._lock:
            sizes = {key: visitor.size for key, visitor in self._visitors.items()}
            total = sum(sizes.values())
            for key in list(self._visitors)[:-1]:
                if total <= self._limits.total_bytes:
                    break
                total -= sizes[key]
                del self._visitors[key]
