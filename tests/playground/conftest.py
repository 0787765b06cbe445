"""A playground that is served from a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("fastapi", reason="needs the extra playground")
pytest.importorskip("uvicorn", reason="needs the extra playground")

from metacortex.estimators.source import default_source
from metacortex.playground.server import Playground, serving
from metacortex.playground.teacher import Teacher

from .play_support import Client


@pytest.fixture(scope="session")
def teacher() -> Teacher:
    return Teacher(default_source())


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of a playground with the usual limits."""
    with serving(Playground(default_source())) as found:
        yield found


@pytest.fixture
def visit(address: str) -> Iterator[Callable[[], Client]]:
    """Makes visitors."""
    clients: list[Client] = []

    def enter() -> Client:
        clients.append(Client(address))
        return clients[-1]

    yield enter
    for client in clients:
        client.session.close()
