"""Every module says what it exports, truly and sorted; everything exported is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import metacortex
import torchmeta

NAMES = [
    name
    for package in (metacortex, torchmeta)
    for name in (
        package.__name__,
        *sorted(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")),
    )
]
NAMES.remove("metacortex.__main__")


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def public_definitions(module: ModuleType) -> list[str]:
    tree = ast.parse(inspect.getsource(module))
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as the linter sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", NAMES)
def test_exports(name: str) -> None:
    module = load(name)
    assert module.__doc__, f"{name} has no docstring"
    exported = getattr(module, "__all__", None)
    if exported is None:
        # A package with nothing but a docstring exports nothing.
        assert hasattr(module, "__path__"), f"{name} has no __all__"
        assert public_definitions(module) == []
        return
    assert list(exported) == sorted(exported, key=order)
    assert len(set(exported)) == len(exported)
    for export in exported:
        value = getattr(module, export)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{export} has no docstring"
