"""The house rules that a parser can check: import directions, circles, sizes, forbidden statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
LARGEST_FILE = 400

PACKAGES = ("metacortex", "torchmeta")

LEAVES = {"", "cache", "errors", "task", "tree"}
"""What everything may use; '' is the package itself, which only holds the version."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "cache": set(),
    "tree": set(),
    "task": {"errors", "tree"},
    "fields": {"errors"},
    "native": {"cache"},
    "nn": LEAVES | {"native"},
    "updates": LEAVES | {"nn"},
    "learners": LEAVES | {"nn", "updates"},
    "engine": LEAVES | {"native", "nn", "updates", "learners"},
    "data": LEAVES,
    "tasks": LEAVES | {"data"},
    # names of learners and backbones are looked up in their registries when settings are checked
    "settings": LEAVES | {"fields", "nn", "learners", "data", "tasks"},
    # what a run leaves on disk, and how its parts are built again: below both who writes and who reads it
    "runs": LEAVES | {"nn", "learners", "data", "tasks", "settings", "fields"},
    "evaluation": LEAVES | {"nn", "learners", "engine", "data", "tasks", "settings", "fields", "runs"},
    "training": LEAVES
    | {"native", "nn", "updates", "learners", "engine", "data", "tasks", "settings", "fields", "runs", "evaluation"},
    "testing": LEAVES | {"nn", "updates", "learners", "engine"},
}
"""Room -> rooms that it may import from. A room is a sub-package or a module of metacortex."""

TORCHMETA_MAY_IMPORT: dict[str, set[str]] = {
    "": {"version"},
    "version": set(),
    # MetaLSTM is a module that brings its training with it: found in modules, made in algos, loaded when asked for
    "modules": {"algos"},
    # tasks are split by transforms, and data sets transform their tasks: one room with two doors
    "transforms": {"utils"},
    "utils": {"modules", "transforms"},
    "toy": {"utils", "transforms"},
    "datasets": {"utils", "transforms"},
    "algos": {"modules", "utils"},
}
"""The same for torchmeta, which stands on metacortex."""

TOP_ROOMS = {
    "cli",
    "skills",
    "demo",
    "estimators",
    "comparison",
    "explain",
    "playground",
    "recipes",
    "reports",
    "similarity",
    "translation",
    "__main__",
}
"""Rooms that may use everything below, and each other, but that nothing below may use."""


def modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax tree of every module in the source tree."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def package(module: str) -> str:
    """First part of a dotted name."""
    return module.split(".")[0]


def room(module: str) -> str:
    """Second part of a dotted name: 'metacortex.data.store' is in the room 'data'."""
    return [*module.split("."), ""][1]


def imports(name: str, tree: ast.Module, *, at_load_only: bool = False) -> Iterator[str]:
    """Modules of ours that a module imports; at load: not for types alone, not inside functions."""
    nodes = load_time_nodes(tree) if at_load_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            base = node.module or ""
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names]
        else:
            continue
        yield from (t for t in targets if package(t) in PACKAGES and t != name)


def load_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from load_time_nodes(node)


def permitted(importer: str, imported: str) -> bool:
    """Whether a module may import from another: torchmeta from metacortex, never the other way round."""
    if package(importer) == "torchmeta":
        inside = {"", room(importer)} | TORCHMETA_MAY_IMPORT.get(room(importer), set())
        return package(imported) == "metacortex" or room(imported) in inside
    return package(imported) == "metacortex" and allowed(room(importer), room(imported))


def allowed(importer: str, imported: str) -> bool:
    """Whether a room of metacortex may import from another."""
    if importer == imported or importer in TOP_ROOMS:
        return True
    return imported not in TOP_ROOMS and imported in MAY_IMPORT.get(importer, LEAVES)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle in a graph, empty when there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for after in sorted(graph.get(node, ())):
            if found := visit(after, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def test_every_room_is_known() -> None:
    """A new room must say what it may import."""
    rooms = {p: {room(name) for name in MODULES if package(name) == p} - {""} for p in PACKAGES}
    assert rooms["metacortex"] <= set(MAY_IMPORT) | TOP_ROOMS
    assert rooms["torchmeta"] <= set(TORCHMETA_MAY_IMPORT)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name: str) -> None:
    face = name == "metacortex"  # names what it offers for type checkers, loads it on first use
    found = imports(name, MODULES[name], at_load_only=face)
    wrong = sorted({t for t in found if not permitted(name, t)})
    assert not wrong, f"{name} may not import {', '.join(wrong)}"


def test_there_are_no_circles() -> None:
    graph = {name: set(imports(name, tree, at_load_only=True)) for name, tree in MODULES.items()}
    assert sum(map(len, graph.values())) > 50
    assert circle(graph) == []


def test_rooms_are_in_an_order() -> None:
    """No circle between the rooms below the top either, whenever the imports happen."""
    graph = {name: targets - LEAVES for name, targets in MAY_IMPORT.items()}
    assert circle(graph) == []


def test_a_circle_is_found() -> None:
    """Negative control."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not allowed("learners", "training")
    assert not allowed("data", "cli")
    assert not permitted("metacortex.cli.main", "torchmeta.datasets")
    assert not permitted("torchmeta.modules.linear", "torchmeta.utils.data")
    assert permitted("torchmeta.utils.data", "metacortex.data.store")


def test_lazy_and_type_only_imports_are_not_at_load() -> None:
    """Negative control of what counts as an import at load."""
    text = (
        "if TYPE_CHECKING:\n    import metacortex.task\ndef f():\n    import metacortex.tree\nimport metacortex.errors"
    )
    tree = ast.parse(text)
    assert list(imports("x", tree, at_load_only=True)) == ["metacortex.errors"]
    assert len(list(imports("x", tree))) == 3


@pytest.mark.parametrize("name", sorted(MODULES))
def test_forbidden_statements(name: str) -> None:
    """No print, no bare except; assert only where it narrows a type (``is not None``, ``isinstance``)."""
    assert list(forbidden(MODULES[name])) == []


def forbidden(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"line {node.lineno}: print"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: bare except"
        if isinstance(node, ast.Assert):
            condition = ast.unparse(node.test)
            if not (condition.endswith(" is not None") or condition.startswith("isinstance(")):
                yield f"line {node.lineno}: assert {condition}"


def test_forbidden_statements_are_found() -> None:
    """Negative control."""
    text = "print(1)\ntry:\n    pass\nexcept:\n    pass\nassert x > 0\nassert y is not None"
    assert len(list(forbidden(ast.parse(text)))) == 3


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_is_too_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LARGEST_FILE, f"{lines} lines: split it"
