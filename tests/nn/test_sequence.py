"""The LSTM backbone against torch.nn.LSTM, and what it takes for a sequence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metacortex.errors import SettingsError
from metacortex.nn.sequence import SequenceNet, SequenceNetSettings, as_sequence


def test_sequences() -> None:
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert as_sequence(image).shape == (1, 3, 8)
    assert as_sequence(image)[0, 1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert as_sequence(torch.ones(2, 5)).shape == (2, 5, 1)
    assert as_sequence(torch.ones(2, 5, 3)).shape == (2, 5, 3)


def test_features_are_the_last_state_of_the_last_layer() -> None:
    torch.manual_seed(0)
    net = SequenceNet((2, 3, 4), SequenceNetSettings(5, 2))
    other = nn.LSTM(8, 5, 2, batch_first=True)
    other.load_state_dict(net.lstm.state_dict())
    x = torch.randn(6, 2, 3, 4)
    torch.testing.assert_close(net(x), other(as_sequence(x))[1][0][-1], rtol=1e-5, atol=1e-6)


def test_impossible_nets_are_refused() -> None:
    with pytest.raises(SettingsError, match="expected inputs of shape"):
        SequenceNet((1, 2, 3, 4))
    with pytest.raises(SettingsError, match="at least 1"):
        SequenceNetSettings(hidden=0)
