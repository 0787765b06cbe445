"""Which generated weights depend on what, against a learner whose codes are set by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from metacortex.errors import SettingsError
from metacortex.reports.translation_report import draw_dependence, draw_space
from metacortex.translation.interpretation import FACTORS, LanguageSpace, language_space, weight_dependence
from metacortex.translation.translator import TextRun


@pytest.fixture
def text(run: Path) -> TextRun:
    return TextRun(run)


def set_by_hand(text: TextRun, monkeypatch: pytest.MonkeyPatch, encoder: str, decoder: str) -> None:
    """Codes that follow one part of what is known: a position in the description, or the support."""
    learner: Any = text.learner
    with torch.no_grad():
        for generator in learner.generators.values():
            generator.linear.weight.normal_(std=0.1)

    def codes(support: Any, description: Any) -> dict[str, Tensor]:
        known = {
            "source": description["tokens"][: int(description["source_position"]) + 1].sum(),
            "support": support.targets.sum(),
            "nothing": torch.tensor(0),
        }
        found = {}
        for side, part in (("encoder", encoder), ("decoder", decoder)):
            drawn = torch.Generator().manual_seed(int(known[part]))
            found[side] = torch.randn(learner.reader.size, generator=drawn)
        return found

    monkeypatch.setattr(learner, "codes", codes)


def test_variance_goes_to_what_the_code_follows(text: TextRun, monkeypatch: pytest.MonkeyPatch) -> None:
    set_by_hand(text, monkeypatch, "source", "nothing")
    found = weight_dependence(text, languages=2, texts=1, sets=2, pairs=3)
    assert found.levels == {"source": 2, "target": 1, "wording": 1, "support": 2}
    assert found.shares["encoder.weight_hh_l0"]["source"] == pytest.approx(1.0)
    set_by_hand(text, monkeypatch, "support", "nothing")
    found = weight_dependence(text, languages=2, texts=1, sets=2, pairs=3)
    for name, shares in found.shares.items():
        if name.split(".")[0] in ("encoder", "bridge"):
            assert shares["support"] == pytest.approx(1.0)
            assert found.change[name] > 0
        else:
            assert set(shares.values()) == {0.0}
            assert found.change[name] == 0.0


def test_shares_sum_to_one(text: TextRun) -> None:
    found = weight_dependence(text, texts=3, sets=3, pairs=2)
    assert list(found.levels) == list(FACTORS)
    sums = [sum(shares.values()) for shares in found.shares.values()]
    assert sums == pytest.approx([1.0] * len(sums))
    assert all(0 <= share <= 1 for shares in found.shares.values() for share in shares.values())
    assert "embedding.weight" not in found.shares
    with pytest.raises(SettingsError, match="two languages"):
        weight_dependence(text, languages=1)


def test_languages_have_a_place(text: TextRun) -> None:
    space = language_space(text)
    assert list(space.languages) == ["de", "en", "fr"]
    assert space.points.shape == (3, 2)
    assert space.explained == pytest.approx(1.0)  # three points lie in a plane
    with Image.open(io.BytesIO(draw_space(space))) as picture:
        assert min(picture.size) > 200
    with Image.open(io.BytesIO(draw_dependence(weight_dependence(text, pairs=0)))) as picture:
        assert min(picture.size) > 200


def test_kin_are_counted() -> None:
    languages = dict.fromkeys(["fr", "es", "de", "nl", "hu"], "x")
    codes = np.array([[0.0, 0], [0, 1], [5, 0], [5, 1], [0, 2.5]])
    assert LanguageSpace(languages, codes, codes, 1.0).near_kin == (4, 4, 0.25)
    mixed = codes[[0, 2, 1, 3, 4]]
    assert LanguageSpace(languages, mixed, mixed, 1.0).near_kin[0] == 0
