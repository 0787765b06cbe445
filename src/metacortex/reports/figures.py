"""Figures as files of pictures, and text in them as it stands."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_png", "plain"]


def figure_png(figure: Figure) -> bytes:
    """A figure as a PNG; letters that no font here has become boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def plain(text: str, longest: int | None = None) -> str:
    r"""Text for a figure: a dollar begins no formula, and what is too long is cut.

    Example:
        >>> plain("$5 a day", 5)
        '\\$5 a…'
    """
    short = text if longest is None or len(text) <= longest else text[: longest - 1] + "…"
    return short.replace("$", r"\$")
