"""Fixtures and settings that all tests share."""

from __future__ import annotations

import torch

# Tiny tensors: one thread is quickest, and the tests leave the other core to their neighbour.
torch.set_num_threads(1)
