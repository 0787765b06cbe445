"""Flags that several verbs share, and the error for a badly written one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from metacortex.errors import SettingsError

__all__ = ["TRANSLATION", "Device", "Json", "Precision", "Quiet", "Threads", "examples", "parse_assignments"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto: a GPU where there is one.")
]
Precision = Annotated[
    str, typer.Option("--precision", metavar="NAME", help="float32, bf16 (rounded products) or tf32 (on GPUs).")
]
TRANSLATION = "Runs that translate"
"""Panel of the options that only such runs have a use for."""
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads of PyTorch; 0: as it decides.")]


def examples(commands: Sequence[str], note: str = "") -> str:
    """The end of a verb's help: commands to try, then a note; paragraphs as typer wants them."""
    return "\n\n".join(
        ["Examples:", *(f"metacortex {command}" for command in commands), " ".join(note.split())]
    ).strip()


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """``section.key=value`` texts as a mapping.

    Raises:
        SettingsError: for a text that is not of this form, or a key that is set twice.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or key.count(".") != 1 or not all(key.split(".")):
            raise SettingsError(f"--set {text}: expected section.key=value, e.g. --set learner.inner_lr=0.4")
        if key in values:
            raise SettingsError(f"--set {key} is given twice, as {values[key]} and {value.strip()}")
        values[key] = value.strip()
    return values
