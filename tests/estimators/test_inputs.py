from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metacortex.errors import DataError
from metacortex.estimators.inputs import kind_of
from metacortex.estimators.pictures import PictureReader, learn_reader

from .estimator_support import drawings

PICTURE = Image.new("L", (4, 4))


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.zeros((3, 4)), "table"),
        ([[1, 2], [3, 4]], "table"),
        (np.array([[1, "a"]], dtype=object), "table"),
        (np.zeros(3), "table"),  # scikit-learn says what is wrong with it
        (np.zeros((2, 8, 8)), "images"),
        (np.zeros((2, 8, 8, 3)), "images"),
        (torch.zeros(2, 8, 8), "images"),
        ([np.zeros((5, 6)), np.zeros((8, 9, 3))], "images"),
        ([PICTURE], "images"),
        ([Path("a"), Path("b.png")], "images"),
        (["a.png", "b.JPG"], "images"),
        (np.array(["a.png", "b.png"]), "images"),
        (["a sentence", "another one."], "texts"),
        (np.array(["good", "bad"], dtype=object), "texts"),
    ],
)
def test_kinds(X: object, kind: str) -> None:
    assert kind_of(X) == kind


@pytest.mark.parametrize("X", [["a.png", "a sentence"], ["text", PICTURE], [b"bytes"]])
def test_mixtures_are_refused(X: list[object]) -> None:
    with pytest.raises(DataError, match="X"):
        kind_of(X)


class TestReader:
    def test_range_and_size_do_not_matter(self, tmp_path: Path) -> None:
        images, _ = drawings(2)
        reader = learn_reader(images, (1, 28, 28))
        assert reader.drawn
        plain = reader(images)
        assert plain.shape == (6, 1, 28, 28)
        assert plain.dtype == np.uint8
        for other in (images * 16, (images * 255).astype(np.uint8), images * 2 - 1, images > 0.5):
            np.testing.assert_array_equal(learn_reader(other, (1, 28, 28))(other), plain)
        paths = [tmp_path / f"{i}.png" for i in range(6)]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray((image * 255).astype(np.uint8)).save(path)
        for files in (paths, [str(p) for p in paths], [Image.open(p) for p in paths]):
            np.testing.assert_array_equal(learn_reader(files, (1, 28, 28))(files), plain)

    def test_ink_on_paper_is_the_same_drawing(self) -> None:
        images, _ = drawings(2)
        reader = learn_reader(images, (1, 28, 28))
        np.testing.assert_array_equal(learn_reader(1 - images, (1, 28, 28))(1 - images), reader(images))
        colours = np.repeat(images[..., None], 3, -1)
        assert np.abs(reader(colours).astype(int) - reader(images)).max() <= 1
        np.testing.assert_array_equal(reader(colours.transpose(0, 3, 1, 2)), reader(colours))

    def test_photographs_keep_their_colours(self) -> None:
        ramp = np.linspace(0, 255, 50).astype(np.uint8)
        sky = np.stack([np.tile(ramp, (40, 1)), np.tile(ramp[::-1], (40, 1)), np.full((40, 50), 90, np.uint8)], -1)
        photos = [np.roll(sky, shift, 2) for shift in range(3)]
        reader = learn_reader(photos, (1, 28, 28))
        assert reader.drawn is False
        assert reader(photos).shape == (3, 4, 28, 28)

    def test_json(self) -> None:
        reader = learn_reader(drawings(1)[0] * 16, (1, 28, 28), invert=False)
        assert PictureReader.from_json(reader.to_json()) == reader

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.full((2, 4, 4), np.nan), "NaN"),
            ([np.zeros((4, 4)), np.zeros((4, 4, 7))], "image 1 has shape"),
            (["missing.png"], "no such file"),
            (np.zeros((2, 0, 4)), "shape"),
        ],
    )
    def test_errors_name_the_image(self, X: object, message: str) -> None:
        with pytest.raises((DataError, ValueError), match=message):
            learn_reader(X, (1, 28, 28))(X)
