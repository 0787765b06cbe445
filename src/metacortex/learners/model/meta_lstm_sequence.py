"""MetaLSTM beyond translation: reads labelled examples, writes the network that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.errors import LearnerError
from metacortex.learners.base import Learner, State
from metacortex.learners.entry import features_of
from metacortex.learners.features import real, target_matrix
from metacortex.learners.model.base import check_positive
from metacortex.learners.model.generation import Generation, WeightGenerator
from metacortex.learners.objective import Objective, hide_padding
from metacortex.learners.statistics import pack_statistics, unpack_statistics
from metacortex.nn.body import Body
from metacortex.nn.classifier import Classifier
from metacortex.nn.norm import real_rows
from metacortex.task import Examples

__all__ = ["MetaLSTMSequence", "MetaLSTMSequenceSettings"]


@dataclass(frozen=True)
class MetaLSTMSequenceSettings:
    """Settings of `MetaLSTMSequence`.

    Attributes:
        generate: how weights are written, see `metacortex.learners.model.generation`.
        rank: rank of the additions of ``low_rank``.
        code: length of the code of a task.
    """

    generate: Generation = "low_rank"
    rank: int = 8
    code: int = 64

    def __post_init__(self) -> None:
        check_positive("meta_lstm_sequence", rank=self.rank, code=self.code)


class MetaLSTMSequence(Learner):
    """f_φ(T) = the weights of a network, written by a network of the same kind that has read T's examples.

        code  c = tanh(W_c mean_i tanh(W [g(x_i); y_i]))
        f     θ = generator(θ_0, c)

    With the backbone ``lstm`` an LSTM g reads each support sequence and its answer, and writes the LSTM that
    reads the query sequences; any other backbone does as well. φ are g, W, W_c, θ_0 and the generator.

    Args:
        backbone: the network that is written, without its last layer; has an attribute ``features``. Copied.
        outputs: largest way, or length of a regression's targets.
        generate: see `MetaLSTMSequenceSettings`, as the rest.
        rank: of the additions.
        code: length of the code.
        objective: what predictions are judged by; cross-entropy by default.

    Batch-norm layers take their statistics from the support set.

    Reference: Ha, Dai and Le, "HyperNetworks", 2017.
    """

    name: ClassVar[str] = "meta_lstm_sequence"
    train_tasks: ClassVar[int] = 16

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        generate: str = "low_rank",
        rank: int = 8,
        code: int = 64,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        features, self.outputs = features_of(backbone), outputs
        self.body = Body(Classifier(backbone, outputs))
        # A head of zeros would at first let no gradient reach what is below it.
        self.body.model.head.reset_parameters()  # type: ignore[union-attr,operator]
        self.reader = Body(backbone)
        self.pair = nn.Linear(features + outputs, code)
        self.code = nn.Linear(code, code)
        shapes = {name: tuple(p.shape) for name, p in self.body.weights().items() if p.requires_grad}
        self.generator = WeightGenerator(shapes, code, generate, rank)
        if objective is not None:
            self.objective = objective

    def read(self, support: Examples) -> Tensor:
        """The code of a support set, ``[code]``; that of no examples at all is a learned constant's."""
        with real_rows(support.mask):
            features, _ = self.reader.observe(self.reader.weights(), support.inputs)
        answers = target_matrix(support, features)
        missing = features.new_zeros(features.shape[0], self.outputs - answers.shape[1])
        pairs = torch.tanh(self.pair(torch.cat([features, answers, missing], 1)))
        weights = real(support, features)[:, None]
        return torch.tanh(self.code((pairs * weights).sum(0) / weights.sum().clamp_min(1)))

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Read the examples, write the weights.

        Returns:
            ``weights`` of the generated network, ``classes`` and, with batch norm, ``statistics``.

        Raises:
            LearnerError: for a task with more classes than there are outputs.
        """
        state: State = {}
        if support.classes is not None:
            if support.way > self.outputs:
                raise LearnerError(
                    f"'{self.name}' was built for at most {self.outputs} classes, the task has {support.way}: "
                    "train with a larger way, or use a learner for any number of classes (protonet, cnp)"
                )
            state["classes"] = support.classes
        shared = self.body.weights()
        state["weights"] = {**shared, **self.generator(shared, self.read(support))}
        with real_rows(support.mask):
            _, given = self.body.observe(state["weights"], support.inputs)
        return pack_statistics(state, given)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]`` or values ``[N, outputs]`` of the generated network."""
        output, _ = self.body(state["weights"], inputs, unpack_statistics(state))
        if "classes" not in state:
            return output
        return hide_padding(output[..., : state["classes"].shape[-1]], state["classes"])

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Features ``[N, D]`` of the generated network, before its last layer."""
        prefix = "backbone."
        weights = {k.removeprefix(prefix): w for k, w in state["weights"].items() if k.startswith(prefix)}
        with self.body.policy(unpack_statistics(state)):
            return functional_call(self.body.model.backbone, weights, (inputs,))  # type: ignore[arg-type]

    def keeps(self) -> set[str]:
        """Only buffers: every weight of the generated network is in the state."""
        return {name for name, _ in self.named_buffers()}
