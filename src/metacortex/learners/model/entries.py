"""The model-based family in the registry: one line per learner."""

from __future__ import annotations

from metacortex.learners.entry import Entry, LearnerSpec, features_of
from metacortex.learners.model.anp import ANP, ANPSettings
from metacortex.learners.model.base import Role
from metacortex.learners.model.cnp import CNP, CNPSettings
from metacortex.learners.model.contextual_parameters import ContextualParameters, ContextualParametersSettings
from metacortex.learners.model.meta_lstm import MetaLSTM, MetaLSTMSettings
from metacortex.learners.model.meta_lstm_sequence import MetaLSTMSequence, MetaLSTMSequenceSettings
from metacortex.learners.model.set_transformer import SetTransformer, SetTransformerSettings
from metacortex.learners.model.snail import SNAIL, SNAILSettings
from metacortex.learners.translation import body_of

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
    Entry(
        ContextualParameters,
        ContextualParametersSettings,
        lambda body, spec, options: ContextualParameters(body_of(body), **options),
        "generated weights: linear in learned embeddings of two languages",
        kinds=("translation",),
    ),
    Entry(
        MetaLSTM,
        MetaLSTMSettings,
        lambda body, spec, options: MetaLSTM(body_of(body), **options),
        "generated weights: an LSTM reads the task and writes the LSTM that translates",
        kinds=("translation",),
    ),
    Entry(
        MetaLSTMSequence,
        MetaLSTMSequenceSettings,
        lambda body, spec, options: MetaLSTMSequence(
            body, spec.way if spec.kind == "regression" else 0, objective=spec.objective, **options
        ),
        "generated weights: a network reads labelled examples and writes the one that answers",
        kinds=("classification", "regression"),
    ),
)
