"""The gradient family in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry
from metacortex.learners.gradient.maml import MAML, MAMLSettings
from metacortex.nn.classifier import Classifier

__all__ = ["ENTRIES"]

ENTRIES = (
    Entry(
        MAML,
        MAMLSettings,
        lambda body, spec, options: MAML(Classifier(body, spec.way), objective=spec.objective, **options),
        "gradient: initial weights from which a few gradient steps suffice",
        kinds=("classification", "regression"),
    ),
)
