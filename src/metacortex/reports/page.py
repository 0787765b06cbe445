"""A page of tables and pictures as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import jinja2

from metacortex import __version__
from metacortex.errors import RunError
from metacortex.runs.files import write_file

__all__ = ["Gallery", "Matrix", "Page", "Picture", "Section", "Table", "Tile", "write_page"]


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns.

    Attributes:
        columns: their names.
        rows: as many texts in each as there are columns.
        caption: what the table shows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows, also for those who do not see it.

    Attributes:
        png: its bytes.
        caption: in words.
        chart: dark lines on white, which a dark page may exchange.
    """

    png: bytes
    caption: str
    chart: bool = False

    @property
    def broad(self) -> bool:
        """Whether it is so much wider than high that a small screen should not shrink it."""
        width, height = (int.from_bytes(self.png[i : i + 4], "big") for i in (16, 20))  # of PNG's first chunk
        return width > 2 * height

    @property
    def base64(self) -> str:
        """The bytes as text for a data URI."""
        return base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Tile(Picture):
    """A small picture among others, its caption below it.

    Attributes:
        verdict: of an answer, shown by a colour and a sign.
    """

    verdict: Literal["", "right", "wrong"] = ""


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side.

    Attributes:
        caption: what they show.
        tiles: the pictures.
    """

    caption: str
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Matrix:
    """Counts of pairs; the larger its share of its row, the more colour a cell has (by the root of the share).

    Attributes:
        names: of rows and columns.
        rows: whole numbers, as many in each as there are names.
        caption: what a row and what a column says.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[int]]
    caption: str = ""

    @property
    def shares(self) -> list[list[float]]:
        """Each count as a share of its row, in 0–1."""
        return [[count / max(sum(row), 1) for count in row] for row in self.rows]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: its heading.
        text: a paragraph at its beginning.
        tables: tables, after the pictures.
        pictures: pictures.
        code: text in a fixed-width font.
        note: a remark at its end.
        matrices: matrices, after the tables.
        galleries: rows of small pictures, after the matrices.
    """

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    code: str = ""
    note: str = ""
    matrices: Sequence[Matrix] = ()
    galleries: Sequence[Gallery] = ()


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: its heading.
        lead: a sentence below it.
        sections: its parts.
    """

    title: str
    lead: str
    sections: Sequence[Section]

    @property
    def footer(self) -> str:
        """Who wrote it."""
        return f"written by metacortex {__version__}"

    def to_html(self) -> str:
        """The whole page; every text is escaped, nothing is loaded from elsewhere."""
        template = files("metacortex.reports").joinpath("page.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        return environment.from_string(template).render(page=self)


def write_page(page: Page, path: Path) -> Path:
    """Write a page atomically.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        write_file(path, page.to_html())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path
