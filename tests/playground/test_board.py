"""Boards, names, visitors: no server needed."""

from __future__ import annotations

import pytest

from metacortex.playground.board import Board
from metacortex.playground.limits import Limits, Refused, clean_name
from metacortex.playground.memory import Memo
from metacortex.playground.visitors import Bucket, Visitor, Visitors

from .play_support import board_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_change_leaves_the_board_before_as_it_was() -> None:
    board = board_of(("ring", "cross"), 1)
    first = board.concepts[0]
    after = board.without_drawing(first.drawings[0].id)
    assert (board.count, after.count) == (2, 1)
    assert [c.name for c in after.taught] == ["cross"]
    assert after.concepts[1] is board.concepts[1]
    assert board.key != after.key
    assert board.renamed(first.id, "circle").key == board.key


def test_boards_refuse() -> None:
    board = board_of(("ring", "cross"), 1)
    with pytest.raises(Refused, match="already") as clash:
        board.with_concept("ring", Limits())
    with pytest.raises(Refused, match="already"):
        board.renamed(board.concepts[0].id, "cross")
    with pytest.raises(Refused, match="at most 2 classes"):
        board.with_concept("roof", Limits(classes=2))
    with pytest.raises(Refused, match="at most 2 drawings"):
        board.with_drawing(board.concepts[0].id, next(board.drawings), Limits(drawings=2))
    with pytest.raises(Refused) as gone:
        board.concept("nothing")
    assert (clash.value.status, gone.value.status) == (409, 404)


@pytest.mark.parametrize("text", ["", "  ", "\u200b\u202e", "x" * 41, 5, None, ["a"]])
def test_bad_names(text: object) -> None:
    with pytest.raises(Refused):
        clean_name(text)


def test_names_are_only_text() -> None:
    assert clean_name("<img src=x onerror=alert(1)>") == "<img src=x onerror=alert(1)>"  # shown as text, never parsed
    assert clean_name("../../etc/passwd\x00") == "../../etc/passwd"
    assert clean_name("e\u0301\u202eabc") == "éabc"


def test_undo_goes_back_change_by_change() -> None:
    limits, visitor = Limits(undo=3), Visitor(Bucket(1, 1))
    boards = [board_of(("ring", "cross"), n) for n in (1, 2, 3, 4)]
    for number, board in enumerate(boards):
        visitor.change(f"change {number}", board, limits)
    assert visitor.undo() == "change 3"
    assert visitor.board is boards[2]
    assert [visitor.undo(), visitor.undo()] == ["change 2", "change 1"]
    with pytest.raises(Refused, match="nothing to undo"):
        visitor.undo()


def test_memory_of_a_visitor_is_bounded() -> None:
    board = board_of(("ring", "cross"), 1)
    size = sum(d.size for d in board.drawings)
    limits, visitor = Limits(session_bytes=2 * size + 10), Visitor(Bucket(1, 1))
    for _ in range(5):
        visitor.change("other", board_of(("ring", "cross"), 1), limits)
    assert visitor.size <= limits.session_bytes
    assert len(visitor.past) <= 2
    visitor.keep("mine", visitor.board, 0.1, limits)
    visitor.change("other", board_of(("ring", "cross"), 1), limits)
    with pytest.raises(Refused, match="room"):
        visitor.keep("more", board_of(("roof", "cross"), 3), 0.1, limits)
    assert [s.name for s in visitor.skills.values()] == ["mine"]


def test_buckets() -> None:
    clock = Clock()
    bucket = Bucket(2.0, 3, clock)
    assert [bucket.wait() for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now = 0.5
    assert [bucket.wait(), bucket.wait(0.1)] == [0, pytest.approx(0.05)]


def test_visitors_are_forgotten() -> None:
    clock = Clock()
    visitors = Visitors(Limits(sessions=2, idle=100, new_burst=4, new_rate=1), clock)
    first, second = visitors.admit("a")[0], visitors.admit("a")[0]
    assert visitors.find(first) is not None  # seen later than the second one
    third, _ = visitors.admit("a")
    assert [visitors.find(key) is not None for key in (first, second, third)] == [True, False, True]
    assert visitors.find("made up") is None
    assert visitors.find(None) is None
    clock.now = 101
    assert visitors.find(first) is None
    assert len({first, second, third}) == 3
    assert min(map(len, (first, second, third))) >= 32


def test_new_visitors_are_counted_by_address() -> None:
    visitors = Visitors(Limits(new_burst=2, new_rate=0.1), Clock())
    visitors.admit("a")
    visitors.admit("a")
    with pytest.raises(Refused) as refused:
        visitors.admit("a")
    assert (refused.value.status, refused.value.wait) == (429, pytest.approx(10))
    visitors.admit("b")


def test_memory_of_all_visitors_is_bounded() -> None:
    visitors = Visitors(Limits(total_bytes=100))
    keys = []
    for size in (60, 30, 50):
        key, visitor = visitors.admit("a")
        visitor.size = size
        keys.append(key)
    visitors.make_room()
    assert [visitors.find(key) is not None for key in keys] == [False, True, True]


def test_memo_forgets_the_oldest() -> None:
    memo: Memo[int] = Memo(2)
    memo.put("a", 1)
    memo.put("b", 2)
    assert memo.get("a") == 1
    memo.put("c", 3)
    assert [memo.get(key) for key in "abc"] == [1, None, 3]
    assert len(memo) == 2


def test_an_empty_board_teaches_nothing() -> None:
    assert Board().with_concept("a", Limits()).taught == ()
