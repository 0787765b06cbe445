"""Fixtures that the tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from metacortex.native.kernels import kernel_lanes


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Kernels share their work however little it is."""
    there = kernel_lanes(torch.float64) > 0
    if there:
        torch.ops.metacortex.share_finely(True)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)
    if there:
        torch.ops.metacortex.share_finely(False)
