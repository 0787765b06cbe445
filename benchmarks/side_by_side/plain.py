"""What a good engineer would write without a library."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks.side_by_side.case import Batch, Case, Contender, Gradients, Step, Unable
from benchmarks.side_by_side.ours import RIDGE, SCALE

__all__ = ["EPISODIC", "PLAIN", "distances"]

Weights = dict[str, Tensor]

EPISODIC = ("protonet", "r2d2")
"""Learners without inner steps."""


def distances(features: Tensor, support: Tensor, targets: Tensor) -> Tensor:
    """Minus the squared distance to each class mean; classes are evenly represented."""
    one_hot = torch.nn.functional.one_hot(targets).to(support.dtype)  # [N, W]
    means = one_hot.T @ support / one_hot.sum(0)[:, None]
    return -((features * features).sum(1)[:, None] - 2 * features @ means.T + (means * means).sum(1))


def _episode(case: Case, model: nn.Module, task: tuple[Tensor, ...]) -> Tensor:
    support, targets, query, query_targets = task
    rows = len(support)
    features = model.backbone(torch.cat([support, query]))  # type: ignore[operator]
    compare = ridge_scores if case.learner == "r2d2" else distances
    return case.loss(compare(features[rows:], features[:rows], targets), query_targets)


def ridge_scores(features: Tensor, support: Tensor, targets: Tensor) -> Tensor:
    """s · x Xᵀ (X Xᵀ + λ I)⁻¹ Y."""
    one_hot = torch.nn.functional.one_hot(targets).to(support.dtype)
    penalty = RIDGE * torch.eye(len(support), dtype=support.dtype)
    return SCALE * features @ (support.T @ torch.linalg.solve(support @ support.T + penalty, one_hot))


def _mean(model: nn.Module, tasks: int) -> Gradients:
    found = {n: p.grad / tasks for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def _autograd(case: Case, model: nn.Module, batch: Batch, *, at_once: bool = False) -> Step:
    """Backward after each task, so that one graph is alive; ``at_once``: after the last, as torchmeta's examples do."""

    def adapted(weights: Weights, predict: Callable[[Weights], Tensor], targets: Tensor) -> Weights:
        for _ in range(case.steps):
            loss = case.loss(predict(weights), targets)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=case.order == 2)
            weights = {n: w - case.inner_lr * g for (n, w), g in zip(weights.items(), slopes, strict=True)}
        return weights

    def task_loss(task: tuple[Tensor, ...]) -> Tensor:
        support, targets, query, query_targets = task
        if case.learner in EPISODIC:
            return _episode(case, model, task)
        if case.learner == "anil":
            features, head = model.backbone(support), model.head  # type: ignore[operator]
            start = dict(head.named_parameters())  # type: ignore[union-attr]
            weights = adapted(start, lambda w: functional_call(head, w, (features,)), targets)  # type: ignore[arg-type]
            return case.loss(functional_call(head, weights, (model.backbone(query),)), query_targets)  # type: ignore
        weights = adapted(dict(model.named_parameters()), lambda w: functional_call(model, w, (support,)), targets)
        return case.loss(functional_call(model, weights, (query,)), query_targets)

    def step() -> Gradients:
        if at_once:
            torch.stack([task_loss(batch.task(i)) for i in range(len(batch))]).sum().backward()
        else:
            for i in range(len(batch)):
                task_loss(batch.task(i)).backward()
        return _mean(model, len(batch))

    return step


def _torchmeta(case: Case, model: nn.Module, batch: Batch) -> Step:
    if case.learner in EPISODIC:
        raise Unable("the same as the autograd loop")
    return _autograd(case, model, batch, at_once=True)


def _functional(case: Case, model: nn.Module, batch: Batch, *, mapped: bool) -> Step:
    if case.learner != "maml":
        raise Unable("written for MAML only")

    def query_loss(phi: Weights, support: Tensor, targets: Tensor, query: Tensor, query_targets: Tensor) -> Tensor:
        weights = phi
        for _ in range(case.steps):
            slopes = grad(lambda w: case.loss(functional_call(model, w, (support,)), targets))(weights)
            if case.order == 1:
                slopes = {n: g.detach() for n, g in slopes.items()}
            weights = {n: w - case.inner_lr * slopes[n] for n, w in weights.items()}
        return case.loss(functional_call(model, weights, (query,)), query_targets)

    phi = {n: p.detach() for n, p in model.named_parameters()}
    parts = (batch.support, batch.support_targets, batch.query, batch.query_targets)

    def mean_loss(phi: Weights) -> Tensor:
        return vmap(query_loss, in_dims=(None, 0, 0, 0, 0))(phi, *parts).mean()

    def step() -> Gradients:
        if mapped:
            return grad(mean_loss)(phi)
        total: Gradients = {}
        for i in range(len(batch)):
            found = grad(query_loss)(phi, *batch.task(i))
            total = found if not total else {n: total[n] + g for n, g in found.items()}
        return {n: g / len(batch) for n, g in total.items()}

    return step


def _vmap(case: Case, model: nn.Module, batch: Batch) -> Step:
    # Under vmap some kernels refuse channels-last weights.
    with torch.no_grad():
        for p in model.parameters():
            p.data = p.data.contiguous()
    return _functional(case, model, batch, mapped=True)


PLAIN = (
    Contender("autograd loop", False, "functional_call, backward after each task", _autograd),
    Contender(
        "torch.func loop", False, "grad of grad, task by task", lambda c, m, b: _functional(c, m, b, mapped=False)
    ),
    Contender("torch.func vmap", False, "grad of vmap of grad, all tasks at once", _vmap),
    Contender("torchmeta's idiom", False, "written by hand: losses of all tasks, one backward", _torchmeta),
    Contender("autograd loop, as installed", False, "without the allocator's setting", _autograd, installed=True),
)
