"""The command line: verbs put together, and errors turned into one line and an exit code.

Exit codes: 0 done; 2 something the user can repair (bad flag, bad input, full disk), said in one
line on standard error; 130 interrupted. Anything else is a defect and shows its traceback.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.main import get_command

from metacortex import __version__
from metacortex.cli import (
    compare,
    data,
    demo,
    evaluate,
    explain,
    learners,
    play,
    report,
    reproduce,
    settings,
    skills,
    tasks,
    train,
    translate,
)
from metacortex.engine.memory import keep_freed_memory
from metacortex.errors import MetacortexError

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="metacortex",
    help="Learning to learn: train a learner on many tasks, then teach it a new one with a handful of examples.",
    epilog="First steps:\n\nmetacortex demo\n\nmetacortex train protonet --data glyphs --minutes 3 --out runs/first\n\n"
    "metacortex evaluate runs/first\n\nmetacortex adapt runs/first FOLDER --out my.skill\n\n"
    "metacortex predict my.skill photo.jpg",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"metacortex {__version__}")
        raise typer.Exit


@app.callback()
def _all_verbs(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after any verb.")
    ] = False,
) -> None:
    pass


for _group in (
    demo,
    train,
    evaluate,
    compare,
    reproduce,
    explain,
    report,
    translate,
    skills,
    play,
    tasks,
    data,
    learners,
    settings,
):
    _group.add_to(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; those of the process when not given.

    Returns:
        The exit code.
    """
    args, debug = _take_debug(list(sys.argv[1:] if argv is None else argv))
    try:
        code = get_command(app).main(args or ["--help"], prog_name="metacortex", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if debug and not hasattr(error, "format_message"):
            raise
        return _failed(error)
    if code == 130:
        sys.stderr.write("metacortex: interrupted\n")
    return code if isinstance(code, int) else 0


def run() -> None:
    """The entry point of the command: `main`, then exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A file name that the terminal cannot show must not end a command.
            stream.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    sys.exit(main())


def _take_debug(args: list[str]) -> tuple[list[str], bool]:
    """``--debug`` may stand anywhere before ``--``."""
    end = args.index("--") if "--" in args else len(args)
    kept = [arg for i, arg in enumerate(args) if arg != "--debug" or i > end]
    return kept, len(kept) < len(args)


def _failed(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has closed it. Python flushes once more at exit, which must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if type(error).__name__ == "Abort":
        return 130
    if isinstance(error, MetacortexError):
        message = str(error)
    elif isinstance(error, OSError):
        message = _describe_os_error(error)
    elif hasattr(error, "format_message"):  # typer's usage errors; their class moved between its versions
        message = _describe_usage_error(error)
    elif isinstance(error, MemoryError):
        message = "not enough memory: use a smaller meta-batch (--tasks), fewer examples, or smaller images"
    else:
        raise error
    sys.stderr.write(f"metacortex: error: {' '.join(message.split())}\n")
    return 2


def _describe_os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _describe_usage_error(error: Exception) -> str:
    message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    near = getattr(error, "possibilities", None)
    if near:
        best = difflib.get_close_matches(error.option_name, near, n=1, cutoff=0.0)  # type: ignore[attr-defined]
        message = f"no such option {error.option_name}: did you mean {best[0]}?"  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    verb = context.command_path if context is not None else "metacortex"
    return f"{message[:1].lower()}{message[1:]} (see `{verb} --help`)"
