"""What the page is told, as JSON holds it."""

from __future__ import annotations

from typing import Any

import numpy as np

from metacortex.errors import MetacortexError
from metacortex.playground.alphabets import alphabets
from metacortex.playground.board import Board
from metacortex.playground.limits import Limits
from metacortex.playground.reasons import drawing_influences, flat_map, pixel_shares
from metacortex.playground.steps import steps_of
from metacortex.playground.teacher import Learned, Reply, Teacher
from metacortex.playground.visitors import Query, Visitor
from metacortex.playground.waves import DOMAIN, MOST_POINTS, RANGE, wave_learner

__all__ = ["about", "answer", "state", "why"]


def about(teacher: Teacher, limits: Limits) -> dict[str, Any]:
    """What does not change while the page is open."""
    source = teacher.source
    return {
        "learner": source.name,
        "facts": {str(k): str(v) for k, v in source.facts.items()},
        "shipped": source.for_heads,
        "alphabets": [
            {"name": a.name, "characters": len(a.characters), "new": a.new} for a in alphabets().values()
        ],
        "limits": {"classes": limits.classes, "drawings": limits.drawings, "name": limits.name,
                   "upload": limits.upload, "skill_file": limits.skill_file},
        "function": {"domain": DOMAIN, "range": RANGE, "points": MOST_POINTS, **wave_learner()[1]},
    }  # fmt: skip


def state(visitor: Visitor, teacher: Teacher, said: str = "") -> dict[str, Any]:
    """The board, what was learned of it, skills.

    Args:
        visitor: whose.
        teacher: who learns.
        said: what was done, for people who cannot see it.
    """
    board, last = visitor.board, next(reversed(visitor.queries), None)
    return {
        "revision": visitor.revision,
        "said": said,
        "classes": [
            {"id": c.id, "name": c.name, "example": c.code is not None, "drawings": [d.id for d in c.drawings]}
            for c in board.concepts
        ],
        "learned": _learned(board, teacher),
        "undo": visitor.past[-1][0] if visitor.past else None,
        "skill": visitor.skill,
        "skills": [
            {
                "id": skill.id,
                "name": skill.name,
                "classes": [c.name for c in skill.board.taught],
                "examples": skill.board.count,
                "seconds": round(skill.seconds, 4),
            }
            for skill in visitor.skills.values()
        ],
        "query": last,
    }


def answer(query: Query, learned: Learned, reply: Reply) -> dict[str, Any]:
    """An answer with the drawings that spoke for and against it."""
    influence = drawing_influences(learned, reply)
    others = learned.targets != reply.slot
    nearest = int(reply.distances.argmin())
    counter = int(np.where(others, reply.distances, np.inf).argmin())
    return {
        "query": query.id,
        "drawing": query.drawing.id,
        "truth": query.truth,
        "answer": learned.concepts[reply.slot].name if reply.known else None,
        "most_likely": learned.concepts[reply.slot].id,
        "known": reply.known,
        "probabilities": [
            {"class": c.id, "name": c.name, "p": round(float(p), 5)}
            for c, p in zip(learned.concepts, reply.probabilities, strict=True)
        ],
        "novelty": round(reply.novelty, 4),
        "threshold": round(reply.threshold, 4),
        "drawings": [
            {"id": d.id, "class": learned.concepts[t].id, "influence": round(i, 4), "distance": round(r, 4)}
            for d, t, i, r in zip(
                learned.drawings, learned.targets.tolist(), influence.tolist(), reply.distances.tolist(), strict=True
            )
        ],
        "nearest": learned.drawings[nearest].id,
        "counter": learned.drawings[counter].id,
        "seconds": round(reply.seconds, 5),
        "learned": _facts(learned),
    }  # fmt: skip


def why(query: Query, learned: Learned, reply: Reply) -> dict[str, Any]:
    """Pixels, map, and the answer step by step."""
    pixels = pixel_shares(learned, reply)
    flat, place = flat_map(learned, reply)
    kind, steps = steps_of(learned, reply, query.board.order)
    channels = 3 if reply.inputs.shape[1] == 3 and not learned.teacher.source.framed else 1
    return {
        "query": query.id,
        "seen": reply.inputs[0, :channels].mean(0).round().astype(int).tolist(),
        "pixels": np.round(pixels / max(float(np.abs(pixels).max()), 1e-12), 3).tolist(),
        "map": {
            "query": [round(float(v), 4) for v in place],
            "drawings": [
                {"id": d.id, "class": learned.concepts[slot].id, "at": [round(float(v), 4) for v in at]}
                for d, slot, at in zip(learned.drawings, learned.targets.tolist(), flat, strict=True)
            ],
        },
        "steps": {
            "kind": kind,
            "classes": [{"id": c.id, "name": c.name} for c in learned.concepts],
            "steps": [
                {"number": s.number, "drawing": s.drawing, "p": [round(float(p), 4) for p in s.probabilities]}
                for s in steps
            ],
        },
    }


def _learned(board: Board, teacher: Teacher) -> dict[str, Any]:
    """How learning went, or what is missing for it."""
    missing = 2 - len(board.taught)
    if missing > 0:
        return {"ready": False, "trouble": None, "missing": missing}
    try:
        return {"ready": True, "trouble": None, "missing": 0, **_facts(teacher.learn(board))}
    except MetacortexError as error:
        return {"ready": False, "trouble": str(error), "missing": 0}


def _facts(learned: Learned) -> dict[str, Any]:
    return {
        "examples": len(learned.drawings),
        "classes": len(learned.concepts),
        "seconds": round(learned.seconds, 4),
        "how": learned.how,
    }
