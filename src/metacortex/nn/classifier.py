"""A feature extractor with a linear head."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """Features, then a linear layer to ``way`` logits that starts at zero.

    A zero head makes every class equally likely before adaptation, so that the first inner step
    does not have to undo an arbitrary preference.

    Args:
        backbone: maps inputs to ``[N, backbone.features]``.
        way: number of logits.
    """

    def __init__(self, backbone: nn.Module, way: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.features), way)  # type: ignore[arg-type]
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[N, ...]`` to logits ``[N, way]``."""
        return self.head(self.backbone(inputs))
