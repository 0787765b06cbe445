"""The gradient family in the registry: one line per learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from metacortex.learners.entry import Entry, Kind, LearnerSpec
from metacortex.learners.gradient.anil import ANIL, ANILSettings
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.boil import BOIL, BOILSettings
from metacortex.learners.gradient.cavia import CAVIA, CAVIASettings
from metacortex.learners.gradient.fomaml import FOMAML, FOMAMLSettings
from metacortex.learners.gradient.imaml import IMAML, IMAMLSettings
from metacortex.learners.gradient.lstm_optimizer import LSTMOptimizer, LSTMOptimizerSettings
from metacortex.learners.gradient.maml import MAML, MAMLSettings
from metacortex.learners.gradient.maml_pp import MAMLPlusPlus, MAMLPlusPlusSettings
from metacortex.learners.gradient.meta_curvature import MetaCurvature, MetaCurvatureSettings
from metacortex.learners.gradient.meta_mt import MetaMT, MetaMTSettings
from metacortex.learners.gradient.meta_sgd import MetaSGD, MetaSGDSettings
from metacortex.learners.gradient.proto_maml import ProtoMAML, ProtoMAMLSettings
from metacortex.learners.gradient.reptile import Reptile, ReptileSettings
from metacortex.learners.translation import body_of
from metacortex.nn.classifier import Classifier

__all__ = ["ENTRIES"]

_BOTH: tuple[Kind, ...] = ("classification", "regression")

Build = Callable[[nn.Module, LearnerSpec, dict[str, Any]], GradientLearner]


def _zero_head(body: nn.Module, spec: LearnerSpec) -> nn.Module:
    return Classifier(body, spec.way)


def _drawn_head(body: nn.Module, spec: LearnerSpec) -> nn.Module:
    # Where the head is not adapted one of zeros would let no gradient reach what is.
    model = Classifier(body, spec.way)
    model.head.reset_parameters()
    return model


def _no_head(body: nn.Module, spec: LearnerSpec) -> nn.Module:
    return body


def _recipe(
    learner: Callable[..., GradientLearner],
    rates: tuple[float, float],
    model: Callable[[nn.Module, LearnerSpec], nn.Module] = _zero_head,
) -> Build:
    """What builds a learner; ``rates`` are its defaults of ``inner_lr`` for classification and regression."""

    def build(body: nn.Module, spec: LearnerSpec, options: dict[str, Any]) -> GradientLearner:
        chosen = {
            **options,
            "inner_lr": options["inner_lr"] or rates[spec.kind == "regression"],
            "eval_steps": options["eval_steps"] or None,
            "objective": spec.objective,
        }
        if "context_size" in options:
            chosen["context_size"] = options["context_size"] or (5 if spec.kind == "regression" else 100)
        return learner(model(body, spec), **chosen)

    return build


ENTRIES = (
    Entry(
        MAML,
        MAMLSettings,
        lambda body, spec, options: MAML(Classifier(body, spec.way), objective=spec.objective, **options),
        "gradient: initial weights from which a few gradient steps suffice",
        kinds=_BOTH,
    ),
    Entry(
        FOMAML,
        FOMAMLSettings,
        _recipe(FOMAML, (0.4, 0.01)),
        "gradient: MAML without second derivatives",
        kinds=_BOTH,
    ),
    Entry(
        Reptile,
        ReptileSettings,
        _recipe(Reptile, (1e-3, 1e-3)),
        "gradient: initial weights move towards the adapted ones",
        kinds=_BOTH,
    ),
    Entry(
        ANIL,
        ANILSettings,
        _recipe(ANIL, (0.4, 0.01)),
        "gradient: MAML that adapts the head alone",
        kinds=_BOTH,
    ),
    Entry(
        BOIL,
        BOILSettings,
        _recipe(BOIL, (0.5, 0.01), _drawn_head),
        "gradient: MAML that adapts the body alone",
        kinds=_BOTH,
    ),
    Entry(
        MetaSGD,
        MetaSGDSettings,
        _recipe(MetaSGD, (0.4, 0.01)),
        "gradient: MAML with a learned rate for every weight",
        kinds=_BOTH,
    ),
    Entry(
        MetaCurvature,
        MetaCurvatureSettings,
        _recipe(MetaCurvature, (0.4, 0.01)),
        "gradient: MAML with learned transformations of the gradients",
        kinds=_BOTH,
    ),
    Entry(
        MAMLPlusPlus,
        MAMLPlusPlusSettings,
        _recipe(MAMLPlusPlus, (0.1, 0.01)),
        "gradient: MAML with multi-step loss, learned rates and statistics for each step",
        kinds=_BOTH,
    ),
    Entry(
        CAVIA,
        CAVIASettings,
        _recipe(CAVIA, (1.0, 1.0), _drawn_head),
        "gradient: a small context vector is adapted, the network stays",
        kinds=_BOTH,
    ),
    Entry(
        IMAML,
        IMAMLSettings,
        _recipe(IMAML, (0.1, 0.01)),
        "gradient: MAML whose outer gradient does not follow the path of adaptation",
        kinds=_BOTH,
    ),
    Entry(
        LSTMOptimizer,
        LSTMOptimizerSettings,
        _recipe(LSTMOptimizer, (0.1, 0.01)),
        "gradient: an LSTM that sees gradient, loss and weight makes each update",
        kinds=_BOTH,
    ),
    Entry(
        MetaMT,
        MetaMTSettings,
        lambda body, spec, options: MetaMT(body_of(body, tagged=options.pop("tags")), **options),
        "gradient: first-order MAML for translation, adapts to example pairs",
        kinds=("translation",),
    ),
    Entry(
        ProtoMAML,
        ProtoMAMLSettings,
        _recipe(ProtoMAML, (0.05, 0.05), _no_head),
        "gradient: MAML with a head from prototypes, for any number of classes",
    ),
)
