from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metacortex.data.images import read_image, to_uint8
from metacortex.errors import DataError


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("RGB", "BMP"),
        ("CMYK", "TIFF"),
        ("YCbCr", "JPEG"),
        ("LA", "PNG"),
        ("RGBA", "WEBP"),
    ],
)
def test_modes(source: str, kind: str, mode: str) -> None:
    white = Image.new("RGB", (6, 4), "white").convert(source)
    array = read_image(saved(white, kind), (5, 3), mode)  # type: ignore[arg-type]
    assert array.shape == (1 if mode == "L" else 3, 5, 3)
    assert array.dtype == np.uint8
    assert array.min() >= 253


def test_grey_is_exact_without_resizing(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "g.png")
    assert np.array_equal(read_image(tmp_path / "g.png", None), GREY[None])
    assert np.array_equal(read_image(tmp_path / "g.png", None, invert=True), 255 - GREY[None])


def test_transparency_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    array = read_image(saved(clear), None)
    assert array[0, 0, 0] == 0
    assert (array.ravel()[1:] == 255).all()
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([0] * 768)
    assert (read_image(saved(palette, transparency=3), None) == 255).all()
    assert (read_image(saved(palette), None) == 0).all()


def test_sixteen_bits_and_floats() -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert np.array_equal(read_image(saved(deep), None), GREY[None])
    unit = Image.fromarray(GREY.astype(np.float32) / 255)
    assert np.array_equal(read_image(saved(unit, "TIFF"), None), GREY[None])
    bad = Image.fromarray(np.full((3, 3), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        read_image(saved(bad, "TIFF"), None)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (4, 4), v) for v in (10, 200)]
    for kind in ("GIF", "PNG", "TIFF"):
        array = read_image(saved(frames[0], kind, save_all=True, append_images=frames[1:]), None)
        assert (array == 10).all()


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(saved(Image.fromarray(GREY), "PNG", exif=exif), None).shape == (1, 6, 4)


def test_auto_inversion_looks_at_the_border() -> None:
    ink = np.full((9, 9), 250, np.uint8)
    ink[3:6, 3:6] = 5
    dark, light = saved(Image.fromarray(255 - ink)), saved(Image.fromarray(ink))
    assert np.array_equal(read_image(dark, None, invert="auto"), read_image(light, None, invert="auto"))


def test_antialiasing_keeps_thin_strokes() -> None:
    line = np.zeros((105, 105), np.uint8)
    line[:, 50] = 255
    assert read_image(saved(Image.fromarray(line)), 28).max() > 40


def test_broken_files_name_the_file(tmp_path: Path) -> None:
    good = saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8))).getvalue()
    for content in (b"", b"hello", good[:20], good[: len(good) // 2], good[:60] + b"\0" * 40 + good[100:]):
        path = tmp_path / "broken.png"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"broken\.png"):
            read_image(path)
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(DataError, match="called this"):
        read_image(io.BytesIO(b"x"), name="called this")


@pytest.mark.parametrize("side", [9_000, 12_000, 30_000, 2**31 - 1])
def test_huge_images_are_not_decoded(side: int) -> None:
    # a header that promises much; decoding it would fail in another way
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match="smaller"):
        read_image(io.BytesIO(file))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_any_damage_is_a_data_error_or_an_image(seed: int, hits: int) -> None:
    rng = np.random.default_rng(seed)
    kind = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"][seed % 6]
    content = bytearray(saved(Image.fromarray(GREY), kind).getvalue())
    for place in rng.integers(0, len(content), hits):
        content[place] = rng.integers(0, 256)
    with contextlib.suppress(DataError):
        assert read_image(io.BytesIO(bytes(content)), 8).shape == (1, 8, 8)


def test_scaling_of_numbers() -> None:
    assert to_uint8(np.array([True, False])).tolist() == [255, 0]
    assert to_uint8(np.array([0.0, 0.5, 1.0])).tolist() == [0, 128, 255]
    assert to_uint8(np.array([0, 7, 255])).tolist() == [0, 7, 255]
    assert to_uint8(np.array([0, 65535])).tolist() == [0, 255]
    assert to_uint8(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
    assert to_uint8(np.array([0, 8, 16]), (0, 16)).tolist() == [0, 128, 255]
    with pytest.raises(DataError, match="value_range"):
        to_uint8(np.zeros(2), (1, 1))
