"""An LSTM that optimises another network: its cell state is the other's weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from metacortex.errors import SettingsError
from metacortex.nn.lstm import LSTM
from metacortex.updates.base import UpdateRule, Weights

__all__ = ["LOSS", "LSTMUpdate", "preprocess"]

LOSS = ""
"""Key under which `LSTMUpdate` finds the support loss among the gradients; no weight has an empty name."""


class LSTMUpdate(UpdateRule):
    """θ_t = f_t ⊙ θ_{t-1} − i_t ⊙ ∇L(θ_{t-1}), the cell of an LSTM with candidate −∇L.

        h_t = LSTM(preprocess(∇L, L), h_{t-1})
        i_t = σ(W_I [h_t, θ_{t-1}, i_{t-1}] + b_I)      f_t = σ(W_F [h_t, θ_{t-1}, f_{t-1}] + b_F)

    All coordinates of θ share W_I, W_F and the LSTM below, and each has a state of its own, so that the rule
    serves networks of any size. i_t is a learning rate and 1 − f_t a decay, both chosen anew at each step.

    Args:
        lr: σ(b_I) at the start, in 0–1 with both excluded.
        hidden: units of the LSTM below, at least 1.

    Raises:
        SettingsError: for values out of range.

    *Differentiability*: in gradients, weights and own parameters; its learner takes the gradients as
    constants unless asked otherwise. Gradients of exactly zero are safe.

    Reference: Ravi and Larochelle, "Optimization as a Model for Few-Shot Learning", 2017, equations 2–5 and
    section 4.2; preprocessing: Andrychowicz et al., "Learning to learn by gradient descent by gradient
    descent", 2016, appendix A. The paper draws b_I from −5 … −4 and b_F from 4 … 6; here b_I is the logit of
    ``lr`` and b_F is 5.
    """

    def __init__(self, lr: float = 0.01, hidden: int = 20) -> None:
        super().__init__()
        if not 0 < lr < 1:
            raise SettingsError(f"inner_lr must lie between 0 and 1 (it is what a gate begins with), got {lr}")
        if hidden < 1:
            raise SettingsError(f"hidden must be at least 1, got {hidden}")
        self.hidden = hidden
        self.below = LSTM(4, hidden)
        self.gates = nn.ParameterDict({gate: nn.Parameter(torch.empty(hidden + 2)) for gate in ("input", "forget")})
        for parameter in [*self.below.parameters(), *self.gates.values()]:
            nn.init.uniform_(parameter, -0.01, 0.01)
        self.input_bias = nn.Parameter(torch.tensor(math.log(lr / (1 - lr))))
        self.forget_bias = nn.Parameter(torch.tensor(5.0))

    def init(self, weights: Weights) -> Any:
        """Zero states ``h`` and ``c`` ``[P, hidden]`` and gates ``input`` and ``forget`` ``[P]``, P weights in all."""
        flat = _flat(weights)
        zero = flat.new_zeros(len(flat), self.hidden)
        return {"h": zero, "c": zero.clone(), "input": torch.zeros_like(flat), "forget": torch.zeros_like(flat)}

    def update(self, gradients: Weights, state: Any, weights: Weights, step: int) -> tuple[Weights, Any]:
        """See `UpdateRule.update`; ``gradients[LOSS]`` is the support loss, a scalar."""
        theta, slope = _flat(weights), _flat({name: gradients[name] for name in weights})
        loss = preprocess(gradients[LOSS].reshape(1)).expand(len(theta), 2)
        seen = torch.cat([preprocess(slope), loss], 1)  # [P, 4]
        h, (hs, cs) = self.below.step(seen, (state["h"][None], state["c"][None]))
        read = torch.cat([h, theta[:, None]], 1)  # [P, hidden + 1]
        gates = {}
        for gate, bias in (("input", self.input_bias), ("forget", self.forget_bias)):
            weight = self.gates[gate]
            gates[gate] = torch.sigmoid(read @ weight[:-1] + state[gate] * weight[-1] + bias)
        new = gates["forget"] * theta - gates["input"] * slope
        return _unflat(new, weights), {"h": hs[0], "c": cs[0], **gates}


def preprocess(x: Tensor, p: float = 10.0) -> Tensor:
    """Two numbers of like size for numbers of any size: ``[P]`` -> ``[P, 2]``.

    (log|x| / p, sign x) where |x| ≥ e^−p, else (−1, e^p x).
    """
    large = x.abs() >= math.exp(-p)
    # Where the logarithm is not used its argument is 1, so that no derivative is infinite.
    size = torch.where(large, x.abs(), torch.ones_like(x)).log() / p
    first = torch.where(large, size, -torch.ones_like(x))
    return torch.stack([first, torch.where(large, x.sign(), math.exp(p) * x)], -1)


def _flat(weights: Weights) -> Tensor:
    return torch.cat([w.reshape(-1) for w in weights.values()])


def _unflat(flat: Tensor, like: Weights) -> Weights:
    parts = flat.split([w.numel() for w in like.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(like.items(), parts, strict=True)}
