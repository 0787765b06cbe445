"""Convolutions by patches, and what else is computed differently on a GPU under vmap, are what the layers say."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metacortex.engine.gradient import meta_gradient
from metacortex.learners.gradient.maml import MAML
from metacortex.nn import block, norm, patches
from metacortex.nn.block import convolution_block
from metacortex.nn.classifier import Classifier
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.nn.norm import BatchNorm, statistics_pass
from metacortex.nn.patches import Cut, gather, scatter
from metacortex.nn.standardise import standardise
from metacortex.task import stack_tasks
from metacortex.testing import blobs

CUTS = [
    Cut((6, 7), (3, 3), (2, 2), (1, 1)),
    Cut((7, 5), (3, 2), (1, 2), (1, 0)),
    Cut((5, 5), (1, 1), (2, 2), (0, 0)),
    Cut((6, 6), (2, 3), (3, 1), (0, 2)),
]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (block, norm, patches):
        monkeypatch.setattr(module, "on_gpu", lambda x: True)


@pytest.mark.parametrize("cut", CUTS)
def test_patches_are_those_of_torch(cut: Cut) -> None:
    x = draw(3, *cut.image, 4)
    got = gather(x, cut)
    columns = F.unfold(x.permute(0, 3, 1, 2), cut.kernel, padding=cut.padding, stride=cut.stride)
    expected = columns.view(3, 4, *cut.kernel, *cut.places).permute(0, 4, 5, 2, 3, 1)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("cut", CUTS)
def test_sums_are_the_adjoint(cut: Cut) -> None:
    x = draw(3, *cut.image, 4).requires_grad_()
    slopes = draw(*gather(x, cut).shape).requires_grad_()
    back = scatter(slopes, cut)
    assert back.shape == x.shape
    torch.testing.assert_close((gather(x, cut) * slopes).sum(), (x * back).sum())
    assert torch.autograd.gradgradcheck(lambda x: gather(x, cut).sin(), x)
    assert torch.autograd.gradcheck(lambda y: scatter(y, cut).sin(), slopes)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # PyTorch's own, in forward mode
def test_forward_mode() -> None:
    cut, x = CUTS[0], draw(3, 6, 7, 4)
    for way, at in ((gather, x), (scatter, gather(x, cut))):
        value, tangent = torch.func.jvp(lambda x, way=way: way(x, cut), (at,), (2 * at,))
        torch.testing.assert_close(tangent, 2 * value)


def test_tasks_are_more_images() -> None:
    cut, x = CUTS[0], draw(6, 7, 2, 3, 4)  # [H, W', T, N, C]
    got = vmap(lambda x: gather(x.permute(2, 0, 1, 3), cut), in_dims=2)(x)
    torch.testing.assert_close(got[1], gather(x[:, :, 1].permute(2, 0, 1, 3), cut))
    torch.testing.assert_close(vmap(lambda y: scatter(y, cut))(got)[0], scatter(got[0], cut))


@pytest.mark.usefixtures("as_on_gpu")
@pytest.mark.parametrize(
    ("reduction", "kind", "order", "steps", "policy"),
    [
        *itertools.product(["stride", "pool"], ["batch"], [1, 2], [1, 2], ["query-batch", "support"]),
        *itertools.product(["stride", "pool"], ["group", "none"], [2], [2], ["support"]),
    ],
)
def test_meta_gradients_are_those_of_the_loop(reduction, kind, order: int, steps: int, policy: str) -> None:
    torch.manual_seed(0)
    net = Classifier(Conv4((1, 9, 9), Conv4Settings(channels=6, blocks=2, reduction=reduction, norm=kind)), 3).double()
    for parameter in (*net.head.parameters(), *net.backbone.norms.parameters()):  # type: ignore[union-attr]
        nn.init.normal_(parameter)
    learner = MAML(net, 0.1, steps, order=order, norm=policy, unroll="graph").train()
    batch = stack_tasks([blobs(torch.Generator().manual_seed(i), shape=(1, 9, 9)) for i in range(3)])
    expected, _ = meta_gradient(learner, batch)
    got, _ = meta_gradient(learner, batch, strategy="vmap")
    torch.testing.assert_close({k: got[k] for k in expected}, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("as_on_gpu")
@pytest.mark.parametrize("reduction", ["stride", "pool"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bf16", 0.1)])
def test_rounded_meta_gradients_are_close(precision: str, tolerance: float, reduction) -> None:
    torch.manual_seed(0)
    net = Classifier(Conv4((1, 9, 9), Conv4Settings(channels=6, blocks=2, reduction=reduction)), 3)
    batch = stack_tasks([blobs(torch.Generator().manual_seed(i), shape=(1, 9, 9)) for i in range(3)])
    exact, _ = meta_gradient(MAML(net, 0.1, 1).double().train(), batch.to(torch.float64))
    got, _ = meta_gradient(
        MAML(net, 0.1, 1).float().train(), batch.to(torch.float32), strategy="vmap", precision=precision
    )
    a, b = (torch.cat([g[k].double().flatten() for k in sorted(exact)]) for g in (exact, got))
    assert float((a - b).norm() / a.norm()) < tolerance


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4), (2, 3, 2, 2)])
def test_standardised_values_and_statistics_have_derivatives(shape: tuple[int, ...]) -> None:
    x = (2 * draw(*shape) + 1).requires_grad_()
    weight, bias = (draw(2, shape[1]) + 0.5).requires_grad_().unbind()
    own = BatchNorm(shape[1]).double()
    with statistics_pass() as current:
        expected = functional_call(own, {"weight": weight, "bias": bias}, (x,))
    torch.testing.assert_close(standardise(x, weight, bias, own.eps), (expected, *current.seen[""]))
    assert torch.autograd.gradcheck(lambda *a: standardise(*a, own.eps), (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda *a: standardise(*a, own.eps), (x, weight, bias))


def layers(channels: int) -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(channels, 20, 3, 2, padding=1, bias=False), BatchNorm(20)

        def forward(self, x: Tensor) -> Tensor:
            return convolution_block(x, self.convolution, self.norm, pool=False)

    torch.manual_seed(0)
    return Block().double()


@pytest.mark.usefixtures("as_on_gpu")
@pytest.mark.parametrize("channels", [1, 8])
def test_inputs_have_derivatives_and_statistics_are_recorded(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is folded or cut may be the output of something that is learned."""
    module, x = layers(channels), draw(2, 4, channels, 6, 6) + 3
    weights = dict(module.named_parameters())

    def value(x: Tensor) -> tuple[Tensor, dict]:
        with statistics_pass(unbiased=True) as current:
            y = functional_call(module, weights, (x,))
        mean, var = current.seen[""]
        return y.sin().sum() + (mean * var).sum(), current.seen

    def second(x: Tensor) -> tuple[Tensor, dict]:
        slope, seen = grad(value, has_aux=True)(x)
        return slope.cos().sum(), seen

    got, seen = vmap(grad(second, has_aux=True))(x)
    monkeypatch.undo()
    expected, recorded = vmap(grad(second, has_aux=True))(x)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(seen, recorded)


@pytest.mark.usefixtures("as_on_gpu")
def test_only_what_fits_is_computed_by_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    x, seen = draw(2, 4, 6, 6), []

    def ask(convolution: nn.Conv2d, x: Tensor = x) -> bool:
        seen.clear()
        vmap(grad(lambda w: (seen.append(patches.by_patches(x, convolution)), w.sum())[1]))(torch.ones(2, 2))
        return seen[0]

    assert ask(nn.Conv2d(4, 2, 3, 2))
    assert not patches.by_patches(x, nn.Conv2d(4, 2, 3, 2))  # no vmap, the same weights for all
    grad(lambda w: (seen.append(patches.by_patches(x, nn.Conv2d(4, 2, 3, 2))), w.sum())[1])(torch.ones(2))
    assert not seen.pop()
    assert not ask(nn.Conv2d(4, 2, 3))
    assert not ask(nn.Conv2d(4, 2, 3, (1, 2)))
    assert not ask(nn.Conv2d(4, 2, 3, 2, groups=2))
    assert not ask(nn.Conv2d(4, 2, 3, 2, dilation=2))
    assert not ask(nn.Conv2d(4, 2, 3, 2, padding=1, padding_mode="circular"))
    assert not ask(nn.Conv2d(4, 2, 3, 2, padding="valid"))
    assert not ask(nn.Conv2d(4, 2, 3, 2), x[:0])
    monkeypatch.undo()
    assert not ask(nn.Conv2d(4, 2, 3, 2))
