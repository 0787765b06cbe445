"""Reading examples."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from metacortex.data.view import ClassView
from metacortex.tasks.reading import ExampleReader
from tests.tasks.conftest import make_store


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def _read(view: ClassView, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    classes = np.random.default_rng(1).integers(0, 3, 300)
    return ExampleReader(view, dtype).read(classes, np.arange(300) % 4)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_threads_share_a_large_batch(dtype: torch.dtype) -> None:
    """300 images of 128x128 are 20 MB and more: each is the stored one, exactly divided by 255."""
    view = ClassView.of(make_store([4, 4, 4], size=128)).with_rotations()
    shared = _read(view, dtype)
    torch.set_num_threads(1)
    assert torch.equal(shared, _read(view, dtype))
    stored = ExampleReader(view, torch.uint8).read(np.array([1]), np.array([2]))
    read = ExampleReader(view, dtype).read(np.array([1]), np.array([2]))
    assert torch.equal(read, (stored.to(torch.float64 if dtype == torch.float64 else torch.float32) / 255).to(dtype))


@pytest.mark.usefixtures("three_threads")
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """The loader's workers are forked from a process that has read before."""
    view = ClassView.of(make_store([4, 4, 4], size=128))
    # numpy adds: PyTorch's own threads do not outlive a fork
    expected = float(_read(view).numpy().sum())
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=lambda: answers.put(float(_read(view).numpy().sum())))
    worker.start()
    assert answers.get(timeout=60) == expected
    worker.join(60)
    assert worker.exitcode == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_examples_that_lie_on_a_device_are_read_bit_for_bit(upright: ClassView, view: ClassView, dtype) -> None:
    rng = np.random.default_rng(0)
    for source in (upright, view):
        classes, members = rng.integers(0, len(source), 50), rng.integers(0, 12, 50)
        reader = ExampleReader(source, dtype)
        placed = reader.to(torch.device("cpu"))
        assert placed._there is not None
        assert placed._there.dtype == torch.uint8
        assert torch.equal(placed.read(classes, members), reader.read(classes, members))
