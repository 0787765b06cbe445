"""LSTM layers: both executions against torch.nn.LSTM and each other, padding, derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from metacortex.nn.lstm import LSTM, differentiated_twice, lstm_step, reverse_sequences, run_lstm
from metacortex.nn.norm import fused_kernels

LENGTHS = torch.tensor([5, 2, 3, 1])


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def layer(layers: int = 1, *, bidirectional: bool = False) -> LSTM:
    torch.manual_seed(0)
    return LSTM(3, 4, layers, bidirectional=bidirectional).double()


def theirs(own: LSTM) -> nn.LSTM:
    other = nn.LSTM(3, 4, own.layers, batch_first=True, bidirectional=own.bidirectional).double()
    other.load_state_dict(own.state_dict())
    return other


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_equals_torch(layers: int, bidirectional: bool, fused: bool) -> None:
    own = layer(layers, bidirectional=bidirectional)
    with fused_kernels(fused):
        outputs, last = own(inputs())
    expected, (h, _) = theirs(own)(inputs())
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(last, h, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_equals_packed_sequences(bidirectional: bool, fused: bool) -> None:
    own = layer(2, bidirectional=bidirectional)
    packed = pack_padded_sequence(inputs(), LENGTHS, batch_first=True, enforce_sorted=False)
    expected, (h, _) = theirs(own)(packed)
    with fused_kernels(fused):
        outputs, last = own(inputs(), LENGTHS)
    torch.testing.assert_close(outputs, pad_packed_sequence(expected, batch_first=True)[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(last, h, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fused", [True, False])
def test_an_empty_sequence_leaves_zeros(fused: bool) -> None:
    outputs, last = run_lstm(layer().weights(), inputs(), torch.tensor([5, 0, 3, 1]), fused=fused)
    assert not outputs[1].any()
    assert not last[0, 1].any()
    nobody, last = run_lstm(layer().weights(), inputs()[:0], torch.tensor([], dtype=torch.int64), fused=fused)
    assert nobody.shape == (0, 5, 4)
    assert last.shape == (1, 0, 4)
    nothing, last = run_lstm(layer().weights(), inputs()[:, :0], torch.zeros(4, dtype=torch.int64), fused=fused)
    assert nothing.shape == (4, 0, 4)
    assert not last.any()


def test_a_given_state_and_single_steps_agree() -> None:
    own = layer(2)
    state = (torch.randn(2, 4, 4, dtype=torch.float64), torch.randn(2, 4, 4, dtype=torch.float64))
    expected, (h, _) = theirs(own)(inputs(), state)
    for fused in (True, False):
        outputs, last = run_lstm(own.weights(), inputs(), state=state, layers=2, fused=fused)
        torch.testing.assert_close((outputs, last), (expected, h), rtol=1e-12, atol=1e-14)
    steps = []
    for t in range(5):
        output, state = lstm_step(own.weights(), inputs()[:, t], state, layers=2)
        steps.append(output)
    torch.testing.assert_close(torch.stack(steps, 1), expected, rtol=1e-12, atol=1e-14)


def loss(weights: dict[str, Tensor], x: Tensor, fused: bool | None = None) -> Tensor:
    outputs, last = run_lstm(weights, x, LENGTHS.clamp_max(x.shape[1]), bidirectional=True, fused=fused)
    return (outputs**3).sum() + (last**2).sum()


def test_gradients_of_both_executions_agree() -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        weights = {name: w.detach().to(dtype) for name, w in layer(bidirectional=True).weights().items()}
        fused, written = (grad(loss)(weights, inputs(dtype), way) for way in (True, False))
        torch.testing.assert_close(fused, written, rtol=tolerance, atol=tolerance)


def test_gradient_by_finite_differences() -> None:
    names = list(layer(bidirectional=True).weights())
    leaves = [w.detach().requires_grad_() for w in layer(bidirectional=True).weights().values()]
    for fused in (True, False):
        assert torch.autograd.gradcheck(
            lambda *ws, fused=fused: loss(dict(zip(names, ws, strict=True)), inputs(), fused), leaves
        )


def test_second_order_is_written_out_where_it_is_asked_for() -> None:
    weights = {name: w.detach() for name, w in layer(bidirectional=True).weights().items()}

    def after_a_step(w: dict[str, Tensor]) -> Tensor:
        with differentiated_twice():
            slope = grad(loss)(w, inputs())
        return loss({name: value - 0.1 * slope[name] for name, value in w.items()}, inputs(), fused=False)

    def derivative(h: float) -> Tensor:
        return after_a_step({name: w + h * torch.ones_like(w) for name, w in weights.items()})

    with fused_kernels():
        exact = sum(float(g.sum()) for g in grad(after_a_step)(weights).values())
    assert exact == pytest.approx(float(derivative(1e-6) - derivative(-1e-6)) / 2e-6, rel=1e-6)


def test_differentiated_twice_does_not_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise RuntimeError("fused")

    monkeypatch.setattr("metacortex.nn.lstm._fused_scan", refuse)
    with fused_kernels():
        with differentiated_twice():
            layer()(inputs())
        with pytest.raises(RuntimeError, match="fused"), differentiated_twice(False):
            layer()(inputs())
    layer()(inputs())


def test_runs_under_vmap_with_weights_of_each_task() -> None:
    own = layer(bidirectional=True)
    many = {name: torch.stack([w, 2 * w]).detach() for name, w in own.weights().items()}
    together = vmap(loss, in_dims=(0, None))(many, inputs())
    alone = [loss({name: w[i] for name, w in many.items()}, inputs()) for i in range(2)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=1e-14)


def test_weights_from_outside_leave_the_layer_as_it_is() -> None:
    own = layer()
    before = own(inputs())[0]
    with fused_kernels():
        zero = functional_call(own, {name: torch.zeros_like(w) for name, w in own.weights().items()}, (inputs(),))[0]
    assert not zero.any()
    torch.testing.assert_close(own(inputs())[0], before, rtol=0, atol=0)


def test_reversal_by_length() -> None:
    x = torch.arange(6.0).reshape(2, 3, 1)
    assert reverse_sequences(x, torch.tensor([2, 0]))[..., 0].tolist() == [[1, 0, 2], [3, 4, 5]]
    assert reverse_sequences(x, None)[..., 0].tolist() == [[2, 1, 0], [5, 4, 3]]


def test_dropout_between_layers_while_training_only() -> None:
    torch.manual_seed(0)
    own = LSTM(3, 4, 2, dropout=0.5)
    x = inputs(torch.float32)
    assert not torch.equal(own(x)[0], own(x)[0])
    assert torch.equal(own.eval()(x)[0], own(x)[0])


def test_rounded_products_leave_the_fused_cells_exact() -> None:
    own, x = layer(bidirectional=True).float(), inputs(torch.float32)
    with fused_kernels():
        expected, _ = own(x, LENGTHS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs, _ = own(x, LENGTHS)
    torch.testing.assert_close(outputs, expected)
