from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metacortex.data.downloads import transfer as transfer_module
from metacortex.data.downloads.addresses import Download, downloadable, downloads_of
from metacortex.data.downloads.fetch import fetch
from metacortex.data.downloads.transfer import has_sum
from metacortex.errors import DataError, SettingsError

CONTENT = bytes(range(256)) * 1500


class Server(ThreadingHTTPServer):
    """Answers with what is put into `pages`; `cut` says after how many bytes a connection is broken, once each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.cut: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        status, body = self.server.pages.get(self.path, (404, b"<html>no</html>"))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        self.send_response(206 if start else status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = self.server.cut.pop(0) if self.server.cut else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def item(server: Server, *pages: str, content: bytes = CONTENT, path: str = "things/a.bin") -> Download:
    digest = hashlib.sha256(content).hexdigest()
    return Download(path, tuple(server.address + page for page in pages), f"sha256:{digest}")


def left(cache: Path) -> list[str]:
    return sorted(p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file())


def test_a_file_comes_whole(server: Server, own_cache: Path) -> None:
    server.pages["/a.bin"] = (200, CONTENT)
    steps: list[tuple[str, int, int]] = []
    wanted = item(server, "/a.bin")
    (got,) = fetch("things", files=[wanted], progress=lambda *step: steps.append(step))
    assert got.path == own_cache / "data" / "things" / "a.bin"
    assert got.path.read_bytes() == CONTENT
    assert got.address == server.address + "/a.bin"
    assert steps[-1] == ("a.bin", len(CONTENT), len(CONTENT))
    assert left(own_cache) == ["data/things/a.bin"]
    server.pages.clear()
    (again,) = fetch("things", files=[wanted])
    assert (again.path, again.address) == (got.path, "")
    assert len(server.asked) == 1


def test_mirrors_in_turn(server: Server, own_cache: Path) -> None:
    server.pages |= {"/b": (200, b"<!DOCTYPE html> log in"), "/c": (200, CONTENT[:-1] + b"x"), "/d": (200, CONTENT)}
    server.pages["/mirror/a.bin"] = (503, b"")
    wanted = item(server, "/a", "/b", "/c", "/d")
    (got,) = fetch("things", files=[wanted], mirrors=[server.address + "/mirror/"])
    assert got.address.endswith("/d")
    assert [page for page, _ in server.asked] == ["/mirror/a.bin", "/a", "/b", "/c", "/d"]
    assert left(own_cache) == ["data/things/a.bin"]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ((200, CONTENT[:-1] + b"x"), r"the file that came \(384000 bytes\) has a wrong sum"),
        ((200, CONTENT[:-1]), r"\(383999 bytes\) has a wrong sum"),
        ((200, b""), r"\(0 bytes\) has a wrong sum"),
        ((200, b"\n<!doctype HTML><title>Quota exceeded</title>"), "a web page came instead of the file"),
        ((404, b""), "the server answers 404 Not Found"),
        ((500, b""), "the server answers 500"),
    ],
)
def test_what_is_refused(server: Server, own_cache: Path, page: tuple[int, bytes], message: str) -> None:
    server.pages["/a"] = page
    with pytest.raises(DataError, match=message) as caught:
        fetch("things", files=[item(server, "/a")])
    text = str(caught.value)
    assert "nothing half-written was left" in text
    assert f"put the file at {own_cache / 'data' / 'things' / 'a.bin'}" in text
    assert left(own_cache) == []


def test_a_cut_connection_is_taken_up_again(server: Server, own_cache: Path) -> None:
    server.pages["/a"] = (200, CONTENT)
    server.cut = [150_000, 300_000]
    (got,) = fetch("things", files=[item(server, "/a")])
    assert got.path.read_bytes() == CONTENT
    starts = [int(wanted.removeprefix("bytes=").rstrip("-") or 0) for _, wanted in server.asked]
    assert starts[0] == 0
    assert 0 < starts[1] <= 150_000 < starts[2] <= 300_000


def test_a_server_that_cannot_take_up(server: Server) -> None:
    server.pages["/a"] = (200, CONTENT)
    server.cut, server.ranges = [150_000], False
    (got,) = fetch("things", files=[item(server, "/a")])
    assert got.path.read_bytes() == CONTENT


def test_a_connection_that_is_always_cut(server: Server, own_cache: Path) -> None:
    server.pages["/a"] = (200, CONTENT)
    server.cut, server.ranges = [1000] * 3, False
    with pytest.raises(DataError, match="the connection was cut"):
        fetch("things", files=[item(server, "/a")])
    assert len(server.asked) == 3
    assert left(own_cache) == []


def test_no_connection(server: Server, own_cache: Path) -> None:
    wanted = Download("things/a.bin", ("http://127.0.0.1:9/a", "nonsense://x"), "md5:0")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/a: no connection; nonsense://x: "):
        fetch("things", files=[wanted])
    assert left(own_cache) == []


def test_endless_answers_are_broken_off(server: Server, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "LARGEST", 100_000)
    server.pages["/a"] = (200, CONTENT)
    with pytest.raises(DataError, match="more than 100000 bytes"):
        fetch("things", files=[item(server, "/a")])
    assert left(own_cache) == []


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good/x.png", b"x" * 100)
        archive.writestr(name, b"y")
    return file.getvalue()


def tarred(name: str, link: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
        archive.addfile(info)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", zipped("../../x"), "a.zip: entry '../../x' leads out of its folder"),
        ("a.zip", zipped("/etc/x"), "leads out of its folder"),
        ("a.zip", zipped("..\\x"), "leads out of its folder"),
        ("a.zip", zipped("good/y")[:-30], "a.zip: not a zip archive, or cut short"),
        ("a.tar.gz", tarred("../x"), r"a.tar.gz: entry '../x' leads out of its folder"),
        ("a.tar.gz", tarred("/etc/x"), "leads out of its folder"),
        ("a.tar.gz", tarred("x", "/etc/passwd"), "entry 'x' is a link or a device"),
        ("a.tar.gz", b"nonsense", "a.tar.gz: not a tar archive, or cut short"),
    ],
    # archives hold the time at which they were made, so their bytes name another test in each process
    ids=["zip-up", "zip-root", "zip-backslash", "zip-cut", "tar-up", "tar-root", "tar-link", "tar-nonsense"],
)
def test_archives_that_do_harm(server: Server, own_cache: Path, name: str, content: bytes, message: str) -> None:
    """Refused even with the right sum."""
    server.pages["/a"] = (200, content)
    with pytest.raises(DataError, match=message):
        fetch("things", files=[item(server, "/a", content=content, path=f"things/{name}")])
    assert left(own_cache) == []


def test_a_file_put_there_by_hand_is_used(
    server: Server, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = item(server, "/a")
    for root in (tmp_path / "shared", own_cache / "data"):
        (root / "things").mkdir(parents=True)
        (root / "things" / "a.bin").write_bytes(CONTENT)
        if root != own_cache / "data":
            monkeypatch.setenv("METACORTEX_DATA", str(root))
        (got,) = fetch("things", files=[wanted])
        assert (got.path, got.address) == (root / "things" / "a.bin", "")
        (root / "things" / "a.bin").unlink()
    assert server.asked == []


def test_another_file_in_its_place_is_kept(server: Server, own_cache: Path) -> None:
    server.pages["/a"] = (200, CONTENT)
    place = own_cache / "data" / "things" / "a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    with pytest.raises(DataError, match="is there, but is not the published file"):
        fetch("things", files=[item(server, "/a")])
    assert place.read_bytes() == b"mine"
    with pytest.raises(DataError, match="404"):
        fetch("things", files=[item(server, "/none")], replace=True)
    assert place.read_bytes() == b"mine"
    fetch("things", files=[item(server, "/a")], replace=True)
    assert place.read_bytes() == CONTENT


def test_a_place_that_cannot_be_written(server: Server, own_cache: Path) -> None:
    server.pages["/a"] = (200, CONTENT)
    (own_cache / "data").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="METACORTEX_CACHE"):
        fetch("things", files=[item(server, "/a")])


def test_names() -> None:
    assert downloadable() == ["cifar_fs", "fc100", "multi30k", "omniglot"]
    with pytest.raises(DataError, match=r"no address with a sum is known for 'cub'.*metacortex data add cub --from"):
        fetch("cub")
    with pytest.raises(SettingsError, match="did you mean 'omniglot'"):
        fetch("omnigl0t")


def test_the_table() -> None:
    counts = {name: len(downloads_of(name)) for name in downloadable()}
    assert counts == {"cifar_fs": 1, "fc100": 1, "multi30k": 22, "omniglot": 5}
    for name in counts:
        for entry in downloads_of(name):
            kind, _, value = entry.sum.partition(":")
            assert len(value) == {"md5": 32, "sha256": 64}[kind]
            assert len(entry.addresses) == 2
            assert all(a.startswith("https://") and a.endswith(entry.path.split("/")[-1]) for a in entry.addresses)


def test_sums(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert has_sum(tmp_path / "x", "md5:900150983cd24fb0d6963f7d28e17f72")
    assert not has_sum(tmp_path / "x", "md5:900150983cd24fb0d6963f7d28e17f73")
    assert not has_sum(tmp_path / "y", "md5:900150983cd24fb0d6963f7d28e17f72")
