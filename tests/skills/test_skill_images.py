from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawn_shapes import draw, draw_folder
from metacortex.data.images import read_image
from metacortex.errors import DataError, RunError
from metacortex.skills.examples import find_examples
from metacortex.skills.images import Background, ImageReader, border_level

GREY = ImageReader.of((1, 16, 16), "dark")


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_clean_images_are_read_as_in_training(tmp_path: Path) -> None:
    path = save(draw(0, 1, size=50), tmp_path / "a.png")
    assert np.array_equal(GREY(path), read_image(path, 16))
    rgb = ImageReader.of((3, 16, 12), "any")
    assert np.array_equal(rgb(path), read_image(path, (16, 12), "RGB"))


def test_paper_is_inverted_and_its_grey_removed(tmp_path: Path) -> None:
    drawn = GREY(save(draw(0, 1, size=48), tmp_path / "a.png")).astype(float)
    photo = GREY(save(draw(0, 1, size=48, paper=200, ink=60), tmp_path / "b.png")).astype(float)
    assert border_level(photo) == 0
    assert photo.max() == 255
    assert np.corrcoef(drawn.ravel(), photo.ravel())[0, 1] > 0.99


def test_an_empty_sheet_stays_empty(tmp_path: Path) -> None:
    sheet = GREY(save(Image.new("L", (40, 40), 190), tmp_path / "a.png"))
    assert len(np.unique(sheet)) == 1


@pytest.mark.parametrize(
    ("background", "invert", "paper", "expected"),
    [
        ("dark", None, 255, 0),
        ("dark", None, 0, 0),
        ("light", None, 0, 255),
        ("light", None, 255, 255),
        ("any", None, 255, 255),
        ("any", None, 0, 0),
        ("dark", False, 255, 255),
        ("light", True, 255, 0),
        ("any", True, 0, 255),
    ],
)
def test_polarity(background: Background, invert: bool | None, paper: int, expected: int, tmp_path: Path) -> None:
    reader = ImageReader.of((1, 16, 16), background, invert)
    path = save(draw(1, 0, paper=paper, ink=255 - paper), tmp_path / "a.png")
    assert border_level(reader(path)) == expected
    assert ImageReader.from_json(reader.to_json()) == reader


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "F"])
def test_every_mode_is_read(mode: str, tmp_path: Path) -> None:
    picture = draw(1, 0, paper=255, ink=0)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    else:
        picture = picture.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else picture.convert(mode)
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "F": "tiff"}.get(mode, "png")
    image = GREY(save(picture, tmp_path / f"a.{suffix}"))
    assert image.shape == (1, 16, 16)
    assert image.dtype == np.uint8
    assert image[0, 8, 8] > 240
    assert image[0, 0, 0] < 15


def test_animated_images_give_their_first_frame(tmp_path: Path) -> None:
    frames = [draw(1, 0), draw(2, 0)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert GREY(tmp_path / "a.gif")[0, 8, 8] > 200


def test_only_images_can_be_read() -> None:
    for shape in ((6,), (2, 16, 16), (1, 1, 16, 16)):
        with pytest.raises(RunError, match="not on grey or RGB images"):
            ImageReader.of(shape, "any")


def test_a_folder_is_listed_by_class(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "x", [2, 0], 2)
    (folder / ".hidden").mkdir()
    (folder / "shape00" / "notes.txt").touch()
    (folder / "shape00" / ".thumb.png").touch()
    (folder / "readme.md").touch()
    found = find_examples(folder)
    assert found.classes == ("shape00", "shape02")
    assert found.names == ["shape00/0.png", "shape00/1.png", "shape02/0.png", "shape02/1.png"]
    assert found.targets == (0, 0, 1, 1)
    assert found.read(GREY).shape == (4, 1, 16, 16)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    draw_folder(tmp_path / "one", [0], 2)
    (draw_folder(tmp_path / "hole", [0], 2) / "b").mkdir()
    (draw_folder(tmp_path / "text", [0], 2) / "b").mkdir()
    (tmp_path / "text" / "b" / "notes.txt").touch()
    (draw_folder(tmp_path / "deep", [0], 2) / "b" / "c").mkdir(parents=True)
    flat = tmp_path / "flat"
    flat.mkdir()
    save(draw(0, 0), flat / "a.png")
    cases = {
        "nowhere": "there is no folder .*nowhere",
        "file": "is a file",
        "empty": "no classes in .*empty: it has no sub-folders",
        "flat": "no classes in .*flat: its images lie side by side",
        "one": "has one class, 'shape00': there must be at least two",
        "hole": "class 'b' has no images: its folder is empty",
        "text": "class 'b' has no images: its folder holds notes.txt",
        "deep": "class 'b' has no images: its folder holds folders",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            find_examples(tmp_path / name)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_folder_is_refused(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "x", [0, 1], 1)
    folder.chmod(0)
    try:
        with pytest.raises(DataError, match="cannot read the folder"):
            find_examples(folder)
    finally:
        folder.chmod(0o700)
