"""The law of learning: a learner that is meta-trained on one task masters it."""

from __future__ import annotations

import torch

from metacortex.testing.law import MakeLearner, MakeTask, build, draw, require

__all__ = ["check_overfits"]


def check_overfits(
    make_learner: MakeLearner,
    make_task: MakeTask,
    *,
    steps: int = 60,
    lr: float = 0.02,
    below: float = 0.1,
) -> None:
    """Adam on the meta-gradient of one task brings its loss below a bound.

    Args:
        make_learner: makes the learner; one without parameters passes.
        make_task: makes a small task that can be solved.
        steps: outer steps.
        lr: outer learning rate.
        below: the loss to reach.

    Raises:
        LawError: giving the loss before and after.
    """
    learner, task = build(make_learner).train(), draw(make_task)
    parameters = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    if not parameters:
        return
    optimizer = torch.optim.Adam(parameters.values(), lr=lr)
    losses = []
    for _ in range(steps):
        gradients, outcome = learner.task_gradient(task)
        losses.append(float(outcome.loss))
        if losses[-1] < below:
            return
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        optimizer.step()
    require(False, "overfits", f"{steps} steps on one task took its loss from {losses[0]:.3f} to {losses[-1]:.3f} only")
