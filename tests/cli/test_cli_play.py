"""What `metacortex play` says before it serves."""

from __future__ import annotations

import socket
import sys

import pytest

from metacortex.cli.main import main
from metacortex.playground import server

pytest.importorskip("fastapi", reason="needs the extra playground")


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert main(["play", "--no-browser", *arguments]) == code
    found = capsys.readouterr()
    return found.err if code else found.out


@pytest.mark.parametrize("name", ["fastapi", "uvicorn"])
def test_a_missing_extra_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'metacortex[playground]'" in said(["--port", "0"], capsys, 2)


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = str(sock.getsockname()[1])
        message = said(["--port", port], capsys, 2)
    assert f"port {port} is taken" in message
    assert "--port" in message


def test_bad_arguments(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not both" in said(["--run", "a", "--weights", "b"], capsys, 2)
    assert str(tmp_path / "no") in said(["--run", str(tmp_path / "no")], capsys, 2)
    assert "cannot listen at 192.0.2.1" in said(["--host", "192.0.2.1"], capsys, 2)


def test_says_where_it_is_and_who_may_come(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is the usual end."""

    def interrupted(playground: server.Playground) -> None:
        playground.socket.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(server.Playground, "serve", interrupted)
    assert main(["play", "--no-browser", "--port", "0"]) == 0
    assert "playground at http://127.0.0.1:" in capsys.readouterr().out
    assert main(["play", "--no-browser", "--port", "0", "--host", "0.0.0.0"]) == 0
    assert "no password" in capsys.readouterr().err
