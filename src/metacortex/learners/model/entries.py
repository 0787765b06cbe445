"""The model-based family in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry, LearnerSpec, features_of
from metacortex.learners.model.anp import ANP, ANPSettings
from metacortex.learners.model.base import Role
from metacortex.learners.model.cnp import CNP, CNPSettings
from metacortex.learners.model.set_transformer import SetTransformer, SetTransformerSettings
from metacortex.learners.model.snail import SNAIL, SNAILSettings

__all__ = ["ENTRIES"]


def _role(spec: LearnerSpec) -> Role:
    return Role(spec.kind, spec.way, spec.objective)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        CNP,
        CNPSettings,
        lambda body, spec, options: CNP(body, features_of(body), _role(spec), **options),
        "model: a task is the mean of its embedded examples; predicts with uncertainty",
        kinds=("classification", "regression"),
    ),
    Entry(
        ANP,
        ANPSettings,
        lambda body, spec, options: ANP(body, features_of(body), _role(spec), **options),
        "model: each query attends to the examples that matter to it; predicts with uncertainty",
        kinds=("classification", "regression"),
    ),
    Entry(
        SNAIL,
        SNAILSettings,
        lambda body, spec, options: SNAIL(body, features_of(body), _role(spec), **options),
        "model: temporal convolutions and causal attention over the support set",
        kinds=("classification", "regression"),
    ),
    Entry(
        SetTransformer,
        SetTransformerSettings,
        lambda body, spec, options: SetTransformer(body, features_of(body), _role(spec), **options),
        "model: a transformer reads the support set; no adaptation step",
        kinds=("classification", "regression"),
    ),
)
