"""What the command prints and where: results to standard output, everything else to standard error.

With ``--json`` a command prints one JSON object and nothing else to standard output. Every object
begins with ``"version"`` and ``"command"``; within a version keys may be added, but none changes
its meaning or goes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["JSON_VERSION", "bar", "download_bar", "emit", "note", "result_console", "table", "tell"]

JSON_VERSION = 1
_PIPE_WIDTH = 200


def result_console() -> Console:
    """A console on standard output; wide where nobody's window limits it, so that piped lines stay whole."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_PIPE_WIDTH)
    return console


def tell(text: str) -> None:
    """Print a result for people."""
    result_console().print(text, soft_wrap=True)


def note(text: str) -> None:
    """Say something about the work to standard error."""
    Console(stderr=True, highlight=False, markup=False, emoji=False).print(text, soft_wrap=True)


def emit(command: str, content: Mapping[str, Any]) -> None:
    """Print the object of ``--json``."""
    text = json.dumps({"version": JSON_VERSION, "command": command, **content}, indent=1, allow_nan=False)
    sys.stdout.write(text + "\n")


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table of texts."""
    grid = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    result_console().print(grid)


@contextmanager
def bar(title: str, *, show: bool = True) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error, as a function of (done, total); ``None`` where nobody watches."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        row = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(row, completed=done, total=total)


@contextmanager
def download_bar(*, show: bool = True) -> Iterator[Callable[[str, int, int], None] | None]:
    """A progress bar in bytes on standard error, as a function of (file, received, in all or 0); ``None`` unwatched."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        row = progress.add_task("", total=None)
        yield lambda file, done, total: progress.update(row, description=file, completed=done, total=total or None)
