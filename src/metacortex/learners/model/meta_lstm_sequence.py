"""MetaLSTM beyond translation: reads labelled examples, writes the network that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.learners.base import Learner, State
from metacortex.learners.entry import features_of
from metacortex.learners.features import members, real, target_matrix, with_ones
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

    Classification, C classes, S_c the examples of class c:

        u_i = tanh(W g(x_i))    z_c = tanh(W_c mean_{i in S_c} u_i)    z = mean_c z_c
        f: features f_θ, θ = generator(θ_0, z);    logit of class c: v_c · f_θ(x) + b_c,  [v_c; b_c] = V z_c

    so that a row of the last layer is written from the examples of its class, classes may stand in any order, and any
    number of them is served. Regression:

        u_i = tanh(W [g(x_i); y_i])    z = tanh(W_c mean_i u_i)    the last layer is written from z like the rest

    With the backbone ``lstm`` an LSTM g reads each support sequence and its answer, and writes the LSTM that
    reads the query sequences; any other backbone does as well. φ are g, W, W_c, V, θ_0 and the generator.

    Args:
        backbone: the network that is written, without its last layer; has an attribute ``features``. Copied.
        outputs: length of a regression's targets; 0 for classification.
        generate: see `MetaLSTMSequenceSettings`, as the rest.
        rank: of the additions.
        code: length of the code.
        objective: what predictions are judged by; cross-entropy by default.

    Batch-norm layers take their statistics from the support set.

    Reference: Ha, Dai and Le, "HyperNetworks", 2017. One code for a whole classification task, labels read with the
    examples, was tried first: on Omniglot it stayed at chance for 2,000 steps.
    """

    name: ClassVar[str] = "meta_lstm_sequence"
    train_tasks: ClassVar[int] = 16

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int = 0,
        generate: str = "low_rank",
        rank: int = 8,
        code: int = 64,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        features, self.outputs = features_of(backbone), outputs
        self.body = Body(Classifier(backbone, outputs) if outputs else backbone)
        if outputs:
            # A head of zeros would at first let no gradient reach what is below it.
            self.body.model.head.reset_parameters()  # type: ignore[union-attr,operator]
        else:
            self.rows = nn.Linear(code, features + 1, bias=False)
        self.reader = Body(backbone)
        self.pair = nn.Linear(features + outputs, code)
        self.code = nn.Linear(code, code)
        shapes = {name: tuple(p.shape) for name, p in self.body.weights().items() if p.requires_grad}
        self.generator = WeightGenerator(shapes, code, generate, rank)
        if objective is not None:
            self.objective = objective

    def read(self, support: Examples) -> Tensor:
        """The codes of a support set: ``[way, code]`` of its classes, or ``[1, code]`` of a regression."""
        with real_rows(support.mask):
            features, _ = self.reader.observe(self.reader.weights(), support.inputs)
        if support.classes is None:
            features = torch.cat([features, target_matrix(support, features)], 1)
            belongs = real(support, features)[:, None]
        else:
            belongs = members(support, features)
        read = torch.tanh(self.pair(features))
        return torch.tanh(self.code(belongs.T @ read / belongs.sum(0).clamp_min(1)[:, None]))

    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """Read the examples, write the weights.

        Returns:
            ``weights`` of the generated network; for classification also ``head`` ``[way, features + 1]`` and
            ``classes``; with batch norm ``statistics``.
        """
        codes, shared = self.read(support), self.body.weights()
        state: State = {}
        if support.classes is None:
            code = codes[0]
        else:
            there = support.classes.to(codes.dtype)
            code = there @ codes / there.sum().clamp_min(1)
            state |= {"classes": support.classes, "head": self.rows(codes)}
        state["weights"] = {**shared, **self.generator(shared, code)}
        with real_rows(support.mask):
            _, given = self.body.observe(state["weights"], support.inputs)
        return pack_statistics(state, given)

    def predict(self, state: State, inputs: Any) -> Tensor:
        """Logits ``[N, way]`` or values ``[N, outputs]`` of the generated network."""
        output, _ = self.body(state["weights"], inputs, unpack_statistics(state))
        if "classes" not in state:
            return output
        return hide_padding(with_ones(output) @ state["head"].T, state["classes"])

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Features ``[N, D]`` of the generated network, before its last layer."""
        weights, network = state["weights"], self.body.model
        if self.outputs:
            prefix, network = "backbone.", network.backbone  # type: ignore[assignment]
            weights = {k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)}
        with self.body.policy(unpack_statistics(state)):
            return functional_call(network, weights, (inputs,))  # type: ignore[arg-type]

    def keeps(self) -> set[str]:
        """Only buffers: every weight of the generated network is in the state."""
        return {name for name, _ in self.named_buffers()}
