"""The networks: of stock layers as any user would write them, and metacortex's of the same function."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from metacortex.nn.classifier import Classifier
from metacortex.nn.conv4 import Conv4, Conv4Settings
from metacortex.nn.lstm import LSTM, run_lstm
from metacortex.nn.resnet12 import ResNet12, ResNet12Settings

__all__ = ["conv4", "lstm", "own_conv4", "own_lstm", "own_resnet12", "perceptron", "resnet12", "transformer"]

_WAY = 5


class _Perceptron(nn.Sequential):
    features = 40

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())


class _Conv4(nn.Module):
    """Four blocks: pooling before the ReLU, channels-last weights."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if i == 0 else width, width, 3, padding=1, bias=False) for i in range(4)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, track_running_stats=False) for _ in range(4))
        self.features = width * (size >> 4) ** 2
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(F.max_pool2d(norm(convolution(x)), 2))
        return x.flatten(1)


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        channels = [inputs, width, width, width]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, width, 3, padding=1, bias=False) for a in channels[:3])
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, track_running_stats=False) for _ in range(3))
        self.shortcut = nn.Conv2d(inputs, width, 1, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(width, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norms[0](self.convolutions[0](x)), 0.1)
        y = F.leaky_relu(self.norms[1](self.convolutions[1](y)), 0.1)
        y = self.norms[2](self.convolutions[2](y)) + self.shortcut_norm(self.shortcut(x))
        return F.leaky_relu(F.max_pool2d(y, 2), 0.1)


class _ResNet12(nn.Module):
    """Without dropout, which would make every step another one."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        channels = (3, *widths)
        self.blocks = nn.Sequential(*(_ResidualBlock(a, b) for a, b in zip(channels, widths, strict=False)))
        self.features = widths[-1]
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x).mean((2, 3))


class _Transformer(nn.Module):
    """One encoder layer; PyTorch's fused attention cannot be differentiated twice, so the plain one is asked for."""

    features = 32

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, self.features)
        self.layer = nn.TransformerEncoderLayer(self.features, 4, 64, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return self.layer(self.embed(x)).mean(1)


class _LSTM(nn.Module):
    """The last output; the fused kernels of oneDNN cannot be differentiated twice, so they are switched off."""

    features = 64

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, self.features, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of GPUs that are not here
            with torch.backends.mkldnn.flags(enabled=False):
                return self.lstm(x)[0][:, -1]


class _OwnLSTM(nn.Module):
    features = 64

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = LSTM(width, self.features)

    def forward(self, x: Tensor) -> Tensor:
        return run_lstm(self.lstm.weights(), x, fused=False)[0][:, -1]


def _with_head(backbone: nn.Module, outputs: int = _WAY) -> nn.Module:
    model = Classifier(backbone, outputs)
    model.head.reset_parameters()  # a head of zeros would hide the second derivatives of the body
    return model


def perceptron() -> nn.Module:
    """1-40-40-1."""
    torch.manual_seed(0)
    return _with_head(_Perceptron(), 1)


def conv4(channels: int, size: int, width: int = 64) -> nn.Module:
    """Conv4 with a head for five classes."""
    torch.manual_seed(0)
    return _with_head(_Conv4(channels, size, width))


def own_conv4(channels: int, size: int, width: int = 64) -> nn.Module:
    """metacortex's."""
    return Classifier(Conv4((channels, size, size), Conv4Settings(channels=width)), _WAY)


def resnet12(widths: tuple[int, ...] = (64, 160, 320, 640)) -> nn.Module:
    """The wide ResNet-12 for 84×84 images."""
    torch.manual_seed(0)
    return _with_head(_ResNet12(widths))


def own_resnet12() -> nn.Module:
    """metacortex's."""
    return Classifier(ResNet12((3, 84, 84), ResNet12Settings(drop=0.0)), _WAY)


def transformer(width: int = 8) -> nn.Module:
    """An encoder layer, mean over the sequence, and a head."""
    torch.manual_seed(0)
    return _with_head(_Transformer(width))


def lstm(width: int = 8) -> nn.Module:
    """An LSTM of 64 units and a head on its last output."""
    torch.manual_seed(0)
    return _with_head(_LSTM(width))


def own_lstm(width: int = 8) -> nn.Module:
    """metacortex's."""
    return Classifier(_OwnLSTM(width), _WAY)
