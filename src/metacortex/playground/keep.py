"""A skill as one file: what was learned, for use anywhere, and the drawings, to go on from.

A zip archive (``NAME.skill.zip``):

    skill.json                     name, classes and their drawings, seconds; format 1
    drawings/1-NAME/1.png …        a folder of class folders, as `metacortex adapt` takes it
    config.json, model.safetensors, README.md
                                   the fitted classifier: unpack, then `FewShotClassifier.from_pretrained(FOLDER)`

The playground reads names and drawings alone and adapts its own network to them: no weights, paths or code are
taken from a stranger's file.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from metacortex import __version__
from metacortex.playground.board import Board
from metacortex.playground.limits import Limits, Refused, clean_name
from metacortex.playground.pictures import read_drawing
from metacortex.playground.teacher import Learned

__all__ = ["FORMAT", "file_name", "read_skill", "write_skill"]

FORMAT = 1
KIND = "metacortex playground skill"
_JSON_BYTES, _DRAWING_BYTES, _MEMBERS = 100_000, 64_000, 400
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all members: the same skill is the same file."""


def file_name(name: str) -> str:
    """A harmless file name for a skill.

    Example:
        >>> file_name("../My runes!"), file_name("符文")
        ('My-runes.skill.zip', 'skill.skill.zip')
    """
    return (_plain(name) or "skill") + ".skill.zip"


def write_skill(name: str, board: Board, learned: Learned) -> bytes:
    """The file of a skill.

    Args:
        name: of the skill.
        board: its classes and drawings.
        learned: what was learned of them.

    Raises:
        LearnerError: for a learner that cannot be saved.
    """
    classes, members = [], {}
    for number, concept in enumerate(board.taught, start=1):
        folder = f"drawings/{number}-{_plain(concept.name) or 'class'}"
        files = [f"{folder}/{place}.png" for place in range(1, len(concept.drawings) + 1)]
        members.update({file: d.png for file, d in zip(files, concept.drawings, strict=True)})
        classes.append({"name": concept.name, "code": concept.code, "drawings": files})
    content = {
        "kind": KIND,
        "format": FORMAT,
        "created_by": f"metacortex {__version__}",
        "name": name,
        "classes": classes,
        "learner": learned.teacher.source.name,
        "seconds": round(learned.seconds, 4),
    }
    members["skill.json"] = (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
    with tempfile.TemporaryDirectory() as folder:
        learned.classifier.save_pretrained(folder)
        members |= {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for member, data in sorted(members.items()):
            file.writestr(zipfile.ZipInfo(member, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def read_skill(data: bytes, limits: Limits) -> tuple[str, Board]:
    """Name and board of a skill's file; nothing is unpacked to the disk, and no more is unpacked than may be.

    Raises:
        Refused: 415 for what is no skill, 413 for what is too large, 422 for a damaged one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _board(archive, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise Refused("this file is no skill of the playground: choose one ending in .skill.zip", 415) from None
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused("this skill is damaged: its skill.json lacks or garbles something", 422) from None


def _board(archive: zipfile.ZipFile, limits: Limits) -> tuple[str, Board]:
    if len(archive.namelist()) > _MEMBERS:
        raise Refused("this skill holds too many files", 413)
    if "skill.json" not in archive.namelist():
        raise Refused("this archive is no skill of the playground: there is no skill.json in it", 415)
    content = json.loads(_member(archive, "skill.json", _JSON_BYTES))
    if content["kind"] != KIND or not isinstance(content["format"], int):
        raise Refused("this archive is no skill of the playground", 415)
    if content["format"] > FORMAT:
        raise Refused(f"this skill has format {content['format']}, this metacortex knows {FORMAT}: update it", 422)
    board = Board()
    for entry in content["classes"]:
        board = board.with_concept(clean_name(entry["name"], limits.name), limits, _code(entry.get("code")))
        concept = board.concepts[-1].id
        for file in entry["drawings"]:
            drawing = read_drawing(_member(archive, str(file), _DRAWING_BYTES), limits)
            board = board.with_drawing(concept, drawing, limits)
    if len(board.taught) < 2:
        raise Refused("this skill has fewer than two classes with drawings", 422)
    return clean_name(content["name"], limits.name), board


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    # What the archive says of the size may be a lie: no more is unpacked than allowed.
    with archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Refused(f"a file in this skill is larger than {most // 1000} kB", 413)
    return data


def _code(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 0x110000 else None


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
