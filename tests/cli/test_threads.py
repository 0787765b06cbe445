"""Threads of OpenMP do not wait busily for long, unless the user says how they shall."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "import os, sys, metacortex.cli; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_it_is_said_before_pytorch_is_loaded(given: dict[str, str], expected: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env={**kept, **given}, check=True)
    assert done.stdout.split() == [expected, "False"]
