"""Proto-MAML: MAML whose head begins as the prototypes of the support set, for any number of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from metacortex.errors import LearnerError
from metacortex.learners.gradient.base import GradientLearner
from metacortex.learners.gradient.choices import OuterSettings
from metacortex.learners.metric.protonet import class_means
from metacortex.nn.classifier import Classifier
from metacortex.nn.norm import real_rows, statistics_pass
from metacortex.task import Examples
from metacortex.updates.base import Weights
from metacortex.updates.sgd import SGD

__all__ = ["ProtoMAML", "ProtoMAMLSettings"]


@dataclass(frozen=True)
class ProtoMAMLSettings(OuterSettings):
    """Settings of `ProtoMAML`; those not listed are in `OuterSettings`.

    Attributes:
        adapt_body: adapt the body with the head; off: the head alone.
    """

    inner_steps: int = 3
    adapt_body: bool = True


class ProtoMAML(GradientLearner):
    """MAML on the body and a head that begins with W_c = 2 p_c and b_c = −‖p_c‖².

    p_c is the mean embedding of class c's support examples, so that before the first step the logits
    are those of a prototypical network, −‖f(x) − p_c‖², but for a term that all classes share. The
    outer gradient passes through the prototypes. No parameter belongs to a class: one set of weights
    serves any number of ways.

    Args:
        backbone: maps inputs to ``[N, backbone.features]``.
        inner_lr: α.
        inner_steps: steps while meta-training; with none this is a prototypical network.
        adapt_body: whether the body is adapted too.
        choices: the other choices of `GradientLearner` but ``adapt``: ``order``, ``eval_steps``, ``norm`` …

    Raises:
        LearnerError: for a backbone without an attribute ``features``.

    Reference: Triantafillou et al., "Meta-Dataset: A Dataset of Datasets for Learning to Learn from
    Few Examples", 2020, section 3, "Proto-MAML".
    """

    name: ClassVar[str] = "proto_maml"
    train_tasks: ClassVar[int] = 16
    default_lr: ClassVar[float] = 2e-3

    def __init__(
        self,
        backbone: nn.Module,
        inner_lr: float = 0.05,
        inner_steps: int = 3,
        *,
        adapt_body: bool = True,
        **choices: Any,
    ) -> None:
        if not hasattr(backbone, "features"):
            raise LearnerError(
                f"proto_maml needs a backbone with an attribute 'features', the length of its output; "
                f"{type(backbone).__name__} has none"
            )
        # The head's own parameters only say where the prototypes go; they are never learned or read.
        super().__init__(Classifier(backbone, 1), SGD(inner_lr), inner_steps=inner_steps, **choices)
        self.body.model.head.requires_grad_(False)
        self.adapted = tuple(n for n in self.adapted if adapt_body and not n.startswith("head."))

    def initial(self, support: Examples) -> Weights:
        """See `GradientLearner.initial`: the adapted weights of the body and the head from the prototypes."""
        model = self.body.model
        assert isinstance(model, Classifier)
        with real_rows(support.mask), statistics_pass(self.body.given(0)):
            prototypes = class_means(model.backbone(support.inputs), support)  # [way, D]
        head = {"head.weight": 2 * prototypes, "head.bias": -(prototypes * prototypes).sum(-1)}
        return {**super().initial(support), **head}
