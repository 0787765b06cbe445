"""All laws at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from metacortex.errors import unknown_name
from metacortex.testing.gradients import check_meta_gradient, check_strategies
from metacortex.testing.keeping import check_copies, check_device, check_dtype, check_shapes, check_state_dict
from metacortex.testing.law import LawError, MakeLearner, MakeTask
from metacortex.testing.learning import check_overfits
from metacortex.testing.purity import check_evaluation, check_pure
from metacortex.testing.symmetry import check_independence, check_masks, check_order, check_stacking

__all__ = ["LAWS", "check_learner"]

LAWS: Mapping[str, Callable[[MakeLearner, MakeTask], None]] = MappingProxyType(
    {
        "copies": check_copies,
        "device": check_device,
        "dtype": check_dtype,
        "evaluation": check_evaluation,
        "independence": check_independence,
        "masks": check_masks,
        "meta_gradient": check_meta_gradient,
        "order": check_order,
        "overfits": check_overfits,
        "pure": check_pure,
        "shapes": check_shapes,
        "stacking": check_stacking,
        "state_dict": check_state_dict,
        "strategies": check_strategies,
    }
)
"""The laws that need nothing but a learner and a task, by name."""


def check_learner(make_learner: MakeLearner, make_task: MakeTask, *, skip: Collection[str] = ()) -> None:
    """Hold a learner to every law in `LAWS`.

    Args:
        make_learner: makes a fresh learner. With a fixed head, give it one more output than the
            tasks have classes, so that padding slots can be tried.
        make_task: makes a small task from a generator, e.g. `metacortex.testing.blobs`.
        skip: laws that the learner does not claim, e.g. ``"meta_gradient"`` for a first-order one or
            ``"order"`` for one that reads the support set as a sequence.

    Raises:
        LawError: with one line per broken law.
        SettingsError: for an unknown name in ``skip``.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from metacortex.learners.metric.protonet import ProtoNet
        >>> from metacortex.testing import blobs, check_learner
        >>> check_learner(lambda: ProtoNet(torch.nn.Linear(4, 3)), partial(blobs, shape=(4,)))
    """
    for name in skip:
        if name not in LAWS:
            raise unknown_name("law", name, LAWS)
    broken = []
    for name, law in LAWS.items():
        if name in skip:
            continue
        try:
            law(make_learner, make_task)
        except LawError as error:
            broken.append(str(error))
    if broken:
        raise LawError("\n".join(broken))
