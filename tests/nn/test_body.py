"""A base model under each norm policy."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from metacortex.errors import SettingsError
from metacortex.nn.body import NORM_POLICIES, Body
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.nn.mlp import MLP, MLPSettings
from metacortex.nn.mode import evaluating
from metacortex.nn.registry import backbone_names, make_backbone


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("norm", NORM_POLICIES)
def test_calls_change_nothing(norm: str) -> None:
    body = Body(model(), norm, 2)
    before = {k: v.clone() for k, v in body.state_dict().items()}
    for training in (True, False):
        body.train(training)
        body(body.weights(), torch.randn(5, 3), body.given(0))
    assert all(torch.equal(v, before[k]) for k, v in body.state_dict().items())


@pytest.mark.parametrize("norm", NORM_POLICIES)
def test_which_statistics_are_prescribed(norm: str) -> None:
    body = Body(model(), norm, 2)
    assert body.given(0) is None
    assert body.transductive == (norm == "query-batch")
    assert (body.eval().given(0) is None) == (norm in ("query-batch", "support"))
    assert not body.refreshes


def test_without_batch_norm_nothing_is_transductive() -> None:
    assert not Body(nn.Linear(3, 3), "query-batch").transductive


def test_per_step_keeps_one_row_for_each_step() -> None:
    body = Body(model(), "per-step", 2)
    seen = {k: {"1": (torch.full((4,), float(k)), torch.full((4,), 2.0))} for k in range(3)}
    buffers = body.refreshed(seen)
    torch.testing.assert_close(buffers["mean_1"][:, 0], torch.tensor([0.0, 0.1, 0.2]))
    body.load_state_dict({**body.state_dict(), **buffers})
    body.eval()
    torch.testing.assert_close(body.given(2)["1"][0], torch.full((4,), 0.2))
    torch.testing.assert_close(body.given(9)["1"][0], torch.full((4,), 0.2))


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown norm policy 'batch'"):
        Body(model(), "batch")


@pytest.mark.parametrize("name", [name for name in backbone_names() if name != "seq2seq"])
def test_backbones_tell_the_length_of_their_features(name: str) -> None:
    backbone = make_backbone(name, (3, 20, 20))
    assert backbone(torch.randn(2, 3, 20, 20)).shape == (2, backbone.features)


@pytest.mark.parametrize("reduction", ["pool", "stride"])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_conv4_variants(reduction: str, norm: str) -> None:
    net = Conv4((1, 13, 9), Conv4Settings(channels=6, blocks=3, reduction=reduction, norm=norm))
    assert net(torch.randn(2, 1, 13, 9)).shape == (2, net.features)


def test_conv4_with_a_width_for_each_block() -> None:
    net = Conv4((3, 16, 16), Conv4Settings(widths=(6, 8, 10), blocks=9, channels=99))
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, net.features) == (2, 10 * 2 * 2)
    assert [c.out_channels for c in net.convolutions] == [6, 8, 10]
    torch.manual_seed(0)
    plain = Conv4((1, 8, 8), Conv4Settings(channels=4, blocks=2)).state_dict()
    torch.manual_seed(0)
    listed = Conv4((1, 8, 8), Conv4Settings(widths=(4, 4))).state_dict()
    assert all(torch.equal(value, listed[name]) for name, value in plain.items())


@pytest.mark.parametrize(
    ("init", "deviation"), [("uniform", 1 / (3 * 40) ** 0.5), ("he", 0.05**0.5), ("small", 0.0088)]
)
def test_mlp_initial_weights(init: str, deviation: float) -> None:
    torch.manual_seed(0)
    net = MLP((1,), MLPSettings((40, 40), init=init))
    assert net.features == 40
    layers = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(1, 40), (40, 40)]
    assert float(layers[1].weight.detach().std()) == pytest.approx(deviation, rel=0.05)
    assert bool(layers[1].bias.any()) == (init == "uniform")
    if init == "small":
        assert float(layers[1].weight.detach().abs().max()) <= 0.02


def test_impossible_backbones_are_refused() -> None:
    with pytest.raises(SettingsError, match="vanishes after 4 blocks"):
        Conv4((1, 8, 8))
    with pytest.raises(SettingsError, match="at least 1"):
        Conv4Settings(channels=0)
    with pytest.raises(SettingsError, match="widths must be"):
        Conv4Settings(widths=(8, 0))
    with pytest.raises(SettingsError, match="did you mean 'small'"):
        MLPSettings(init="smal")
    with pytest.raises(SettingsError, match="hidden widths"):
        MLPSettings(hidden=())
    with pytest.raises(SettingsError, match="did you mean 'channels'"):
        make_backbone("conv4", (1, 28, 28), chanels=3)
    with pytest.raises(SettingsError, match="did you mean 'mlp'"):
        make_backbone("mpl", (1, 28, 28))


def test_mlp_with_batch_norm() -> None:
    assert MLP((2, 3), MLPSettings((5,), "batch"))(torch.randn(4, 2, 3)).shape == (4, 5)


def test_evaluating_gives_each_module_its_mode_back() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout()))
    net[1].eval()
    net.train()
    net[1][0].eval()
    with pytest.raises(ValueError, match="stop"), evaluating(net):  # noqa: PT012
        assert not any(m.training for m in net.modules())
        raise ValueError("stop")
    assert [m.training for m in net.modules()] == [True, True, True, False]


def test_threads_take_turns() -> None:
    """Calls at once, each with weights of its own, answer as calls one after the other; copies need not wait."""
    body = Body(nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)))
    inputs = torch.randn(200, 4)
    weights = [{name: w + k for name, w in body.weights().items()} for k in range(8)]
    with torch.no_grad():
        expected = [body(w, inputs)[0] for w in weights]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(20):
                for found, value in zip(pool.map(lambda w: body(w, inputs)[0], weights), expected, strict=True):
                    torch.testing.assert_close(found, value)
        again = pickle.loads(pickle.dumps(body))
        torch.testing.assert_close(again(weights[3], inputs)[0], expected[3])
