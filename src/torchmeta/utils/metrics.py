"""What torchmeta measured of tasks."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["hardness_metric"]


def hardness_metric(batch: Any, num_classes: int) -> NoReturn:
    """Not provided.

    Raises:
        NotImplementedError: always, saying why.
    """
    raise NotImplementedError(
        "torchmeta.utils.metrics.hardness_metric is not provided: it needs the weights of a ResNet-152, which "
        "torchmeta downloaded through torch.hub. 'metacortex explain' shows which tasks are alike and which are hard "
        "for a learner of your own"
    )
