"""A base model under a norm policy, called with explicit weights and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.errors import SettingsError
from metacortex.nn.mode import recording
from metacortex.nn.norm import (
    BatchNorm,
    Statistics,
    StatisticsPass,
    applications,
    fused_kernels,
    running_statistics,
    statistics_pass,
)
from metacortex.nn.own_layers import own_layers

__all__ = ["NORM_POLICIES", "Body", "NormPolicy"]

NormPolicy = Literal["query-batch", "support", "running", "per-step"]
"""Where batch-norm statistics come from.

``query-batch``: always the batch at hand; predictions depend on the other queries (transductive;
the original MAML). ``support``: those of the support set, also for queries. ``running``: batch
statistics while meta-training, their running average afterwards. ``per-step``: a running average
for each inner step (MAML++).
"""

NORM_POLICIES: tuple[str, ...] = get_args(NormPolicy)


class Body(nn.Module):
    """A base model and its norm policy; pure: no call changes a parameter or a buffer.

    Threads may call it at once, with weights of their own: they take turns.

    Args:
        model: any module. It is copied, and in the copy stock norm layers and convolutions are the library's own.
        norm: the policy, see `NormPolicy`.
        steps: inner steps for which ``per-step`` keeps statistics.

    Raises:
        SettingsError: for an unknown policy.
    """

    def __init__(self, model: nn.Module, norm: str = "support", steps: int = 0) -> None:
        super().__init__()
        if norm not in NORM_POLICIES:
            raise SettingsError(f"unknown norm policy '{norm}': expected one of {', '.join(NORM_POLICIES)}")
        self.model = own_layers(model)
        self.norm, self.steps = norm, steps
        self._turn = RLock()
        if norm == "per-step":
            for key, mean, var in self._layers():
                self.register_buffer(f"mean_{key}", mean.expand(steps + 1, -1).clone())
                self.register_buffer(f"var_{key}", var.expand(steps + 1, -1).clone())

    def __getstate__(self) -> dict[str, Any]:
        # Locks cannot be copied; a copy takes turns of its own.
        return {key: value for key, value in self.__dict__.items() if key != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._turn = RLock()

    def _layers(self) -> list[tuple[str, Tensor, Tensor]]:
        # Buffer names may not contain dots.
        return [(k.replace(".", "_"), m, v) for k, (m, v) in running_statistics(self.model).items()]

    @property
    def transductive(self) -> bool:
        """Whether a prediction may depend on the other inputs passed with it."""
        return self.norm == "query-batch" and any(isinstance(m, BatchNorm) for m in self.model.modules())

    def weights(self) -> dict[str, Tensor]:
        """The parameters of the model by name."""
        return dict(self.model.named_parameters())

    def forward(
        self, weights: Mapping[str, Tensor], inputs: Any, statistics: Statistics | None = None
    ) -> tuple[Any, Statistics]:
        """Call the model with these weights.

        Args:
            weights: values for all or some of the model's parameters, by name.
            inputs: what the model takes.
            statistics: batch-norm statistics to use; those of the batch when ``None``.

        Returns:
            The model's output and the statistics that its layers took from the batch: mean and
            variance, which is the unbiased one where it will go into a running average (as in PyTorch).
        """
        # functional_call exchanges the parameters of the model: another thread would compute with these weights.
        turn = nullcontext() if recording() else self._turn
        with turn, statistics_pass(statistics, unbiased=self.norm in ("running", "per-step")) as current:
            own = self.weights()
            others = {name: value for name, value in weights.items() if own.get(name) is not value}
            output = functional_call(self.model, others, (inputs,)) if others else self.model(inputs)
        return output, current.seen

    def observe(self, weights: Mapping[str, Tensor], inputs: Any) -> tuple[Any, Statistics]:
        """As a call, with statistics that gradients pass through (for the ``support`` policy)."""
        with fused_kernels(False):
            return self(weights, inputs)

    @staticmethod
    def policy(statistics: Statistics | None) -> AbstractContextManager[StatisticsPass]:
        """A forward pass of a part of the model with these statistics."""
        return statistics_pass(statistics)

    def given(self, step: int) -> Statistics | None:
        """Statistics that the policy prescribes for inner step ``step`` (query pass: the last)."""
        if self.training or self.norm in ("query-batch", "support"):
            return None
        if self.norm == "running":
            return running_statistics(self.model)
        row = min(step, self.steps)
        names = running_statistics(self.model)
        return {
            name: (getattr(self, f"mean_{key}")[row], getattr(self, f"var_{key}")[row])
            for name, (key, _, _) in zip(names, self._layers(), strict=True)
        }

    @property
    def refreshes(self) -> bool:
        """Whether a pass in the present mode gives new values for statistics buffers."""
        return self.training and self.norm in ("running", "per-step")

    def refreshed(self, seen: Mapping[int, Statistics]) -> dict[str, Tensor]:
        """New values of the statistics buffers after a training pass.

        Args:
            seen: statistics by inner step; the largest step is the query pass.

        Returns:
            Buffers of this module by qualified name, empty unless training with a policy that
            keeps statistics.
        """
        if not self.refreshes or not seen:
            return {}
        layers = {m.name: m for m in self.model.modules() if isinstance(m, BatchNorm)}
        if self.norm == "running":
            last = seen[max(seen)]
            return {
                f"model.{name}.running_{kind}" if name else f"model.running_{kind}": _followed(
                    getattr(layer, f"running_{kind}"), last, layer, position
                )
                for name, layer in layers.items()
                for position, kind in enumerate(("mean", "var"))
                if name in last
            }
        buffers: dict[str, Tensor] = {}
        for name, layer in layers.items():
            key = name.replace(".", "_")
            for position, kind in enumerate(("mean", "var")):
                rows = list(getattr(self, f"{kind}_{key}"))
                for step, statistics in seen.items():
                    row = min(step, self.steps)
                    rows[row] = _followed(rows[row], statistics, layer, position)
                buffers[f"{kind}_{key}"] = torch.stack(rows)
        return buffers


def _followed(old: Tensor, statistics: Statistics, layer: BatchNorm, position: int) -> Tensor:
    """A running statistic after a pass: like PyTorch's, it follows each application of its layer in turn."""
    for application in applications(statistics, layer.name):
        old = torch.lerp(old, application[position].detach().to(old.dtype), layer.momentum)
    return old
