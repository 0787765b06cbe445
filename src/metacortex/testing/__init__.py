"""Laws that every learner keeps, to hold your own learners to them.

from metacortex.testing import blobs, check_learner

def test_my_learner():
    check_learner(MyLearner, blobs)
"""

from __future__ import annotations

from metacortex.testing.gradients import (
    check_meta_gradient,
    check_shared_parameters,
    check_strategies,
    finite_difference_gap,
)
from metacortex.testing.keeping import check_copies, check_device, check_dtype, check_shapes, check_state_dict
from metacortex.testing.law import LawError, MakeLearner, MakeTask, blobs, lines, phrases
from metacortex.testing.learning import check_overfits
from metacortex.testing.purity import PeakMemory, check_evaluation, check_memory, check_module_untouched, check_pure
from metacortex.testing.suite import LAWS, check_learner
from metacortex.testing.symmetry import check_any_way, check_independence, check_masks, check_order, check_stacking

__all__ = [
    "LAWS",
    "LawError",
    "MakeLearner",
    "MakeTask",
    "PeakMemory",
    "blobs",
    "check_any_way",
    "check_copies",
    "check_device",
    "check_dtype",
    "check_evaluation",
    "check_independence",
    "check_learner",
    "check_masks",
    "check_memory",
    "check_meta_gradient",
    "check_module_untouched",
    "check_order",
    "check_overfits",
    "check_pure",
    "check_shapes",
    "check_shared_parameters",
    "check_stacking",
    "check_state_dict",
    "check_strategies",
    "finite_difference_gap",
    "lines",
    "phrases",
]
