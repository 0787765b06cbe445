"""The examples in docstrings are run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import metacortex
import torchmeta

NAMES = [
    module.name
    for package in (metacortex, torchmeta)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_a_module(name: str) -> None:
    module = importlib.import_module(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0


def test_there_are_examples() -> None:
    """Negative control: the finder sees them."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for name in NAMES for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(tests) >= 10
