"""The metric family in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry
from metacortex.learners.metric.protonet import ProtoNet, ProtoNetSettings

__all__ = ["ENTRIES"]

ENTRIES = (
    Entry(
        ProtoNet,
        ProtoNetSettings,
        lambda body, spec, options: ProtoNet(body, **options),
        "metric: a class is the mean of its embedded examples",
    ),
)
