"""The metric family in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry, features_of
from metacortex.learners.metric.lr_d2 import LRD2, LRD2Settings
from metacortex.learners.metric.matching import MatchingNet, MatchingNetSettings
from metacortex.learners.metric.metaopt_net import MetaOptNet, MetaOptNetSettings
from metacortex.learners.metric.protonet import ProtoNet, ProtoNetSettings
from metacortex.learners.metric.r2d2 import R2D2, R2D2Settings
from metacortex.learners.metric.relation import RelationNet, RelationNetSettings

__all__ = ["ENTRIES"]

ENTRIES = (
    Entry(
        ProtoNet,
        ProtoNetSettings,
        lambda body, spec, options: ProtoNet(body, **options),
        "metric: a class is the mean of its embedded examples",
    ),
    Entry(
        MatchingNet,
        MatchingNetSettings,
        lambda body, spec, options: MatchingNet(body, features_of(body), objective=spec.objective, **options),
        "metric: attention over the embedded support examples",
        kinds=("classification", "regression"),
    ),
    Entry(
        RelationNet,
        RelationNetSettings,
        lambda body, spec, options: RelationNet(body, features_of(body), **options),
        "metric: a network compares query and class",
    ),
    Entry(
        R2D2,
        R2D2Settings,
        lambda body, spec, options: R2D2(body, objective=spec.objective, **options),
        "metric: ridge regression on the features, solved inside the network",
        kinds=("classification", "regression"),
    ),
    Entry(
        LRD2,
        LRD2Settings,
        lambda body, spec, options: LRD2(body, **options),
        "metric: logistic regression on the features, solved inside the network",
    ),
    Entry(
        MetaOptNet,
        MetaOptNetSettings,
        lambda body, spec, options: MetaOptNet(body, **options),
        "metric: support vector machine on the features, solved inside the network",
    ),
)
