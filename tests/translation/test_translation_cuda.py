"""On a GPU learners of translation learn and write what they do on the CPU."""

from __future__ import annotations

import warnings

import pytest
import torch

from metacortex.engine.gradient import meta_gradient
from metacortex.learners.registry import make_learner
from metacortex.learners.translation import Translating
from metacortex.task import stack_tasks
from metacortex.testing import phrases

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("name", ["meta_lstm", "contextual_parameters", "multilingual", "meta_mt"])
def test_the_gpu_gives_what_the_cpu_gives(name: str) -> None:
    torch.manual_seed(0)
    body = {"vocabulary": 10, "languages": 3, "embedding": 8, "hidden": 8, "dropout": 0.0}
    learner = make_learner(name, kind="translation", backbone_options=body).double()
    assert isinstance(learner, Translating)
    tasks = [phrases(torch.Generator().manual_seed(seed)).without_info() for seed in range(2)]
    expected, outcome = meta_gradient(learner.train(), stack_tasks(tasks))
    state = learner.eval().adapt(tasks[0].support, description=tasks[0].description)
    inputs = tasks[0].query.inputs
    sentences = inputs["source"], inputs["source_length"]
    written = [learner.translate(state, *sentences, beam=beam, attention=True) for beam in (1, 3)]
    learner.to("cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got, seen = meta_gradient(learner.train(), stack_tasks(tasks).to("cuda"))
        moved = tasks[0].to("cuda")
        state = learner.eval().adapt(moved.support, description=moved.description)
        again = [learner.translate(state, *sentences, beam=beam, attention=True) for beam in (1, 3)]
    torch.testing.assert_close({n: g.cpu() for n, g in got.items()}, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(seen.loss.cpu(), outcome.loss)
    for here, there in zip(again, written, strict=True):
        assert here.tokens.equal(there.tokens)
        torch.testing.assert_close(here.attention, there.attention)
