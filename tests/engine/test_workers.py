"""Tasks shared by threads give the gradient of the plain strategy."""

from __future__ import annotations

import pytest
import torch

from metacortex.engine.gradient import meta_gradient, strategy_names
from metacortex.errors import SettingsError
from metacortex.learners.registry import make_learner
from metacortex.task import stack_tasks
from metacortex.testing import blobs

BODY = {"backbone_options": {"channels": 4, "blocks": 2}, "input_shape": (1, 6, 6), "way": 3}
BATCH = stack_tasks([blobs(torch.Generator().manual_seed(i), shape=(1, 6, 6)) for i in range(5)])


@pytest.mark.parametrize("strategy", strategy_names())
@pytest.mark.parametrize(
    ("name", "options"), [("maml", {"inner_steps": 3}), ("maml", {"norm": "per-step"}), ("protonet", {})]
)
@pytest.mark.parametrize("workers", [2, 3, 9])
def test_workers_change_nothing(strategy: str, name: str, options: dict, workers: int) -> None:
    learner = make_learner(name, **BODY, **options).double().train()
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    alone, expected = meta_gradient(learner, BATCH, strategy=strategy, reduction="sum")
    shared, found = meta_gradient(learner, BATCH, strategy=strategy, reduction="sum", workers=workers)
    torch.testing.assert_close(shared, alone)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.prediction, expected.prediction)
    torch.testing.assert_close(found.metrics, expected.metrics)
    torch.testing.assert_close(found.buffers, expected.buffers)
    assert all(torch.equal(value, learner.state_dict()[key]) for key, value in before.items())


def test_an_error_of_a_worker_reaches_the_caller() -> None:
    learner = make_learner("maml", **{**BODY, "way": 2}).double()
    with pytest.raises(ValueError, match="2 outputs, the task has 3 classes"):
        meta_gradient(learner, BATCH, workers=2)


def test_workers_are_at_least_one() -> None:
    with pytest.raises(SettingsError, match="workers must be at least 1"):
        meta_gradient(make_learner("maml", **BODY).double(), BATCH, workers=0)
