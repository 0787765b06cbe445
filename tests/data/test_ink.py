from __future__ import annotations

import numpy as np
import pytest

from metacortex.data.glyph_pens import draw_with_all_pens
from metacortex.data.glyphs import load_glyphs, load_glyphs_pens
from metacortex.data.ink import INK_SHARE, frame, stretch
from metacortex.errors import SettingsError


def bar(height: int, width: int, at: tuple[int, int] = (5, 7), ink: int = 200, ground: int = 0) -> np.ndarray:
    sheet = np.full((60, 90), ground, np.uint8)
    sheet[at[0] : at[0] + height, at[1] : at[1] + width] = ink
    return sheet


class TestFrame:
    def test_longer_side_and_middle(self) -> None:
        framed = frame(bar(40, 10), 28)
        rows, columns = np.nonzero(framed > 127)
        assert abs((rows.max() - rows.min() + 1) - 28 * INK_SHARE) <= 1
        assert abs((columns.max() - columns.min() + 1) - 28 * INK_SHARE / 4) <= 1
        assert abs(rows.mean() - 13.5) <= 0.5
        assert abs(columns.mean() - 13.5) <= 0.5

    def test_place_size_level_and_ground_are_forgotten(self) -> None:
        one = frame(bar(20, 10)).astype(int)
        assert np.array_equal(one, frame(bar(20, 10, at=(33, 60))))
        # Edges are softer where pixels are larger; the middle and the ground are the same.
        large = frame(bar(40, 20)).astype(int)
        assert np.array_equal(one > 127, large > 127)
        assert np.abs(one - frame(bar(20, 10, ink=130, ground=40))).max() <= 1

    def test_ink_at_the_border_of_the_sheet(self) -> None:
        sheet = np.zeros((8, 8), np.uint8)
        sheet[:, 3:5] = 255
        framed = frame(sheet)
        assert framed.max() == 255
        assert framed[:3].max() == 0  # the square reaches beyond the sheet

    def test_shift_and_zoom(self) -> None:
        plain, moved = frame(bar(40, 20)), frame(bar(40, 20), shift=(3.0, -2.0))
        assert np.array_equal(np.roll(plain, (3, -2), (0, 1)), moved)
        rows = np.flatnonzero((frame(bar(40, 20), zoom=0.5) > 127).any(1))
        assert len(rows) == 10
        assert abs(rows.mean() - 13.5) <= 0.5

    def test_nothing_to_see(self) -> None:
        assert not frame(np.full((9, 9), 77, np.uint8)).any()
        assert not stretch(np.full((9, 9), 77, np.uint8)).any()


class TestPens:
    def test_a_function_of_seed_and_drawer(self) -> None:
        few, more = load_glyphs_pens(limit=2, drawers=3), load_glyphs_pens(limit=2, drawers=5)
        assert few.store.shape == (1, 28, 28)
        for index in range(len(few.store.classes)):
            assert np.array_equal(few.store.of_class(index), more.store.of_class(index)[:3])

    def test_pens_differ_and_fine_ones_do_not_change(self) -> None:
        drawn, fine = load_glyphs_pens(limit=4, drawers=12), load_glyphs(limit=4, drawers=12)
        assert drawn.name == "glyphs_pens"
        assert "all pens" in drawn.protocol

        def ink(data: object) -> np.ndarray:
            return np.array([(x > 127).mean() for c in range(4) for x in data.store.of_class(c)])  # type: ignore[attr-defined]

        assert ink(drawn).std() > 1.5 * ink(fine).std()

    def test_framed(self) -> None:
        images = load_glyphs_pens(limit=3, drawers=4).store.examples[:, 0]
        assert images.max() == 255
        assert not images[:, :1].any()  # 20 pixels of ink, 10 % larger, 1.5 beside the middle
        assert not images[:, :, :1].any()

    def test_unknown_pens(self) -> None:
        with pytest.raises(SettingsError, match="pens must be"):
            load_glyphs(pens="crayon")  # type: ignore[arg-type]

    def test_names_are_exported(self) -> None:
        assert draw_with_all_pens.__doc__
