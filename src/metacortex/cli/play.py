"""``metacortex play``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metacortex.cli.options import Threads, examples
from metacortex.cli.output import note, tell

__all__ = ["add_to", "play_command"]

_EPILOG = examples(
    ["play", "play --run runs/first --port 0", "play --host 0.0.0.0 --no-browser"],
    """Needs the extra `playground`. The page works without the internet. It is served to this machine alone unless
    --host says otherwise; then everybody who reaches the address can use it, there is no password.""",
)


def play_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Run folder: its learner plays.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Weights packed for heads.", show_default=False)
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    threads: Threads = 1,
) -> None:
    """A page on which a machine learns symbols that you draw, from one drawing each, and says why it answers so."""
    from metacortex.playground.server import Playground, find_source
    from metacortex.training.trainer import limited_threads

    playground = Playground(find_source(run, weights), host, port)
    if playground.open_to_all:
        note("everybody who can reach this address can use the page: there is no password")
    tell(f"playground at {playground.address} (Ctrl-C ends it)")
    if browser:
        playground.open_browser()
    with limited_threads(threads):
        try:
            playground.serve()
        except KeyboardInterrupt:
            note("ended")


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("play", epilog=_EPILOG)(play_command)
