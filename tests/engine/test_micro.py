"""A meta-gradient in chunks of tasks and of queries is that of the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from metacortex.engine.gradient import meta_gradient
from metacortex.engine.micro import check_query_chunks
from metacortex.errors import LearnerError, SettingsError
from metacortex.learners.base import Learner
from metacortex.learners.gradient.maml import MAML
from metacortex.learners.objective import TokenCrossEntropy
from metacortex.learners.registry import learner_entry, learner_names, make_learner
from metacortex.learners.transfer.simple_shot import SimpleShot
from metacortex.task import Examples, Task, stack_tasks
from metacortex.testing import blobs

BODY = {"backbone_options": {"channels": 4, "blocks": 2}, "input_shape": (1, 6, 6), "way": 3}
PLAIN = {"backbone": "mlp", "backbone_options": {"hidden": (6,)}, "input_shape": (1, 6, 6), "way": 3}


def drawn(count: int = 3, *, queries: int = 5) -> Task:
    return stack_tasks(
        [blobs(torch.Generator().manual_seed(i), shape=(1, 6, 6), queries=queries) for i in range(count)]
    )


def ragged() -> Task:
    sizes = (1, 4, 2)
    tasks = [blobs(torch.Generator().manual_seed(i), shape=(1, 6, 6), queries=n) for i, n in enumerate(sizes)]
    return stack_tasks(tasks)


def check_equal(learner: Learner, batch: Task, **options) -> None:
    strategy = options.pop("strategy", "loop")
    whole, expected = meta_gradient(learner, batch, strategy=strategy)
    pieces, found = meta_gradient(learner, batch, strategy=strategy, **options)
    assert any(g.abs().max() > 1e-6 for g in whole.values())
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.metrics, expected.metrics)
    torch.testing.assert_close(found.prediction, expected.prediction)
    torch.testing.assert_close(found.buffers, expected.buffers)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
@pytest.mark.parametrize(("name", "options"), [("maml", {"inner_steps": 2}), ("protonet", {"norm": "running"})])
def test_chunks_of_tasks(strategy: str, name: str, options: dict) -> None:
    check_equal(make_learner(name, **BODY, **options).double(), drawn(), micro_tasks=2, strategy=strategy)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
@pytest.mark.parametrize("batch", [drawn(), ragged()], ids=["even", "ragged"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("maml", {"unroll": "steps"}), ("maml", {"unroll": "graph"}), ("protonet", {"norm": "support"})],
)
def test_chunks_of_queries(strategy: str, batch: Task, name: str, options: dict) -> None:
    learner = make_learner(name, **BODY, **options).double()
    check_equal(learner, batch, micro_queries=8, micro_tasks=2, strategy=strategy)


def exact() -> list[str]:
    """Learners that take chunks of queries on a network without batch norm."""
    found = []
    for name in learner_names():
        if "classification" not in learner_entry(name).kinds:
            continue
        learner = make_learner(name, **PLAIN, train_classes=3)
        try:
            check_query_chunks(learner)
        except SettingsError:
            continue
        if learner.trains_on == "episodes" and learner.meta_parameters():
            found.append(name)
    return found


EXACT = exact()


def test_most_learners_take_chunks_of_queries() -> None:
    names = EXACT
    assert len(names) > 15
    assert not {"reptile", "imaml"} & set(names)


@pytest.mark.parametrize("name", EXACT)
def test_every_learner_that_is_not_refused_is_exact(name: str) -> None:
    torch.manual_seed(0)
    learner = make_learner(name, **PLAIN).double().train()
    for module in learner.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    check_equal(learner, drawn(1, queries=2), micro_queries=4)


def test_regression_and_tokens_have_shares_of_their_own() -> None:
    class Reader(Learner):
        objective = TokenCrossEntropy(smoothing=0.0)  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 5)

        def adapt(self, support, *, description=None, generator=None):
            return {}

        def predict(self, state, inputs):
            return self.table(inputs)

    ids = torch.randint(1, 5, (2, 6, 4), generator=torch.Generator().manual_seed(0))
    ids[:, 4:, 1:] = 0  # padding: chunks of as many rows have other numbers of tokens
    part = Examples(ids, ids)
    check_equal(Reader().double(), Task(part, part), micro_queries=4)
    points = Examples(torch.rand(2, 3, 1).double(), torch.rand(2, 3, 1).double())
    learner = make_learner("maml", backbone="mlp", input_shape=(1,), way=1, kind="regression").double()
    check_equal(learner, Task(points, points), micro_queries=2)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("reptile", {}, "not the derivative of the query loss"),
        ("imaml", {}, "not the derivative of the query loss"),
        ("protonet", {"norm": "running"}, "norm 'running' its batch norm takes statistics of all queries"),
        ("maml", {"norm": "query-batch"}, "statistics of all queries"),
        ("baseline", {"norm": "support", "train_classes": 3}, "statistics of all queries"),
    ],
)
def test_learners_for_which_queries_belong_together_are_refused(name: str, options: dict, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"micro_queries is not exact for '{name}': .*{reason}"):
        meta_gradient(make_learner(name, **BODY, **options), drawn(), micro_queries=4)


def test_objectives_and_buffers_that_are_not_known_are_refused() -> None:
    learner = MAML(nn.Linear(2, 2))
    learner.objective = object()  # type: ignore[assignment]
    with pytest.raises(SettingsError, match="its objective object is not known to be a mean"):
        check_query_chunks(learner)
    shot = SimpleShot(nn.Flatten(), 36, 3).double().train()
    nothing = drawn(1).support
    empty = Examples(nothing.inputs[:, :0], nothing.targets[:, :0], None, nothing.classes)
    with pytest.raises(LearnerError, match=r"new values for .*, which would depend on how queries are cut"):
        meta_gradient(shot, replace(drawn(1), support=empty), micro_queries=4)


def test_sizes_are_not_negative() -> None:
    with pytest.raises(SettingsError, match="must not be negative, got -1 and 0"):
        meta_gradient(make_learner("maml", **BODY), drawn(), micro_tasks=-1)
