"""What is known of a backbone by its name."""

from __future__ import annotations

import pytest
from torch import nn

from metacortex.nn.registry import backbone_names, is_convolutional, make_backbone


@pytest.mark.parametrize("name", [name for name in backbone_names() if name != "seq2seq"])  # which builds no module
def test_who_has_convolutions(name: str) -> None:
    network = make_backbone(name, (5, 3) if name == "lstm" else (3, 32, 32))
    assert is_convolutional(name) == any(isinstance(module, nn.Conv2d) for module in network.modules())
