"""The site of the documentation: it builds without a warning, is whole, and asks nothing of another server."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import metacortex
from metacortex.cli.main import app

from .snippets import ROOT, Block, blocks, pages

yaml = pytest.importorskip("yaml", reason="the site needs metacortex[docs]")
pytest.importorskip("mkdocstrings", reason="the site needs metacortex[docs]")

LOADS = {"script", "img", "link", "iframe", "source", "video", "audio", "embed", "input", "image", "use"}
"""Elements whose addresses a browser loads by itself."""
STYLE_ADDRESS = re.compile(r"""(?:url\(|@import\s+)\s*['"]?([^'")\s]+)""")


class Reader(HTMLParser):
    """Addresses, identifiers and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.names: set[str] = set()
        self.elements: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements |= {tag, *(f".{c}" for c in (found.get("class") or "").split())}
        self.names |= {value for value in (found.get("id"), found.get("name")) if value}
        for key in ("src", "href", "xlink:href", "data", "poster"):
            if value := found.get(key):
                (self.loaded if tag in LOADS else self.linked).append(value)
        if srcset := found.get("srcset"):
            self.loaded += [part.split()[0] for part in srcset.split(",")]
        self.loaded += STYLE_ADDRESS.findall(found.get("style") or "")


def is_elsewhere(address: str) -> bool:
    return bool(re.match(r"(?:[a-z][a-z0-9+.-]*:)?//", address, re.IGNORECASE))


def build(out: Path) -> Path:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def settings() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def nav_pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from nav_pages(entry)


def test_navigation_leads_to_every_page_and_nowhere_else() -> None:
    found = list(nav_pages(settings()["nav"]))
    assert sorted(found) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert list(nav_pages([{"a": [{"b": "c.md"}]}, "d.md"])) == ["c.md", "d.md"]


def check_nothing_is_loaded_from_elsewhere(site: Path, read: dict[Path, Reader]) -> None:
    for path, page in read.items():
        assert [a for a in page.loaded if is_elsewhere(a)] == [], path.name
        # What the theme's script would ask other servers for: diagrams, and figures of a repository.
        assert not page.elements & {".mermaid", ".md-source"}, path.name
    for style in site.rglob("*.css"):
        found = STYLE_ADDRESS.findall(style.read_text(encoding="utf-8"))
        assert [a for a in found if is_elsewhere(a)] == [], style.name
    for script in (site / "theme").glob("*.js"):
        assert "://" not in script.read_text(encoding="utf-8")


def check_addresses_lead_to_files_of_the_site(read: dict[Path, Reader]) -> None:
    for path, page in read.items():
        if path.name == "404.html":  # is served from any address, so that its own begin at the root
            continue
        for address in {*page.loaded, *page.linked}:
            if is_elsewhere(address) or address.startswith(("data:", "mailto:", "javascript:")):
                continue
            file, _, anchor = address.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_file(), f"{path.name} leads to {address}"
            if anchor and target in read and not anchor.startswith("__"):
                assert anchor in read[target].names, f"{path.name} leads to {address}"


def check_search_works_without_a_server(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert text.startswith("var __index = {")
    assert "metacortex.learners.metric.protonet.ProtoNet" in text


def check_equations_are_drawn(site: Path, read: dict[Path, Reader]) -> None:
    for path, page in read.items():
        text = path.read_text(encoding="utf-8")
        assert ".arithmatex" not in page.elements, path.name
        assert not re.search(r"<m[a-z]+>\\", text), f"{path.name}: a command that MathML does not know"
    assert "math" in read[(site / "concepts.html").resolve()].elements


def check_what_the_package_offers_is_documented(site: Path, read: dict[Path, Reader]) -> None:
    names = {name for path, page in read.items() if path.parent.name == "api" for name in page.names}
    index = read[(site / "api" / "index.html").resolve()]
    linked = {address.partition("#")[2] for address in index.linked}
    for name in metacortex.__all__:
        value = getattr(metacortex, name)
        full = f"{value.__module__}.{name}"
        # Where it is defined, or from where it is offered.
        assert any(anchor.endswith(f".{name}") and anchor in names for anchor in linked), full


def check_modules_that_are_shown_are_whole(read: dict[Path, Reader]) -> None:
    names = {name for path, page in read.items() if path.parent.name == "api" for name in page.names}
    shown = sorted(n for n in names if n.startswith("metacortex.") and is_module(n))
    assert len(shown) > 80
    for name in shown:
        module = importlib.import_module(name)
        for export in getattr(module, "__all__", ()):
            value = getattr(module, export)
            if getattr(value, "__module__", None) == name and (inspect.isclass(value) or inspect.isfunction(value)):
                assert f"{name}.{export}" in names


def check_examples_of_docstrings_are_code(site: Path) -> None:
    text = (site / "api" / "metric.html").read_text(encoding="utf-8")
    assert re.search(r'<span class="gp">&gt;&gt;&gt; ?</span>', text)


@pytest.mark.slow
def test_site(tmp_path: Path) -> None:
    """All of it in one test, so that the site is built once."""
    site = build(tmp_path / "site")
    read = {path.resolve(): Reader(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    check_nothing_is_loaded_from_elsewhere(site, read)
    check_addresses_lead_to_files_of_the_site(read)
    check_search_works_without_a_server(site)
    check_equations_are_drawn(site, read)
    check_what_the_package_offers_is_documented(site, read)
    check_modules_that_are_shown_are_whole(read)
    check_examples_of_docstrings_are_code(site)


def is_module(name: str) -> bool:
    place = ROOT / "src" / name.replace(".", "/")
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def test_addresses_are_found() -> None:
    """Negative control of the reader of pages."""
    page = Reader(
        '<link href="https://a/x.css"><script src=//b/y.js></script><a href="https://c">c</a><img src="z.png">'
        '<p style="background: url(http://d/i.png)" class="mermaid" id="here">'
    )
    assert [a for a in page.loaded if is_elsewhere(a)] == ["https://a/x.css", "//b/y.js", "http://d/i.png"]
    assert page.linked == ["https://c"]
    assert page.names == {"here"}
    assert ".mermaid" in page.elements
    assert STYLE_ADDRESS.findall('@import "https://e/f.css"; a{b: url( //g )}') == ["https://e/f.css", "//g"]


def commands(block: Block) -> list[list[str]]:
    """Commands of metacortex in a block, each on one line or continued by a backslash."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("metacortex ")]


def parse(arguments: list[str]) -> str:
    """Read a command as the command line does, without doing it; gives its verb.

    Raises:
        Exception: the usage error of the command line.
    """
    command: Any = get_command(app)
    context, path = None, "metacortex"
    while True:
        context = command.make_context(path.split()[-1], list(arguments), parent=context)
        if not hasattr(command, "resolve_command"):
            return path
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        path = f"{path} {name}"


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_commands_are_understood(page: Path) -> None:
    """Every command that a page shows: its verb, options and arguments."""
    for block in (*blocks(page, "sh"), *blocks(page, "text"), *blocks(page, "console")):
        for arguments in commands(block):
            try:
                parse(arguments)
            except Exception as error:
                said = error.format_message() if hasattr(error, "format_message") else repr(error)  # type: ignore[attr-defined]
                pytest.fail(f"{page.name}, block of line {block.line}: metacortex {shlex.join(arguments)}\n{said}")


def test_commands_that_are_wrong_are_noticed() -> None:
    """Negative control."""
    block = Block("sh", "metacortex train protonet \\\n  --steps 2 --out x  # so\nls\nmetacortex data list\n", 1)
    assert commands(block) == [["train", "protonet", "--steps", "2", "--out", "x"], ["data", "list"]]
    assert [parse(c) for c in commands(block)] == ["metacortex train", "metacortex data list"]
    for wrong in (["trian"], ["train", "protonet", "--stepz", "2"], ["data", "lizt"], ["report"]):
        with pytest.raises(Exception, match=r"."):
            parse(wrong)
