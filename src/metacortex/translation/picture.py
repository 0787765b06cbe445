"""Where a translator looked, as a picture."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from metacortex.errors import RunError
from metacortex.runs.files import write_file
from metacortex.translation.translator import Attention

__all__ = ["attention_png", "draw_attention"]


def draw_attention(attention: Attention, path: Path) -> None:
    """Write a PNG: subwords of the source from left to right, those written from top to bottom.

    Args:
        attention: of one translation.
        path: where the picture goes.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        write_file(path, attention_png(attention))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def attention_png(attention: Attention) -> bytes:
    """The picture that `draw_attention` writes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = len(attention.target), len(attention.source)
    figure = Figure(figsize=(1.5 + 0.45 * columns, 1.2 + 0.35 * rows), layout="constrained")
    axes = figure.subplots()
    axes.imshow(attention.weights.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [_shown(piece) for piece in attention.source], rotation=60, ha="left")
    axes.set_yticks(range(rows), [_shown(piece) for piece in attention.target])
    axes.xaxis.tick_top()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Scripts that the fonts lack become boxes; the picture is no less right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _shown(piece: str) -> str:
    # A dollar would begin a formula.
    return piece.replace("$", r"\$")
