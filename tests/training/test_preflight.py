"""A run that will not fit is told so before it begins, with what would."""

from __future__ import annotations

import warnings

import pytest
import torch

import metacortex.engine.gradient as engine
from metacortex.engine.distributed import Ranks
from metacortex.engine.memory import keep_freed_memory, overhead
from metacortex.errors import RunError
from metacortex.learners.registry import make_learner
from metacortex.settings import TrainingSettings
from metacortex.task import stack_tasks
from metacortex.testing import blobs
from metacortex.training import preflight
from metacortex.training.preflight import MemoryWarning, foresee_memory
from metacortex.training.run import train
from training.crash_driver import toy_settings

BODY = {"backbone": "mlp", "backbone_options": {"hidden": (16,)}, "input_shape": (1, 12, 12), "way": 3}


class Tasks:
    """The same task again and again."""

    def task(self, index: int):
        task = blobs(torch.Generator().manual_seed(0), shape=(1, 12, 12), queries=20)
        return task.to(torch.float32)

    def batch(self, indices):
        return stack_tasks([self.task(i) for i in indices])


def foresee(free: int, strategy: str = "vmap", learner=None, ranks: Ranks | None = None, **settings):
    learner = learner or make_learner("maml", inner_steps=2, unroll="graph", **BODY)
    given = TrainingSettings(**settings)
    return foresee_memory(learner, Tasks(), 8, strategy, given, ranks=ranks, free=free)


def test_what_fits_is_silent_and_what_is_tiny_is_not_even_estimated() -> None:
    found = foresee(20_000_000)
    assert found is not None
    assert found.fits
    assert not found.proposals
    assert str(found).endswith(f"{found.free / 2**20:.1f} MiB are free")
    assert foresee(2**34) is None


def test_what_does_not_fit_is_warned_of_with_figures_that_hold() -> None:
    with pytest.warns(MemoryWarning, match="expected to take .* the run may be killed. What takes less: ") as said:
        found = foresee(1_000_000)
    assert found is not None
    assert {"--strategy loop", "--order 1"} <= set(found.proposals)
    chunks = next(name for name in found.proposals if name.startswith("--micro-tasks"))
    assert all(size < found.need for size in found.proposals.values())
    assert all(name in str(said[0].message) for name in found.proposals)
    # What is proposed is what comes of it.
    changed = foresee(1_000_000, micro_tasks=int(chunks.split()[1]))
    assert changed is not None
    assert changed.fits
    assert changed.need == found.proposals[chunks]
    with pytest.warns(MemoryWarning):
        looped = foresee(10_000, "loop")
    assert looped is not None
    assert looped.need == found.proposals["--strategy loop"]


def test_processes_share_the_tasks_and_the_machine() -> None:
    with pytest.warns(MemoryWarning):
        alone = foresee(200_000)
    with pytest.warns(MemoryWarning):
        shared = foresee(200_000, ranks=Ranks(0, 4, 0, 2))
    assert alone is not None
    assert shared is not None
    assert shared.free == 100_000
    assert shared.need < 0.5 * alone.need


def test_kept_memory_is_given_up_where_it_does_not_fit() -> None:
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    try:
        kept = foresee(20_000_000)
        assert kept is not None
        assert overhead() == overhead(kept=True)
        between = round(0.85 * kept.need)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = foresee(between)
        assert found is not None
        assert found.fits
        assert overhead() == overhead(kept=False)
    finally:
        keep_freed_memory(False)


def test_a_run_is_warned_and_goes_on(out, data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "available_memory", lambda: 1000)
    with pytest.warns(MemoryWarning, match="What takes less|Take smaller tasks"):
        result = train(toy_settings("maml", {"inner_lr": 0.1}, steps=2), out, progress=False, data=data)
    assert result.finished


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_is_one_clear_error(out, data, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(*arguments, **options):
        raise error

    monkeypatch.setattr(engine, "meta_gradient", full)
    with pytest.raises(RunError, match=r"stopped at step 0: out of memory; .* --resume and --micro-tasks 1"):
        train(toy_settings(), out, progress=False, data=data)
