"""What the documentation shows is run: Python as it stands, commands with smaller budgets."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from metacortex.cli.main import main
from metacortex.data.registry import load_dataset
from metacortex.learners import registry

from .snippets import ROOT, Block, blocks, pages

PYTHON_PAGES = [page for page in pages() if blocks(page, "python")]
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]*)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in an empty folder."""
    # A page may register a learner of its own; the registry is put back for the tests that follow.
    monkeypatch.setattr("metacortex.learners.registry._LEARNERS", dict(registry._LEARNERS))
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippet")  # dataclasses look up the module they are defined in
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with torch.random.fork_rng(devices=[]):
        for block in blocks(page, "python"):
            # Line numbers of a traceback are those of the page.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec"), module.__dict__)


def test_readme_program_is_short() -> None:
    block = blocks(ROOT / "README.md", "python")[0]
    lines = [line for line in block.text.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 20


def readme_commands() -> list[list[str]]:
    """Every command of metacortex that the README shows."""
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.text.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("metacortex ")]


def shortened(arguments: list[str]) -> list[str]:
    """The same command with a budget of seconds."""
    verb, text = arguments[0], shlex.join(arguments)
    if verb == "demo":  # its promises have a test of their own
        return ["demo", "--help"]
    if verb == "train":
        small = ["--set", "training.validation_tasks=3", "--set", "backbone.channels=8", "--train-way", "5", "--quiet"]
        return [*shlex.split(re.sub(r"--(minutes|steps) \d+", "--steps 2", text)), *small]
    if verb == "reproduce":  # its recipes take minutes; following one has a test of its own
        return ["reproduce", "--json"]
    if verb == "compare":
        small = ["--tasks", "3", "--set", "training.validation_tasks=3", "--set", "backbone.channels=8", "--quiet"]
        return [*shlex.split(re.sub(r"--minutes \d+", "--steps 2", text)), *small]
    if verb == "evaluate":
        return [*shlex.split(re.sub(r" --tasks \d+", "", text)), "--tasks", "3"]
    return arguments


def make_symbols(folder: Path) -> None:
    """A folder of three classes of handwritten digits, and an image beside it."""
    view = load_dataset("digits").splits["test"]
    for number in range(3):
        place = folder / f"symbol{number}"
        place.mkdir(parents=True)
        for example in range(3):
            Image.fromarray(view.store.of_class(number)[example][0]).save(place / f"{example}.png")
    Image.fromarray(view.store.of_class(0)[5][0]).save(folder.parent / "new.png")


@pytest.mark.slow
def test_readme_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other in one folder."""
    make_symbols(tmp_path / "my-symbols")
    monkeypatch.chdir(tmp_path)
    commands = readme_commands()
    verbs = {"demo", "train", "evaluate", "compare", "reproduce", "explain", "report", "adapt", "predict", "data"}
    assert {c[0] for c in commands} == verbs | {"learners", "settings"}
    for arguments in commands:
        code, said = main(shortened(arguments)), capsys.readouterr()
        assert code == 0, f"metacortex {shlex.join(arguments)}\n{said.out}{said.err}"
        assert said.out
    assert (tmp_path / "my-symbols.skill").is_file()


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Links into the repository, and to headings of the same page."""
    text = page.read_text(encoding="utf-8")
    headings = {"#" + re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}
    for target, anchor in LINK.findall(text):
        if target.startswith(("http:", "https:")):
            continue
        if target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
        elif anchor:
            assert anchor in headings, f"{page.name} links to {anchor}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    mentioned = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.M))
    assert mentioned <= targets


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_run(path: Path, tmp_path: Path) -> None:
    """With two steps; those on real data say in their text that they need METACORTEX_DATA."""
    if "METACORTEX_DATA" in path.read_text(encoding="utf-8") and not os.environ.get("METACORTEX_DATA"):
        pytest.skip("METACORTEX_DATA is not set")
    program = [sys.executable, "-W", "error", str(path), "--steps", "2", "--tasks", "4"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "±" in done.stdout


def test_blocks_are_found(tmp_path: Path) -> None:
    """Negative control of the reader of pages."""
    page = tmp_path / "page.md"
    page.write_text("text\n```python\nx = 1\n```\n```sh\nls\n```\n```python\nx = 2\ny\n```\n")
    assert blocks(page, "python") == [Block("python", "x = 1\n", 3), Block("python", "x = 2\ny\n", 9)]
