"""Images and skills from strangers."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from metacortex.estimators.classifier import FewShotClassifier
from metacortex.playground.keep import read_skill, write_skill
from metacortex.playground.limits import Limits, Refused
from metacortex.playground.pictures import SIDE, read_drawing
from metacortex.playground.teacher import Teacher

from .play_support import board_of, png, symbol

LIMITS = Limits()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 5000))
        + chunk(b"IEND", b"")
    )


def status(data: bytes) -> int:
    with pytest.raises(Refused) as refused:
        read_drawing(data, LIMITS)
    return refused.value.status


def test_photographs_become_small() -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (300, 500, 3), dtype=np.uint8))
    drawing = read_drawing(png(photo), LIMITS)
    assert drawing.image.shape == (67, SIDE, 3)
    assert read_drawing(png(symbol("ring")), LIMITS).image.shape == (SIDE, SIDE)  # grey
    assert Image.open(io.BytesIO(drawing.png)).size == (SIDE, 67)


def test_what_is_no_picture_is_refused() -> None:
    assert status(b"") == 400
    assert status(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>") == 415
    assert status(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage") == 415
    assert status(png(symbol("ring"))[:-40]) == 415
    assert status(png(Image.new("L", (50, 50), 200))) == 422


@pytest.mark.parametrize("size", [(60_000, 60_000), (6_000, 6_000)])
def test_bombs_are_not_decoded(size: tuple[int, int]) -> None:
    data = bomb(*size)
    assert len(data) < 200
    assert status(data) == 413


def test_skills_come_back(teacher: Teacher, tmp_path) -> None:
    board = board_of()
    learned = teacher.learn(board)
    data = write_skill("my signs", board, learned)
    name, again = read_skill(data, LIMITS)
    assert name == "my signs"
    assert [(c.name, len(c.drawings)) for c in again.concepts] == [("ring", 2), ("cross", 2), ("roof", 2)]
    for one, other in zip(board.drawings, again.drawings, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.id != other.id
    # Anywhere else, without the playground.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    classifier = FewShotClassifier.from_pretrained(tmp_path)
    asked = symbol("roof", 50)
    assert classifier.predict([asked]).tolist() == ["roof"]
    reply = learned.ask(read_drawing(png(asked), LIMITS))
    np.testing.assert_allclose(
        classifier.predict_proba([asked.resize((SIDE, SIDE), Image.Resampling.BOX)])[0], reply.probabilities, atol=1e-5
    )
    assert (tmp_path / "drawings" / "3-roof" / "2.png").is_file()


def packed(content: object, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("skill.json", content if isinstance(content, bytes) else json.dumps(content))
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return file.getvalue()


def skill(**changes: object) -> dict[str, object]:
    classes = [{"name": n, "drawings": [f"{n}.png"]} for n in ("ring", "cross")]
    return {"kind": "metacortex playground skill", "format": 1, "name": "x", "classes": classes, **changes}


PICTURES = {f"{n}.png": png(symbol(n)) for n in ("ring", "cross")}


def test_the_plain_skill_is_read() -> None:
    """Positive control of the cases below."""
    assert read_skill(packed(skill(), **PICTURES), LIMITS)[0] == "x"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"hello", 415),
        (packed(b"hello", **PICTURES), 422),
        (packed(b"[" * 50_000), 415),
        (packed([1], **PICTURES), 422),
        (packed(skill(kind="other"), **PICTURES), 415),
        (packed(skill(format=2), **PICTURES), 422),
        (packed(skill(name="\u202e"), **PICTURES), 400),
        (packed(skill(classes=[]), **PICTURES), 422),
        (packed(skill(classes=[{"name": str(n), "drawings": []} for n in range(30)])), 409),
        (packed(skill(classes=[{"name": "a", "drawings": ["../../../etc/passwd"]}]), **PICTURES), 422),
        (packed(skill(), **{**PICTURES, "ring.png": bomb()}), 413),
        (packed(skill(), **{**PICTURES, "ring.png": b"\0" * 10_000_000}), 413),
        (packed(b" " * 10_000_000), 413),
        (packed(skill(), **PICTURES, **{f"f{n}": b"" for n in range(500)}), 413),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "file",
)  # fmt: skip
def test_bad_skills_are_refused(data: bytes, expected: int) -> None:
    with pytest.raises(Refused) as refused:
        read_skill(data, LIMITS)
    assert refused.value.status == expected
