from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cli_support import TINY, Command

from drawn_shapes import draw, draw_folder
from metacortex.data.collections import catalogue, mini_imagenet
from metacortex.data.downloads import fetch as fetch_module
from metacortex.data.downloads.addresses import Download

NAMES = {
    "train": [f"n1{i:02}" for i in range(8)],
    "val": [f"n2{i:02}" for i in range(5)],
    "test": [f"n3{i:02}" for i in range(5)],
}


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Zips of 18 classes in mini-ImageNet's place."""
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    small = replace(mini_imagenet.MINI_IMAGENET, expects=NAMES, each=6)
    monkeypatch.setattr(mini_imagenet, "MINI_IMAGENET", small)
    monkeypatch.setitem(catalogue.COLLECTIONS, "mini_imagenet", small)
    folder = tmp_path / "downloads"
    folder.mkdir()
    for split, names in NAMES.items():
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            for name in names:
                for i in range(6):
                    file = io.BytesIO()
                    draw(int(name[1:]) % 25, i, size=84).convert("RGB").save(file, "PNG")
                    archive.writestr(f"{name}/{name}{i}.png", file.getvalue())
    return folder


def test_a_collection_from_adding_to_training(mini: Path, tmp_path: Path, command: Command) -> None:
    line = command("train", "protonet", "--data", "mini_imagenet", "--out", tmp_path / "run").line()
    assert "metacortex data add mini_imagenet --from FOLDER" in line
    listed = {s["name"]: s for s in command("data", "list", "--json").json["sources"]}
    assert listed["mini_imagenet"] == {"name": "mini_imagenet", "kind": "built in", "available": False}
    assert "no: metacortex data add mini_imagenet --from PATH" in command("data", "list").out
    assert "no: metacortex data fetch cifar_fs" in command("data", "list").out

    assert command("data", "add", "mini_imagenet", "--from", mini).code == 0
    shown = command("data", "show", "mini_imagenet", "--json").json
    assert shown["shape"] == [3, 84, 84]
    assert shown["splits"]["val"] == {"classes": 5, "images": 30, "least": 6, "most": 6}
    assert command("data", "check", "mini_imagenet", "--json").json["ok"]

    tiny = [a for a in TINY if a not in ("--size", "14")]
    run = tmp_path / "run"
    said = command("train", "protonet", "--data", "mini_imagenet", "--steps", 2, *tiny, "--out", run)
    assert said.code == 0, said.err
    assert "size = 84" in (run / "config.toml").read_text()  # the source's own, and that of other data from now on
    assert command("train", "--resume", "--out", run, "--steps", 3, "--quiet").code == 0
    shapes = draw_folder(tmp_path / "shapes", range(5), 6)
    assert "RGB 84x84" in command("evaluate", run, "--tasks", 2, "--json").json["protocol"]["data_protocol"]
    line = command("evaluate", run, "--data", shapes, "--tasks", 2).line()
    assert "has (1, 84, 84)" in line


def test_fetch(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path))
    content = b"published"
    wanted = Download("omniglot/images.bin", ("http://127.0.0.1:9/x",), f"md5:{hashlib.md5(content).hexdigest()}")
    monkeypatch.setattr(fetch_module, "downloads_of", lambda name: (wanted,) if name == "omniglot" else ())
    line = command("data", "fetch", "omniglot", "--mirror", "http://127.0.0.1:9/m/").line()
    assert "http://127.0.0.1:9/m/images.bin: no connection; http://127.0.0.1:9/x: no connection" in line
    place = tmp_path / "data" / "omniglot" / "images.bin"
    assert str(place) in line
    assert not list(tmp_path.rglob("*.*"))
    place.write_bytes(content)
    found = command("data", "fetch", "omniglot", "--json").json
    assert found["files"] == [{"path": str(place), "address": ""}]
    assert command("data", "fetch", "omniglot").out == f"{place}: was here{os.linesep}"
    assert "metacortex data add cub --from FOLDER" in command("data", "fetch", "cub").line()
