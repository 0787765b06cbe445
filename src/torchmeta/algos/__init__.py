"""The learners of metacortex under one simple face: ``MAML(model, lr=0.01).train(batch)``.

There is a class for every registered learner, under the name of its class in metacortex, those of other packages
included. torchmeta itself had none. Learners that translate take sizes instead of a model:
``MetaLSTM(input_size=100, hidden_size=200)``, see `torchmeta.algos.translation`.

Example:
    >>> import torch
    >>> maml = MAML(torch.nn.Linear(2, 2), lr=0.1)
    >>> examples = [torch.eye(2).repeat(1, 2, 1), torch.tensor([[0, 1, 0, 1]])]
    >>> sorted(maml.train({"train": examples, "test": examples}))
    ['accuracy', 'loss']
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from metacortex.learners.registry import learner_entry, learner_names
from torchmeta.algos.algorithm import Algorithm
from torchmeta.algos.translation import TranslationAlgorithm

_OPTIONS: dict[str, dict[str, Any]] = {"maml": {"inner_lr": 0.01, "inner_steps": 1, "norm": "query-batch"}}
"""Settings that differ from metacortex's: the rate of Finn, Abbeel and Levine (2017) for mini-ImageNet, and one inner
step, as in torchmeta's own programs: five cost three times as much and are worth it in long training only.

Batch norm takes its statistics from whatever it is given, as ``MetaBatchNorm2d(track_running_stats=False)`` did: the
test examples of a task are judged together (transductive). ``norm="support"`` judges each alone.
"""


def _make(name: str) -> type[Algorithm]:
    entry = learner_entry(name)
    translates = entry.kinds == ("translation",)
    base = TranslationAlgorithm if translates else Algorithm
    first = "input_size: length of the embeddings" if translates else "model: the base model"
    text = f"""{entry.summary[:1].upper()}{entry.summary[1:]}.

    Args:
        {first}; the rest as for `{base.__module__}.{base.__name__}`.
        options: see `{entry.settings.__module__}.{entry.settings.__name__}`.

    The learner itself: `{entry.learner.__module__}.{entry.learner.__name__}`.
    """
    options = _OPTIONS.get(name, {})
    body: dict[str, Any] = {"__doc__": text, "__module__": __name__, "entry": entry, "default_options": options}
    return cast(type[Algorithm], type(entry.learner.__name__, (base,), body))


_MADE = {made.__name__: made for made in map(_make, learner_names())}
globals().update(_MADE)

__all__ = sorted(["Algorithm", "TranslationAlgorithm", *_MADE], key=lambda name: (not name.isupper(), name))

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[Algorithm]:
        """The class of a learner."""
        ...
