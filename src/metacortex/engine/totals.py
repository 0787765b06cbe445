"""What adds up over tasks: gradient, loss and buffers, whoever computed them.

Sums are kept in double precision and rounded once at the end. So they hardly depend on how tasks were
spread over chunks, threads and processes, which matters where a gradient is zero but for rounding (the
bias before a batch norm): Adam turns the sign of whatever is left into a whole step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metacortex.engine.distributed import Ranks
from metacortex.learners.base import Gradients, Learner, Outcome

__all__ = ["Totals", "add_up", "widened"]

_PIECE = 2**16
"""Numbers that are added at once."""


def _wide(x: Tensor) -> torch.dtype:
    return x.dtype if x.device.type == "mps" else torch.float64


def widened(x: Tensor) -> Tensor:
    """A copy in double precision, where the device has it."""
    return x.detach().to(_wide(x), copy=True)


@dataclass
class Totals:
    """Sums over tasks.

    Attributes:
        count: number of tasks.
        loss: scalar.
        gradients: by parameter name; what no task gave is left out.
        buffers: new values of buffers, likewise.
    """

    count: int = 0
    loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    gradients: dict[str, Tensor] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)

    def add(self, gradients: Gradients, outcomes: Outcome) -> None:
        """Add summed gradients, which belong to the totals from here on, and outcomes per task ``[T, ...]``."""
        if not self.count:
            self.gradients = {name: g.detach() for name, g in gradients.items()}  # most often all that there is
        else:
            wide = {name: g if g.dtype == _wide(g) else widened(g) for name, g in self.gradients.items()}
            add_up(wide, gradients, taken=True)
            self.gradients = wide
        self.count += outcomes.loss.shape[0]
        self.loss = widened(outcomes.loss).sum() + self.loss.to(outcomes.loss.device)
        add_up(self.buffers, {name: widened(x).sum(0) for name, x in outcomes.buffers.items()})

    def over(self, ranks: Ranks, learner: Learner) -> Totals:
        """The sums over the tasks of all processes, in one exchange; a process may have had no task at all.

        Args:
            ranks: the processes.
            learner: whose parameters and buffers they are.
        """
        if ranks.size == 1:
            return self
        like = {"gradients": learner.meta_parameters(), "buffers": dict(learner.named_buffers())}
        known = [(kind, name, x) for kind, named in like.items() for name, x in named.items()]
        some = known[0][2]
        zero = widened(some.new_zeros(()))
        # What no process has must stay apart from what is zero.
        present = [float(name in getattr(self, kind)) for kind, name, _ in known]
        head = zero.new_tensor([self.count, float(self.loss), *present])
        values = [getattr(self, kind).get(name, zero.expand(x.shape)).flatten() for kind, name, x in known]
        flat = ranks.sum(torch.cat([head, *values]))
        total = Totals(round(float(flat[0])), flat[1])
        place = len(head)
        for (kind, name, x), there in zip(known, flat[2 : len(head)].tolist(), strict=True):
            if there:
                getattr(total, kind)[name] = flat[place : place + x.numel()].view(x.shape)
            place += x.numel()
        return total

    def mean_buffers(self, learner: Learner) -> dict[str, Tensor]:
        """New values of the buffers, the mean over the tasks; counters, the same for every task, stay whole."""
        if not self.buffers:
            return {}
        own = dict(learner.named_buffers())
        means = {name: x / self.count for name, x in self.buffers.items()}
        like = {name: own.get(name, x) for name, x in means.items()}
        return {n: (x if like[n].is_floating_point() else x.round()).to(like[n].dtype) for n, x in means.items()}


def add_up(total: dict[str, Tensor], part: Mapping[str, Tensor], *, taken: bool = False) -> None:
    """Add tensors by name to sums in double precision, in place.

    Args:
        total: the sums.
        part: what is added.
        taken: whether nobody else needs the part afterwards, so that its tensors may become sums as they are.
    """
    for name, x in part.items():
        if name in total:
            _add(total[name], x)
        elif taken and x.dtype == torch.float64:
            total[name] = x.detach()
        else:
            total[name] = widened(x)


def _add(total: Tensor, x: Tensor) -> None:
    if total.numel() <= _PIECE or not (total.is_contiguous() and x.is_contiguous()):
        total.add_(x)
        return
    # PyTorch first makes a wide copy of what is added: in pieces it stays in the processor's cache
    for into, piece in zip(total.view(-1).split(_PIECE), x.view(-1).split(_PIECE), strict=True):
        into.add_(piece)
