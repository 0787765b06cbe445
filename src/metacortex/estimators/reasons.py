"""Why an estimator answered as it did: which examples, which columns, pixels or n-grams, how sure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from metacortex.errors import DataError
from metacortex.estimators.adapted import HeadAdapted, LearnerAdapted, as_tensor
from metacortex.estimators.export import adapted_module
from metacortex.estimators.features import net_channels, text_parts
from metacortex.estimators.heads import fit_head, squared_distances
from metacortex.estimators.inputs import as_items, item_names
from metacortex.estimators.left_out import head_influences, left_out_scores, value_weights
from metacortex.explain.explained import ExplainedClasses, ExplainedValues, point_names
from metacortex.explain.explanation import Explanation, explain
from metacortex.explain.pixels import integrate
from metacortex.explain.scores import log_odds
from metacortex.explain.values import (
    Curve,
    ValueExplanation,
    explain_values,
    jackknife_interval,
    learned_curve,
    nearest_other,
)
from metacortex.task import Examples

if TYPE_CHECKING:
    from metacortex.estimators.base import FewShotEstimator
    from metacortex.estimators.classifier import FewShotClassifier
    from metacortex.estimators.regressor import FewShotRegressor

__all__ = ["explain_classifier", "explain_regressor"]

Parts = Mapping[str, Mapping[str, float]]
_STEPS = 32
"""Of the integral over the way from an empty or mean input to the query."""


def explain_classifier(model: FewShotClassifier, X: Any, parts: bool = True) -> ExplainedClasses:
    """See `metacortex.estimators.classifier.FewShotClassifier.explain`."""
    _refuse_without_examples(model)
    inputs, way = model._read(X), len(model.classes_)
    adapted = model.adapted_
    support = Examples(
        as_tensor(model.inputs_), torch.from_numpy(model.targets_), classes=torch.ones(way, dtype=torch.bool)
    )
    if isinstance(adapted, LearnerAdapted):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(model.random_state))
            found = explain(
                adapted.predictor.learner, support, as_tensor(inputs), temperature=adapted.temperature, pixels=parts
            )
        how = f"by the learner {adapted.predictor.learner.name}"
    else:
        assert isinstance(adapted, HeadAdapted)
        found = _by_head(adapted, model.inputs_, model.targets_, way, inputs)
        how = f"by a head ({adapted.head.spec})"
    if parts:
        found = _with_parts(model, X, inputs, found)
    novelty = model._novelty(inputs).tolist()
    found = [replace(one, novelty=(far, model.threshold_)) for one, far in zip(found, novelty, strict=True)]
    lead = f"{len(model.targets_)} examples of {way} classes, {how}."
    return ExplainedClasses(
        "Why the classifier answers so",
        lead,
        found,
        replace(support, inputs=_shown(model.inputs_)),
        _shown(inputs),
        _example_names(model),
        _query_names(model, X, inputs),
        [str(name) for name in model.classes_],
    )


def explain_regressor(model: FewShotRegressor, X: Any, parts: bool = True) -> ExplainedValues:
    """See `metacortex.estimators.regressor.FewShotRegressor.explain`."""
    _refuse_without_examples(model)
    inputs = model._read(X)
    support = Examples(as_tensor(model.inputs_), torch.from_numpy(model.targets_).to(torch.float32))
    grid = None
    if model.input_kind_ == "table" and model.inputs_.shape[1:] == (1,):
        ends = np.concatenate([model.inputs_, inputs])[:, 0]
        grid = np.linspace(ends.min(), ends.max(), 200)
    if model._own_way():
        learner = model.predictor_.learner
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(model.random_state))
            found = explain_values(learner, support, as_tensor(inputs))
            curve = None if grid is None else learned_curve(learner, support, as_tensor(grid))
        how = f"by the learner {learner.name}"
    else:
        found = _values_by_head(model, inputs)
        curve = None if grid is None else Curve(as_tensor(grid), _tensor(model._values(grid[:, None])))
        how = f"by a head ({model.head_.spec})"
    if parts:
        found = _with_value_parts(model, X, inputs, found)
    return ExplainedValues(
        "Why the regressor answers so",
        f"{len(model.targets_)} examples, {how}.",
        found,
        support,
        as_tensor(inputs),
        _example_names(model),
        _query_names(model, X, inputs),
        None,
        curve,
    )


def _refuse_without_examples(model: FewShotEstimator) -> None:
    if hasattr(model, "input_kind_") and not hasattr(model, "inputs_"):
        raise DataError("an explanation names examples, and a saved estimator does not hold them: fit it to them again")


def _example_names(model: FewShotEstimator) -> list[str]:
    return getattr(model, "names_", None) or point_names(as_tensor(model.inputs_), "example")


def _query_names(model: FewShotEstimator, X: Any, inputs: np.ndarray) -> list[str]:
    if model.input_kind_ == "table":
        return point_names(as_tensor(inputs), "query")
    return item_names(X, "query")


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.float32)


def _shown(inputs: np.ndarray) -> Tensor:
    """Inputs as a page shows them: images without the colours that a reader adds for the head."""
    return as_tensor(inputs if inputs.ndim != 4 else inputs[:, : net_channels(inputs.shape[1])])


def _by_head(
    adapted: HeadAdapted, shown: np.ndarray, targets: np.ndarray, way: int, inputs: np.ndarray
) -> list[Explanation]:
    views, asked = adapted.features.views(shown), adapted.features(inputs)
    probabilities = _tensor(adapted.head.scores(asked) / adapted.temperature).softmax(-1)
    influence = head_influences(adapted.head, adapted.temperature, views, targets, way, asked)
    similarity = -_tensor(np.sqrt(squared_distances(asked, views[0])))
    distances = None
    if adapted.head.spec.kind == "prototype":
        members = np.eye(way)[targets]
        means = members.T @ views.mean(0) / members.sum(0)[:, None]
        distances = _tensor(np.sqrt(squared_distances(asked, means)))
    order = probabilities.argsort(-1, descending=True).tolist()
    same = torch.from_numpy(targets)[None] == torch.tensor(order)[:, :1]
    nearest = similarity.masked_fill(same, -torch.inf).argmax(-1).tolist()
    return [
        Explanation(
            order[q][0],
            probabilities[q],
            _tensor(influence[q]),
            similarity[q],
            nearest[q],
            order[q][1],
            None,
            {},
            None,
            distances=None if distances is None else distances[q],
        )
        for q in range(len(inputs))
    ]


def _values_by_head(model: FewShotRegressor, inputs: np.ndarray) -> list[ValueExplanation]:
    views, asked = model.features_.views(model.inputs_), model.features_(inputs)
    scaled = (model.targets_ - model.offset_) / model.unit_
    left = left_out_scores(model.head_, views, scaled, asked) * model.unit_ + model.offset_  # [Q, N, outputs]
    errors = _tensor((scaled - fit_head(model.head_.spec, views, scaled)[1]) * model.unit_)
    value, left_out = _tensor(model._values(inputs)), _tensor(left)
    weights = _tensor(value_weights(model.head_, views, asked))[:, :, None].expand(left_out.shape)
    similarity, targets = -_tensor(np.sqrt(squared_distances(asked, views[0]))), _tensor(model.targets_)
    return [
        ValueExplanation(
            value[q],
            value[q] - left_out[q],
            similarity[q],
            errors,
            None,
            jackknife_interval(left_out[q], errors),
            weights[q],
            None,
            nearest_other(value[q], targets, errors, similarity[q]),
        )
        for q in range(len(inputs))
    ]


def _with_parts(model: FewShotClassifier, X: Any, inputs: np.ndarray, found: list[Explanation]) -> list[Explanation]:
    """The same with what pixels, columns or pieces of text add to the log-odds of the answers."""
    module = adapted_module(model)
    answers = torch.tensor([one.answer for one in found])

    def score(rows: Tensor, slots: Tensor) -> Tensor:
        return log_odds(module(rows)).gather(1, slots[:, None])[:, 0]

    if model.input_kind_ == "images":
        if isinstance(model.adapted_, LearnerAdapted):
            return found  # it has them already
        pixels = integrate(score, as_tensor(inputs), answers, ground=0.0, steps=_STEPS)
        return [replace(one, pixels=seen) for one, seen in zip(found, pixels, strict=True)]
    parts = _parts(model, module, X, inputs, score, answers)
    return [replace(one, parts=of) for one, of in zip(found, parts, strict=True)]


def _with_value_parts(
    model: FewShotRegressor, X: Any, inputs: np.ndarray, found: list[ValueExplanation]
) -> list[ValueExplanation]:
    """The same with what columns or pieces of text add to the values; nothing for images."""
    if model.input_kind_ == "images" or model.inputs_.shape[1:] == (1,):
        return found
    module, outputs = adapted_module(model), len(found[0].value)
    for output in range(outputs):

        def score(rows: Tensor, which: Tensor) -> Tensor:
            return module(rows).gather(1, which[:, None])[:, 0]

        which = torch.full((len(inputs),), output)
        parts = _parts(model, module, X, inputs, score, which)
        ending = f" (output {output})" if outputs > 1 else ""
        found = [
            replace(one, parts={**one.parts, **{kind + ending: adds for kind, adds in of.items()}})
            for one, of in zip(found, parts, strict=True)
        ]
    return found


def _parts(
    model: FewShotEstimator,
    module: nn.Module,
    X: Any,
    inputs: np.ndarray,
    score: Callable[[Tensor, Tensor], Tensor],
    answers: Tensor,
) -> list[Parts]:
    rows = as_tensor(inputs)
    if model.input_kind_ == "table":
        ground = as_tensor(model.inputs_).mean(0, keepdim=True)
        adds = integrate(score, rows, answers, ground=ground, steps=_STEPS)
        names = [str(n) for n in getattr(model, "feature_names_in_", range(inputs[0].size))]
        return [{"column": dict(zip(names, row, strict=True))} for row in adds.flatten(1).tolist()]
    texts = as_items(X)
    if model.encode is None:
        adds = integrate(score, rows, answers, ground=0.0, steps=_STEPS)
        return [text_parts(text, row.double().numpy()) for text, row in zip(texts, adds, strict=True)]
    return [_left_out_words(model, text, score, a) for text, a in zip(texts, answers.split(1), strict=True)]


def _left_out_words(
    model: FewShotEstimator, text: Any, score: Callable[[Tensor, Tensor], Tensor], answer: Tensor
) -> Parts:
    """What each word adds, by leaving it out and encoding anew; nothing of items that are no texts."""
    words = text.split() if isinstance(text, str) else []
    if len(words) < 2:
        return {}
    shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    with torch.no_grad():
        scores = score(as_tensor(model._prepare([text, *shorter])), answer.expand(len(words) + 1)).tolist()
    adds: dict[str, float] = {}
    for word, left in zip(words, scores[1:], strict=True):
        adds[word] = adds.get(word, 0.0) + scores[0] - left
    return {"word": adds}
