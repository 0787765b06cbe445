"""LSTM layers whose weights may come from outside, executed in one of two ways that agree.

    i, f, g, o = split(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
    c_t = σ(f) c_{t-1} + σ(i) tanh(g)        h_t = σ(o) tanh(c_t)

*Written out*: elementary operations, differentiable to any order, right under ``vmap``. *Fused*:
`torch.nn.LSTM` called with the given weights, which has no batching rule and is quickest where it
is differentiated once. The engine's ``loop`` and every evaluation allow fused kernels (see
`metacortex.nn.norm.fused_kernels`), so training and evaluation run fused there; under ``vmap``, in a
bare call of a learner and inside an inner loop of order 2 (`differentiated_twice`) the layers run
written out. Decoding goes step by step and uses `lstm_step`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metacortex.nn.norm import fusing

__all__ = ["LSTM", "differentiated_twice", "last_states", "lstm_shapes", "lstm_step", "reverse_sequences", "run_lstm"]

_twice: ContextVar[bool] = ContextVar("metacortex_lstm_twice", default=False)
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@contextmanager
def differentiated_twice(really: bool = True) -> Iterator[None]:
    """Write recurrent layers out inside, as an order-2 inner loop needs; ``False`` changes nothing."""
    token = _twice.set(_twice.get() or really)
    try:
        yield
    finally:
        _twice.reset(token)


def lstm_shapes(
    inputs: int, hidden: int, layers: int = 1, *, bidirectional: bool = False
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, those of `torch.nn.LSTM`.

    Example:
        >>> lstm_shapes(3, 2)["weight_ih_l0"]
        (8, 3)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        width = inputs if layer == 0 else hidden * (2 if bidirectional else 1)
        for suffix in _suffixes(layer, bidirectional):
            sizes = ((4 * hidden, width), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
            shapes |= {part + suffix: size for part, size in zip(_PARTS, sizes, strict=True)}
    return shapes


def run_lstm(
    weights: Mapping[str, Tensor],
    inputs: Tensor,
    lengths: Tensor | None = None,
    state: tuple[Tensor, Tensor] | None = None,
    *,
    layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    fused: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a stack of LSTM layers over padded sequences.

    Args:
        weights: see `lstm_shapes`.
        inputs: ``[N, L, D]``.
        lengths: ``[N]`` int64 in ``0 .. L``, steps from there on are padding; all are real when ``None``.
        state: first hidden and cell states, each ``[layers * directions, N, H]``; zeros when ``None``.
        layers: number of layers.
        bidirectional: a second run of each layer goes through every sequence from its own end.
        dropout: share of the outputs between layers set to zero, 0–1; the caller knows whether it trains.
        fused: which execution; ``None`` takes the fused one where it is allowed.

    Returns:
        Outputs ``[N, L, directions * H]``, zero at padding, and for each layer and direction the hidden
        state after the last real step, ``[layers * directions, N, H]`` (zero for empty sequences). The
        last cell states are not given, as the fused kernels keep them for one common length only.

    *Differentiability*: in weights, inputs and state; fused once, written out to any order.
    """
    scan = _fused_scan if (fusing() and not _twice.get() if fused is None else fused) else _written_scan
    directions, x, lasts = (2 if bidirectional else 1), inputs, []
    for layer in range(layers):
        if layer and dropout:
            x = F.dropout(x, dropout)
        outputs = []
        for d, suffix in enumerate(_suffixes(layer, bidirectional)):
            own = [weights[part + suffix] for part in _PARTS]
            row = layer * directions + d
            first = None if state is None else (state[0][row], state[1][row])
            y = scan(reverse_sequences(x, lengths) if d else x, own, first)
            lasts.append(last_states(y, lengths))
            outputs.append(reverse_sequences(y, lengths) if d else y)
        x = _blank(torch.cat(outputs, -1) if bidirectional else outputs[0], lengths)
    return x, torch.stack(lasts)


def lstm_step(
    weights: Mapping[str, Tensor], inputs: Tensor, state: tuple[Tensor, Tensor], *, layers: int = 1
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One step of a stack of layers.

    Args:
        weights: see `lstm_shapes`.
        inputs: ``[N, D]``.
        state: hidden and cell states, each ``[layers, N, H]``.
        layers: number of layers.

    Returns:
        The output ``[N, H]`` and the new state.
    """
    x, hs, cs = inputs, [], []
    for layer in range(layers):
        w_ih, w_hh, b_ih, b_hh = (weights[f"{part}_l{layer}"] for part in _PARTS)
        h, c = _cell(F.linear(x, w_ih, b_ih + b_hh) + F.linear(state[0][layer], w_hh), state[1][layer])
        hs.append(h)
        cs.append(c)
        x = h
    return x, (torch.stack(hs), torch.stack(cs))


def reverse_sequences(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``[N, L, D]`` with the real steps of each sequence in reverse order, padding left where it is."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    back = lengths[:, None] - 1 - steps  # [N, L]
    return x.gather(1, torch.where(back >= 0, back, steps)[..., None].expand_as(x))


def last_states(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """The outputs ``[N, D]`` at the last real step of ``[N, L, D]``; zero for empty sequences."""
    if not outputs.shape[1]:
        return outputs.new_zeros(outputs.shape[0], outputs.shape[2])
    if lengths is None:
        return outputs[:, -1]
    at = (lengths - 1).clamp_min(0)[:, None, None].expand(-1, 1, outputs.shape[2])
    return outputs.gather(1, at)[:, 0] * (lengths > 0)[:, None].to(outputs.dtype)


class LSTM(nn.Module):
    """`run_lstm` with weights of its own, which `torch.func.functional_call` replaces by others.

    Parameter names and shapes are those of `torch.nn.LSTM` (batch first). The forget gates start open
    (bias 1 in sum), all else uniform in ±1/√H.

    Args:
        inputs: D.
        hidden: H.
        layers: number of layers.
        bidirectional: see `run_lstm`.
        dropout: between layers, while training.

    Example:
        >>> outputs, last = LSTM(3, 4, bidirectional=True)(torch.zeros(2, 5, 3), torch.tensor([5, 2]))
        >>> tuple(outputs.shape), tuple(last.shape)
        ((2, 5, 8), (2, 2, 4))

    Reference: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; forget gates: Gers et al., 2000.
    """

    def __init__(
        self, inputs: int, hidden: int, layers: int = 1, *, bidirectional: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.inputs, self.hidden, self.layers = inputs, hidden, layers
        self.bidirectional, self.dropout = bidirectional, dropout
        bound = hidden**-0.5
        for name, shape in lstm_shapes(inputs, hidden, layers, bidirectional=bidirectional).items():
            parameter = nn.Parameter(torch.empty(shape))
            nn.init.uniform_(parameter, -bound, bound)
            if name.startswith("bias"):
                with torch.no_grad():
                    parameter[hidden : 2 * hidden] = 0.5
            self.register_parameter(name, parameter)

    def weights(self) -> dict[str, Tensor]:
        """The weights by name."""
        return dict(self.named_parameters())

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `run_lstm`."""
        return run_lstm(
            self.weights(),
            inputs,
            lengths,
            state,
            layers=self.layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout if self.training else 0.0,
        )

    def step(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See `lstm_step`."""
        return lstm_step(self.weights(), inputs, state, layers=self.layers)


def _suffixes(layer: int, bidirectional: bool) -> list[str]:
    return [f"_l{layer}", f"_l{layer}_reverse"] if bidirectional else [f"_l{layer}"]


def _cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _written_scan(x: Tensor, weights: list[Tensor], first: tuple[Tensor, Tensor] | None) -> Tensor:
    w_ih, w_hh, b_ih, b_hh = weights
    gates = F.linear(x, w_ih, b_ih + b_hh)  # [N, L, 4H]
    if first is None:
        zero = gates.new_zeros(x.shape[0], w_hh.shape[1])
        first = (zero, zero)
    (h, c), outputs = first, []
    for t in range(x.shape[1]):
        h, c = _cell(gates[:, t] + F.linear(h, w_hh), c)
        outputs.append(h)
    return torch.stack(outputs, 1) if outputs else gates.new_zeros(x.shape[0], 0, w_hh.shape[1])


def _fused_scan(x: Tensor, weights: list[Tensor], first: tuple[Tensor, Tensor] | None) -> Tensor:
    if not x.numel():
        return _written_scan(x, weights, first)  # The kernels refuse empty batches.
    # A new frame each time: one that is kept would hold on to the weights it was called with last.
    frame = nn.LSTM(x.shape[2], weights[1].shape[1], batch_first=True, device="meta")
    given = {f"{part}_l0": w.contiguous() for part, w in zip(_PARTS, weights, strict=True)}
    states = None if first is None else (first[0][None].contiguous(), first[1][None].contiguous())
    exact = nullcontext()
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # oneDNN's LSTM in bfloat16 does not exist without AVX-512, and was slower than in float32 with it.
        exact, x = torch.autocast("cpu", enabled=False), x.to(weights[1].dtype)
        states = None if states is None else (states[0].to(x.dtype), states[1].to(x.dtype))
    with exact, warnings.catch_warnings() if x.is_cuda else nullcontext():
        if x.is_cuda:  # told that cuDNN copies the weights into one piece, as it must with ones from outside
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        return functional_call(frame, given, (x, states))[0]


def _blank(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero where a step is padding."""
    if lengths is None:
        return x
    real = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    return x * real[..., None].to(x.dtype)
