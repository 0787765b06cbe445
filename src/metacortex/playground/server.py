"""Opens the page: a socket, a server on it, a browser."""

from __future__ import annotations

import errno
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from metacortex.errors import MissingExtraError, SettingsError
from metacortex.estimators.source import ModelSource, default_source, load_source
from metacortex.playground.app import LOOPBACK, create_app
from metacortex.playground.limits import Limits
from metacortex.playground.teacher import Teacher

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Playground", "find_source", "open_socket", "serving"]

_CONNECTIONS = 200


class Playground:
    """A playground that is about to be served.

    Args:
        source: the network; see `find_source`.
        host: address to listen at.
        port: 0 for any free one.
        limits: of visitors.

    Raises:
        MissingExtraError: if FastAPI or uvicorn is not installed.
        SettingsError: if the address cannot be had.
    """

    def __init__(
        self, source: ModelSource, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None
    ) -> None:
        try:
            import uvicorn
        except ImportError:
            raise MissingExtraError("the playground", "playground") from None
        self.open_to_all = host not in LOOPBACK
        self.app = create_app(Teacher(source), limits, None if self.open_to_all else LOOPBACK)
        self.socket = open_socket(host, port)
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # an address to go to
        self.address = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.socket.getsockname()[1]}"
        # No proxy is trusted: a visitor must not choose the address that rates are counted by.
        self.server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=20,
                lifespan="off",
                ws="none",
            )
        )

    def serve(self) -> None:
        """Serve until interrupted."""
        self.app.state.actions.rivals.warm_up()
        try:
            self.server.run(sockets=[self.socket])
        finally:
            self.app.state.actions.rivals.close()

    def open_browser(self, after: float = 0.5) -> None:
        """Open the page in the user's browser, in a moment."""
        timer = threading.Timer(after, webbrowser.open, [self.address])
        timer.daemon = True
        timer.start()


def find_source(run: Path | None, weights: Path | None) -> ModelSource:
    """The network to play with: of a run, of a folder of weights, or that of the package.

    Raises:
        SettingsError: if both are given.
        RunError: if it cannot be loaded.
    """
    if run is not None and weights is not None:
        raise SettingsError("give --run or --weights, not both")
    given = weights if run is None else run
    return default_source() if given is None else load_source(given)


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        SettingsError: if the port is taken or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"cannot listen at {host}: {error.strerror or error}") from None
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)  # who comes before the server has started waits, and is not turned away
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"port {port} is taken, perhaps by another playground: choose another with --port, 0 for any free one"
            ) from None
        raise SettingsError(f"cannot listen at {host} port {port}: {error.strerror or error}") from None
    return opened


@contextmanager
def serving(playground: Playground) -> Iterator[str]:
    """Serve from a thread, e.g. in tests; gives the address."""
    server: uvicorn.Server = playground.server
    thread = threading.Thread(target=playground.serve, daemon=True)
    thread.start()
    try:
        _until(lambda: server.started or not thread.is_alive())
        yield playground.address
    finally:
        server.should_exit = True
        thread.join(20)
        playground.socket.close()


def _until(done: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not done():
        pause.wait(0.01)
