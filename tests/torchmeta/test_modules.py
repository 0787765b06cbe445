"""Layers: bit for bit those of torch, with parameters of their own and with parameters from outside."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import torchmeta.modules as tm
from torchmeta.modules.utils import get_subdict
from torchmeta.utils.gradient_based import gradient_update_parameters

Make = Callable[..., nn.Module]

LAYERS: list[tuple[str, dict, Callable[[], tuple[Tensor, ...]]]] = [
    ("Linear", {"in_features": 3, "out_features": 4}, lambda: (torch.randn(2, 3),)),
    ("Linear", {"in_features": 3, "out_features": 4, "bias": False}, lambda: (torch.randn(2, 3),)),
    (
        "Bilinear",
        {"in1_features": 3, "in2_features": 2, "out_features": 4},
        lambda: (torch.randn(2, 3), torch.randn(2, 2)),
    ),
    (
        "Conv1d",
        {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        lambda: (torch.randn(2, 2, 7),),
    ),
    (
        "Conv2d",
        {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "stride": 2},
        lambda: (torch.randn(2, 2, 7, 7),),
    ),
    (
        "Conv3d",
        {"in_channels": 2, "out_channels": 2, "kernel_size": 2, "groups": 2},
        lambda: (torch.randn(2, 2, 3, 3, 3),),
    ),
    ("BatchNorm1d", {"num_features": 3}, lambda: (torch.randn(4, 3),)),
    ("BatchNorm2d", {"num_features": 3, "momentum": None}, lambda: (torch.randn(4, 3, 2, 2),)),
    ("BatchNorm3d", {"num_features": 3, "track_running_stats": False}, lambda: (torch.randn(4, 3, 2, 2, 2),)),
    ("BatchNorm2d", {"num_features": 3, "affine": False}, lambda: (torch.randn(4, 3, 2, 2),)),
    ("LayerNorm", {"normalized_shape": [3, 2]}, lambda: (torch.randn(4, 3, 2),)),
    (
        "Embedding",
        {"num_embeddings": 5, "embedding_dim": 3, "padding_idx": 0},
        lambda: (torch.tensor([[0, 4], [2, 1]]),),
    ),
    (
        "EmbeddingBag",
        {"num_embeddings": 5, "embedding_dim": 3, "mode": "sum"},
        lambda: (torch.tensor([0, 4, 2, 1]), torch.tensor([0, 3])),
    ),
]


@pytest.mark.parametrize(("name", "options", "make"), LAYERS, ids=[f"{n}{i}" for i, (n, _, _) in enumerate(LAYERS)])
@pytest.mark.parametrize("training", [True, False])
def test_layers_equal_those_of_torch(name: str, options: dict, make: Callable, training: bool) -> None:
    torch.manual_seed(0)
    theirs = getattr(nn, name)(**options).train(training)
    ours = getattr(tm, f"Meta{name}")(**options).train(training)
    ours.load_state_dict(theirs.state_dict())
    assert [n for n, _ in ours.meta_named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for _ in range(2):  # running statistics move twice
        inputs = make()
        assert torch.equal(ours(*inputs), theirs(*inputs))
    for (key, mine), (_, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert torch.equal(mine, other), key


@pytest.mark.parametrize(("name", "options", "make"), LAYERS, ids=[f"{n}{i}" for i, (n, _, _) in enumerate(LAYERS)])
def test_parameters_from_outside(name: str, options: dict, make: Callable) -> None:
    torch.manual_seed(0)
    ours, theirs = getattr(tm, f"Meta{name}")(**options), getattr(nn, name)(**options)
    params = OrderedDict((k, torch.randn_like(p)) for k, p in theirs.named_parameters())
    theirs.load_state_dict({**theirs.state_dict(), **params})
    for _ in range(2):
        inputs = make()
        assert torch.equal(ours(*inputs, params=params), theirs(*inputs))
    for key, buffer in ours.named_buffers():
        assert torch.equal(buffer, theirs.state_dict()[key]), key


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention(batch_first: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(4, 2, batch_first=batch_first)
    torch.manual_seed(0)
    ours = tm.MetaMultiheadAttention(4, 2, batch_first=batch_first)
    assert isinstance(ours.out_proj, tm.MetaLinear)
    assert {k: v.tolist() for k, v in ours.state_dict().items()} == {
        k: v.tolist() for k, v in theirs.state_dict().items()
    }
    x, mask = torch.randn(3, 3, 4), torch.zeros(3, 3, dtype=torch.bool)
    for mine, other in zip(ours(x, x, x, mask), theirs(x, x, x, mask), strict=True):
        assert torch.equal(mine, other)
    params = OrderedDict((k, torch.randn_like(p).requires_grad_()) for k, p in theirs.named_parameters())
    theirs.load_state_dict(params)
    for mine, other in zip(ours(x, x, x, params=params), theirs(x, x, x), strict=True):
        assert torch.equal(mine, other)
    with pytest.raises(KeyError):
        ours(x, x, x, params={"in_proj_weight": params["in_proj_weight"]})


def test_sequences_hand_parameters_down() -> None:
    model = tm.MetaSequential(tm.MetaLinear(2, 3), nn.ReLU(), nn.Linear(3, 3), tm.MetaLinear(3, 1))
    names = [n for n, _ in model.meta_named_parameters()]
    assert names == ["0.weight", "0.bias", "3.weight", "3.bias"]  # ANIL: a plain layer is invisible
    assert len(list(model.meta_parameters())) == 4
    assert [n for n, _ in model.meta_named_parameters(prefix="net")] == [f"net.{n}" for n in names]
    params = OrderedDict((n, torch.zeros_like(p)) for n, p in model.meta_named_parameters())
    assert torch.equal(model(torch.ones(4, 2), params=params), torch.zeros(4, 1))


def test_get_subdict() -> None:
    model = tm.MetaSequential(tm.MetaLinear(2, 3), tm.MetaLinear(3, 1))
    params = OrderedDict(model.meta_named_parameters())
    assert model.get_subdict(None, "0") is None
    assert list(model.get_subdict(params) or {}) == list(params)
    assert list(model.get_subdict(params, "1") or {}) == ["weight", "bias"]
    x = torch.ones(1, 2)
    with pytest.warns(UserWarning, match="no parameter of the submodule '1'"):
        partial = model(x, params={k: v for k, v in params.items() if k.startswith("0.")})
    assert torch.equal(partial, model(x))
    with pytest.raises(KeyError):
        tm.MetaLinear(2, 3)(x, params={"bias": torch.zeros(3)})
    layer = tm.MetaLinear(2, 3)
    assert torch.equal(layer(x, params={"weight": layer.weight}), x @ layer.weight.T)  # no bias there: none


def test_old_get_subdict() -> None:
    with pytest.warns(DeprecationWarning, match=r"use self\.get_subdict"):
        assert get_subdict(None, "a") is None
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert get_subdict({"a.b": 1}) == {"a.b": 1}
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert get_subdict({"module.a.b": 1, "c.d": 2}, "a") == {"b": 1}
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert get_subdict({"a.b": 1, "ab.c": 2}, "a") == {"b": 1}


def test_shared_parameters_come_once() -> None:
    model = tm.MetaSequential(tm.MetaLinear(2, 2), tm.MetaLinear(2, 2))
    model[1].weight = model[0].weight
    assert [n for n, _ in model.meta_named_parameters()] == ["0.weight", "0.bias", "1.bias"]


class Reader(tm.MetaModule):
    """An LSTM below a layer that is adapted."""

    def __init__(self, wrapped: bool) -> None:
        super().__init__()
        self.lstm = tm.MetaWrap(nn.LSTM(2, 3)) if wrapped else nn.LSTM(2, 3)
        self.head = tm.MetaLinear(3, 1)

    def forward(self, x: Tensor, params: tm.module.Parameters | None = None) -> Tensor:
        if isinstance(self.lstm, tm.MetaWrap):
            out, _ = self.lstm(x, params=self.get_subdict(params, "lstm"))
        else:
            out, _ = self.lstm(x)
        return self.head(out[-1], params=self.get_subdict(params, "head"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_lstm_inside(wrapped: bool) -> None:
    """Plain: trained through the inner loop, but not adapted. Wrapped: adapted as well."""
    torch.manual_seed(0)
    model, x, y = Reader(wrapped).double(), torch.randn(4, 5, 2).double(), torch.randn(5, 1).double()
    assert len(list(model.meta_parameters())) == (6 if wrapped else 2)
    before = (model(x) - y).square().mean()
    params = gradient_update_parameters(model, before, step_size=0.1)
    after = (model(x, params=params) - y).square().mean()
    assert after < before
    after.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_data_parallel_without_devices() -> None:
    model = tm.MetaLinear(2, 1)
    parallel, x = tm.DataParallel(model), torch.ones(3, 2)
    names = [n for n, _ in parallel.meta_named_parameters()]
    assert names == ["module.weight", "module.bias"]
    params = {n: torch.zeros_like(p) for n, p in parallel.meta_named_parameters()}
    assert torch.equal(parallel(x, params=params), torch.zeros(3, 1))
    assert torch.equal(parallel(x, params={k.removeprefix("module."): v for k, v in params.items()}), torch.zeros(3, 1))
    assert torch.equal(parallel(x), model(x))


def test_parameters_go_whole_to_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        nn.DataParallel, "scatter", lambda self, inputs, kwargs, ids: ([inputs] * 2, [dict(kwargs)] * 2)
    )
    parallel = tm.DataParallel(tm.MetaLinear(2, 1))
    params, devices = {"weight": torch.ones(1, 2)}, [torch.device("cpu")] * 2
    _, options = parallel.scatter((torch.ones(4, 2),), {"params": params, "other": 1}, devices)
    assert [sorted(o) for o in options] == [["other", "params"]] * 2
    assert all(torch.equal(o["params"]["weight"], params["weight"]) for o in options)
    _, options = parallel.scatter((torch.ones(4, 2),), {}, devices)
    assert list(options) == [{}, {}]
