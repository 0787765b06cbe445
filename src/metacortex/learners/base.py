"""The one protocol: a learner turns what is known of a task into a predictor for it.

    L(φ) = Σ_i L_i( f_φ(T_i) )

φ are the learner's parameters, f_φ(T) is `Learner.adapt`, and L_i is the loss on the query set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.learners.differentiate import grad
from metacortex.learners.objective import CrossEntropy, Objective, full_precision
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import real_rows
from metacortex.task import Examples, Task
from metacortex.tree import tree_map

__all__ = ["Gradients", "Learner", "Outcome", "Predictor", "State"]

State = dict[str, Any]
"""A pytree of tensors: fast weights, prototypes, generated weights …"""

Gradients = dict[str, Tensor]
"""dL/dφ by parameter name."""


@dataclass(frozen=True)
class Outcome:
    """What comes of scoring one task, or, with a leading task axis, several.

    Attributes:
        loss: scalar.
        prediction: what was predicted for the query inputs, e.g. logits ``[N, way]``.
        buffers: new values of the learner's buffers by qualified name; whoever trains commits them.
        metrics: scalars by name.
    """

    loss: Tensor
    prediction: Any
    buffers: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)


torch.export.register_dataclass(Outcome)


class Learner(nn.Module, ABC):
    """A model of models; its parameters are the meta-parameters φ.

    Subclasses write `adapt` and `predict`; both are pure: they change no parameter, no buffer and no
    random state. Training, evaluation, resuming, the command line and the laws in
    `metacortex.testing` then work with the learner as they do with the built-in ones.

    Example:
        >>> import torch
        >>> from metacortex.task import Task
        >>> class NearestMean(Learner):
        ...     def adapt(self, support, *, description=None, generator=None):
        ...         slots = torch.nn.functional.one_hot(support.targets, support.way).float()
        ...         return {"means": slots.T @ support.inputs / slots.sum(0)[:, None]}
        ...     def predict(self, state, inputs):
        ...         return -torch.cdist(inputs, state["means"])
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> float(NearestMean().loss(Task.classification(x, y, x, y)).metrics["accuracy"])
        1.0
    """

    name: ClassVar[str] = "custom"
    """Registry name."""
    trains_on: ClassVar[Literal["episodes", "batches", "nothing"]] = "episodes"
    """``batches``: plain supervised batches over all meta-training classes (transfer learning)."""
    train_way: ClassVar[int | None] = None
    """Way of the meta-training tasks unless told; ``None``: that of evaluation."""
    train_queries: ClassVar[int | None] = None
    """Queries per class of the meta-training tasks unless told; ``None``: those of evaluation."""
    train_tasks: ClassVar[int] = 4
    """Tasks per meta-batch unless told."""
    default_lr: ClassVar[float] = 1e-3
    """Outer learning rate unless told."""
    lr_shares: Mapping[str, float] = {}
    """Shares of the outer learning rate for parameters by the first part of their names; where there is none, 1."""
    objective: Objective = CrossEntropy()
    exact_gradient: bool = True
    """Whether `task_gradient` is the derivative of `loss`, however it is computed. False where a class
    writes its own, unless it says otherwise."""
    autograd_gradient: bool = True
    """Whether `task_gradient` is the automatic differentiation of `loss`, so that an engine may
    differentiate the losses of several tasks at once. False where a class writes its own, unless it says otherwise."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "task_gradient" in cls.__dict__:
            by_autograd = cls.__dict__.get("autograd_gradient", False)
            for fact, value in {"autograd_gradient": False, "exact_gradient": by_autograd is True}.items():
                if fact not in cls.__dict__:
                    setattr(cls, fact, value)

    @abstractmethod
    def adapt(self, support: Examples, *, description: Any = None, generator: torch.Generator | None = None) -> State:
        """The inner loop: what is kept of a support set.

        Args:
            support: labelled examples.
            description: anything else known of the task.
            generator: source of randomness, for learners that need one.

        Returns:
            A pytree of tensors. Differentiable with respect to φ.
        """

    @abstractmethod
    def predict(self, state: State, inputs: Any) -> Tensor:
        """Predict for ``[N, ...]`` inputs: logits ``[N, way]`` or values."""

    def embed(self, state: State, inputs: Any) -> Tensor:
        """Features ``[N, D]`` in which alike inputs are near; by default the prediction itself."""
        return self.predict(state, inputs)

    def attends(self, state: State, inputs: Any) -> Tensor | None:
        """How much each of ``[Q, ...]`` queries attends to each support example, ``[Q, N]`` with rows that sum
        to one; ``None`` for learners that answer by other means than attention."""
        return None

    def loss(self, task: Task) -> Outcome:
        """Adapt on the support set, score the query set."""
        state = self.adapt(task.support, description=task.description)
        with real_rows(task.query.mask):
            prediction = self.predict(state, task.query.inputs)
        return self.outcome(prediction, task.query)

    def outcome(self, prediction: Any, query: Examples, buffers: dict[str, Tensor] | None = None) -> Outcome:
        """The `Outcome` of a prediction for the query examples."""
        prediction = tree_map(full_precision, prediction)
        return Outcome(
            self.objective.loss(prediction, query), prediction, buffers or {}, self.objective.metrics(prediction, query)
        )

    def forward(self, *args: Any, method: str = "loss") -> Any:
        """Call a method by name, so that `torch.func.functional_call` reaches all of them."""
        return getattr(self, method)(*args)

    def meta_parameters(self) -> dict[str, Tensor]:
        """φ: detached tensors of every parameter that is learned, by name."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def call(self, phi: Mapping[str, Tensor], method: str, *args: Any) -> Any:
        """Call a method with other values for φ (the learner itself is left as it is)."""
        return functional_call(self, dict(phi), args, {"method": method})

    def task_gradient(self, task: Task) -> tuple[Gradients, Outcome]:
        """dL_i/dφ of one task, by automatic differentiation of `loss`.

        Learners with an outer gradient of their own override this.

        Returns:
            The gradient by parameter name and the outcome, both detached.
        """

        def objective(phi: dict[str, Tensor]) -> tuple[Tensor, Outcome]:
            outcome = self.call(phi, "loss", task)
            return outcome.loss, outcome

        gradients, outcome = grad(objective, has_aux=True, final=True)(self.meta_parameters())
        return gradients, tree_map(torch.Tensor.detach, outcome)

    def bind(self, state: State) -> Predictor:
        """A callable that predicts with what adaptation left behind."""
        return Predictor(self, tree_map(torch.Tensor.detach, state))

    def keeps(self) -> set[str]:
        """Names in ``state_dict()`` that `predict` and `embed` still need after adaptation."""
        return set(self.state_dict())


class Predictor:
    """An adapted model: call it with inputs ``[N, ...]``, get logits or values, without a graph.

    Args:
        learner: whose `Learner.predict` is used.
        state: what `Learner.adapt` returned.
    """

    def __init__(self, learner: Learner, state: State) -> None:
        self.learner, self.state = learner, state

    def _evaluate(self, method: str, inputs: Any) -> Tensor:
        with evaluating(self.learner), torch.no_grad():
            return getattr(self.learner, method)(self.state, inputs)

    def __call__(self, inputs: Any) -> Tensor:
        """Logits ``[N, way]`` or values."""
        return self._evaluate("predict", inputs)

    def embed(self, inputs: Any) -> Tensor:
        """Features ``[N, D]``."""
        return self._evaluate("embed", inputs)

    def probabilities(self, inputs: Any) -> Tensor:
        """Class probabilities ``[N, way]``."""
        return self(inputs).softmax(-1)
