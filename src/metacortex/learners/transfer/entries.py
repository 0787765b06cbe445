"""The baselines in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry, NoSettings, features_of
from metacortex.learners.transfer.baseline import Baseline, BaselineSettings
from metacortex.learners.transfer.baseline_pp import BaselinePP, BaselinePPSettings
from metacortex.learners.transfer.fine_tuning import FineTuning, FineTuningSettings
from metacortex.learners.transfer.from_scratch import FromScratch, FromScratchSettings
from metacortex.learners.transfer.knn import KNN, KNNSettings
from metacortex.learners.transfer.linear_probe import LinearProbe, LinearProbeSettings
from metacortex.learners.transfer.multilingual import Multilingual, MultilingualSettings
from metacortex.learners.transfer.nearest_neighbour import NearestNeighbour
from metacortex.learners.transfer.simple_shot import SimpleShot, SimpleShotSettings
from metacortex.learners.translation import body_of

__all__ = ["ENTRIES"]

ENTRIES = (
    Entry(
        FineTuning,
        FineTuningSettings,
        lambda body, spec, options: FineTuning(body, features_of(body), spec.train_classes, **options),
        "transfer: pre-train on all classes, fine-tune on the support set",
    ),
    Entry(
        Baseline,
        BaselineSettings,
        lambda body, spec, options: Baseline(body, features_of(body), spec.train_classes, **options),
        "transfer: pre-train on all classes, train a linear head on the support set",
    ),
    Entry(
        BaselinePP,
        BaselinePPSettings,
        lambda body, spec, options: BaselinePP(body, features_of(body), spec.train_classes, **options),
        "transfer: pre-train with a cosine head, train one on the support set",
    ),
    Entry(
        LinearProbe,
        LinearProbeSettings,
        lambda body, spec, options: LinearProbe(body, features_of(body), spec.train_classes, **options),
        "transfer: pre-train on all classes, logistic regression on the features",
    ),
    Entry(
        KNN,
        KNNSettings,
        lambda body, spec, options: KNN(body, features_of(body), spec.train_classes, **options),
        "transfer: pre-train on all classes, nearest support example by features",
    ),
    Entry(
        SimpleShot,
        SimpleShotSettings,
        lambda body, spec, options: SimpleShot(body, features_of(body), spec.train_classes, **options),
        "transfer: pre-train on all classes, nearest class mean of centred, normalised features",
    ),
    Entry(
        FromScratch,
        FromScratchSettings,
        lambda body, spec, options: FromScratch(body, features_of(body), **options),
        "transfer: train on the support set alone",
    ),
    Entry(
        Multilingual,
        MultilingualSettings,
        lambda body, spec, options: Multilingual(body_of(body, tagged=options.pop("tags")), **options),
        "transfer: one translation network for all pairs, told the target language by a tag",
        kinds=("translation",),
    ),
    Entry(
        NearestNeighbour,
        NoSettings,
        lambda body, spec, options: NearestNeighbour(),
        "no learning: nearest support example by pixels",
    ),
)
