"""The log of a run as a picture: loss and validation score over the steps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metacortex.errors import RunError
from metacortex.runs.files import write_file

__all__ = ["draw_curves"]


def draw_curves(lines: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Write a PNG of training loss and validation score.

    Args:
        lines: the log, see `metacortex.runs.log`.
        path: where the picture goes; it is replaced atomically.
        title: written above.

    Raises:
        RunError: if it cannot be written.
    """
    # Imported here: matplotlib takes a second to load, and not every run draws. The figure is made
    # without pyplot, so no window system and no global state is touched.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([e["step"] for e in lines if "loss" in e], [e["loss"] for e in lines if "loss" in e], color="tab:blue")
    left.set(xlabel="step", ylabel="training loss")
    names = {key for e in lines for key in e if key.startswith("val_") and key != "val_loss"}
    score = min(names, default="val_accuracy")
    factor, unit = (100, " (%)") if score == "val_accuracy" else (1, "")
    checked = [e for e in lines if score in e]
    style = {"color": "tab:orange", "marker": "o", "markersize": 3}
    right.plot([e["step"] for e in checked], [factor * e[score] for e in checked], **style)
    right.set(xlabel="step", ylabel=f"validation {score.removeprefix('val_')}{unit}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if title:
        figure.suptitle(title)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    try:
        write_file(path, buffer.getvalue())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
