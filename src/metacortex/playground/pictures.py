"""Uploaded bytes as drawings, and drawings as pictures."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from metacortex.data.images import read_image
from metacortex.errors import DataError
from metacortex.playground.board import Drawing, new_id
from metacortex.playground.limits import Limits, Refused

__all__ = ["SIDE", "as_drawing", "read_drawing"]

SIDE = 112
"""Longest side that is kept, four times what the network sees."""
_FAINT = 16
"""Contrast, in steps of 255, below which nothing is drawn."""
_GREY = 12
"""Largest difference between the colours of a grey image."""


def read_drawing(data: bytes, limits: Limits) -> Drawing:
    """Decode an uploaded image.

    The size that the file claims is looked at before anything is decoded; formats whose readers start other
    programs are not read (`metacortex.data.images`).

    Raises:
        Refused: 413 for an image that is too large, 415 for what is no image, 422 for an empty drawing.
    """
    if not data:
        raise Refused("expected an image, got an empty request: draw something, or choose a file")
    _check_size(data, limits)
    try:
        image = read_image(io.BytesIO(data), None, "RGB", name="the image")  # [3, h, w]
    except DataError as error:
        raise Refused(str(error), 415) from None
    return as_drawing(image.transpose(1, 2, 0))


def as_drawing(image: np.ndarray) -> Drawing:
    """Make a drawing of ``[h, w]`` or ``[h, w, 3]`` uint8, of any size.

    Raises:
        Refused: 422 if there is nothing to see in it.
    """
    if image.ndim == 3 and int(np.ptp(image.astype(np.int16), axis=2).max()) <= _GREY:
        image = np.ascontiguousarray(image[..., 1])
    picture = Image.fromarray(np.ascontiguousarray(image))
    if max(picture.size) > SIDE:
        # In one step to the size, averaging what lies under each pixel: thin lines become grey, they do not vanish.
        share = SIDE / max(picture.size)
        picture = picture.resize((max(1, round(picture.width * share)), max(1, round(picture.height * share))),
                                 Image.Resampling.BOX)  # fmt: skip
    kept = np.asarray(picture)
    if int(kept.max()) - int(kept.min()) < _FAINT:
        raise Refused("there is nothing in this picture: draw a symbol first", 422)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Drawing(new_id(), kept, file.getvalue())


def _check_size(data: bytes, limits: Limits) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = limits.pixels + 1
    except Exception:  # what is wrong with it, the reader says better
        return
    if pixels > limits.pixels:
        raise Refused(f"the image has too many pixels, at most {limits.pixels / 1e6:.0f} million are read", 413)
