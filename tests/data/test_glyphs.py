from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metacortex.data.dataset import SPLITS, Dataset
from metacortex.data.glyph_distort import draw, drawers
from metacortex.data.glyph_fonts import HELD_OUT, candidates, split_of
from metacortex.data.glyph_lookalikes import LIMIT, distinct, signatures, turned
from metacortex.data.glyph_render import FIELD, UNIT, fields, mask, thin
from metacortex.data.glyph_select import choose, glyph_fields
from metacortex.data.glyphs import load_glyphs
from metacortex.errors import SettingsError

A, ROUND, T = 0x41, 0x4F, 0x54
GREEK_ALPHA, CYRILLIC_A = 0x391, 0x410
SANS, SERIF, BOLD = 0, 1, 6


@pytest.fixture(scope="module")
def small() -> Dataset:
    return load_glyphs(limit=12, drawers=6)


def _signature(*codes: int) -> np.ndarray:
    return signatures(glyph_fields([(code, SANS) for code in codes])[0])


class TestClasses:
    def test_plenty_of_classes_in_every_split(self) -> None:
        counts = {split: sum(c.split == split for c in choose()) for split in SPLITS}
        assert 2000 <= counts["train"] <= 4000
        assert counts["val"] >= 80
        assert counts["test"] >= 100

    def test_whole_scripts_are_held_out(self) -> None:
        scripts = {split: {c.character.script for c in choose() if c.split == split} for split in SPLITS}
        assert scripts["test"] == set(HELD_OUT["test"])
        assert not scripts["train"] & (scripts["val"] | scripts["test"])
        assert not scripts["val"] & scripts["test"]
        assert {"Hebrew", "Lao", "N'Ko"} <= scripts["val"]
        assert (split_of("Latin"), split_of("N'Ko"), split_of("Georgian")) == ("train", "val", "test")

    def test_no_western_digits_and_no_unnamed_characters(self) -> None:
        codes = {c.code for c in candidates()}
        assert not codes & set(range(0x30, 0x3A))
        assert not codes & set(range(0x1D7CE, 0x1D800))  # mathematical bold … monospace digits
        assert not codes & set(range(0xE000, 0xF900))  # private use
        assert not codes & set(range(0x2800, 0x2900))  # braille

    def test_no_lookalikes_within_or_across_splits(self) -> None:
        rng = np.random.default_rng(0)
        picked = {s: [c for c in choose() if c.split == s] for s in SPLITS}
        train = [picked["train"][i] for i in rng.permutation(len(picked["train"]))[:300]]
        held = picked["val"] + picked["test"]
        seen, new = (
            signatures(glyph_fields([(c.character.code, c.character.fonts[0]) for c in part])[0])
            for part in (train, held)
        )
        for k in range(4):
            across = np.einsum("nij,mij->nm", new, turned(seen, k))
            assert across.max() < LIMIT
        within = np.einsum("nij,mij->nm", new, new)
        np.fill_diagonal(within, 0)
        assert within.max() < LIMIT

    def test_latin_greek_and_cyrillic_a_are_one_class(self) -> None:
        codes = {c.character.code for c in choose()}
        assert len(codes & {A, GREEK_ALPHA, CYRILLIC_A}) == 1

    def test_turns_that_make_no_other_class_are_left_out(self) -> None:
        turns = {c.character.code: c.turns for c in choose()}
        assert turns[ROUND] == (0,)
        assert turns[T] == (0,)  # there are tacks in all four directions
        assert sum(t == (0, 1, 2, 3) for t in turns.values()) > 500
        assert all(t[0] == 0 for t in turns.values())


class TestLookalikes:
    def test_same_shape_in_three_scripts_is_found_and_different_letters_are_not(self) -> None:
        marks = _signature(A, GREEK_ALPHA, CYRILLIC_A, T)
        assert distinct(marks).tolist() == [True, False, False, True]

    def test_against(self) -> None:
        assert distinct(_signature(A, T), _signature(GREEK_ALPHA)).tolist() == [False, True]

    def test_signatures_have_mean_zero_and_length_one(self) -> None:
        marks = _signature(A, T)
        np.testing.assert_allclose(marks.mean((1, 2)), 0, atol=1e-6)
        np.testing.assert_allclose((marks**2).sum((1, 2)), 1, rtol=1e-5)


class TestRendering:
    def test_glyph_is_centred_and_has_the_size_of_the_box(self) -> None:
        ink = mask(A, SANS)
        assert ink is not None
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        assert 40 <= max(np.ptp(rows), np.ptp(columns)) <= 48
        assert abs(rows.mean() - FIELD / 2) < 2
        assert abs(columns.mean() - FIELD / 2) < 2

    def test_what_has_no_ink_or_is_tiny_gives_none(self) -> None:
        assert mask(0x20, SANS) is None
        assert mask(0x2E, SANS) is None  # full stop

    def test_thinning_keeps_the_pieces_and_the_hole_and_leaves_one_pixel(self) -> None:
        ring = np.zeros((2, 32, 32), dtype=bool)
        ring[0, 8:24, 8:24] = True
        ring[0, 13:19, 13:19] = False
        ring[1, 14:18, 4:28] = True
        thinned = thin(ring)
        assert not (thinned & ~ring).any()
        assert thinned[0].any()
        assert not thinned[0, 13:19, 13:19].any()
        assert thinned[0, 16, :16].sum() == 1  # one wall on the left of the hole
        assert thinned[1].any(0).sum() >= 20  # a bar keeps its length
        assert thinned[1].sum(0).max() == 1

    def test_distances_are_euclidean(self) -> None:
        lines = np.zeros((1, FIELD, FIELD), dtype=bool)
        lines[0, 20, 30] = True
        field = fields(lines)[0][0]
        y, x = np.mgrid[:FIELD, :FIELD]
        expected = np.minimum(np.rint(np.hypot(y - 20, x - 30) * UNIT), 255)
        near = np.hypot(y - 20, x - 30) <= 7.9
        np.testing.assert_array_equal(field[near], expected[near])
        assert (field[~near] > 250).all()

    def test_filled_shapes_are_told_from_strokes(self) -> None:
        square, letter = np.zeros((FIELD, FIELD), dtype=bool), mask(A, BOLD)
        square[10:54, 10:54] = True
        assert letter is not None
        assert fields(np.stack([square, letter]))[1].tolist() == [False, True]


class TestDrawers:
    def test_more_drawers_keep_the_first_ones(self) -> None:
        few, many = drawers(3, A, 4), drawers(3, A, 9)
        for name in ("font", "matrix", "shift", "bend", "pen", "softness"):
            np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:4])

    def test_seed_and_character_matter(self) -> None:
        assert not np.array_equal(drawers(0, A, 1).bend, drawers(1, A, 1).bend)
        assert not np.array_equal(drawers(0, A, 1).bend, drawers(0, T, 1).bend)

    def test_matrix_undoes_scale_shear_and_turn(self) -> None:
        """The longer side of the glyph covers 9..24 pixels, whatever shear and turn do."""
        sides = np.linalg.det(drawers(0, A, 64).matrix) ** -0.5
        assert sides.min() > 8.9
        assert sides.max() < 24.1
        assert sides.std() > 2

    def test_a_finer_drawing_shows_the_same_shape(self) -> None:
        field = np.repeat(glyph_fields([(A, SERIF)])[0], 5, axis=0)
        coarse, fine = (draw(field, drawers(0, A, 5), size).astype(float) for size in (28, 84))
        shrunk = fine.reshape(5, 28, 3, 28, 3).mean((2, 4))
        for a, b in zip(coarse, shrunk, strict=True):
            assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95


class TestLoad:
    def test_every_class_has_all_its_drawings_with_ink_in_a_sane_range(self, small: Dataset) -> None:
        assert small.store.counts().tolist() == [6] * 36
        assert small.store.shape == (1, 28, 28)
        ink = np.asarray(small.store.examples).reshape(-1, 784).astype(float) / 255
        assert ink.sum(1).min() > 6  # pixels
        assert ink.mean(1).max() < 0.45
        assert ink.max(1).min() > 0.5
        assert 0.03 < ink.mean() < 0.14  # Omniglot at this size: 0.085

    def test_drawings_lie_inside_the_frame(self, small: Dataset) -> None:
        ink = np.asarray(small.store.examples)[:, 0].astype(float)
        border = ink.sum() - ink[:, 1:-1, 1:-1].sum()
        assert border / ink.sum() < 0.02

    def test_no_drawing_comes_twice(self, small: Dataset) -> None:
        images = np.asarray(small.store.examples).reshape(36, 6, -1)
        assert len(np.unique(images.reshape(216, -1), axis=0)) == 216

    def test_same_bytes_twice(self, small: Dataset, own_cache: Path) -> None:
        again = load_glyphs(limit=12, drawers=6)
        assert again.store.path != small.store.path
        assert str(again.store.path).startswith(str(own_cache))
        assert again.store.fingerprint == small.store.fingerprint
        np.testing.assert_array_equal(again.store.examples, small.store.examples)

    def test_another_seed_draws_the_same_characters_differently(self, small: Dataset) -> None:
        other = load_glyphs(limit=12, drawers=6, seed=1)
        assert [c.name for c in other.store.classes] == [c.name for c in small.store.classes]
        assert other.store.fingerprint != small.store.fingerprint

    def test_fewer_drawers_are_a_subset(self, small: Dataset) -> None:
        few = load_glyphs(limit=12, drawers=2)
        for index in range(len(few.store)):
            np.testing.assert_array_equal(few.store.of_class(index), small.store.of_class(index)[:2])

    def test_opened_from_the_cache_without_drawing(self, small: Dataset) -> None:
        calls: list[tuple[int, int]] = []
        again = load_glyphs(limit=12, drawers=6, progress=lambda done, of: calls.append((done, of)))
        assert again.store.path == small.store.path
        assert calls == []

    def test_progress(self, own_cache: Path) -> None:
        calls: list[tuple[int, int]] = []
        load_glyphs(limit=2, drawers=1, progress=lambda done, of: calls.append((done, of)))
        assert calls == [(i, 6) for i in range(1, 7)]

    def test_names_meta_and_groups(self, small: Dataset) -> None:
        view = small.splits["test"]
        info = small.store.classes[view.index[0]]
        code = int(info.meta["codepoint"][2:], 16)
        assert info.name == f"{info.meta['script']}/U+{code:04X} {chr(code)}"
        assert info.meta["character"] == chr(code)
        assert view.group is not None
        by_group = {g: small.store.classes[i].meta["script"] for g, i in zip(view.group, view.index, strict=True)}
        assert sorted(by_group.values()) == sorted(set(by_group.values()))
        assert set(by_group.values()) <= set(HELD_OUT["test"])

    def test_rotations_only_where_asked(self, small: Dataset) -> None:
        assert small.splits["train"].rotation.any()
        assert not small.splits["test"].rotation.any()
        assert not small.splits["val"].rotation.any()
        plain = load_glyphs(limit=12, drawers=6, rotations="none")
        assert not plain.splits["train"].rotation.any()
        assert len(plain.splits["train"]) == 12
        turned_test = load_glyphs(limit=12, drawers=6, rotations=("test",))
        assert len(turned_test.splits["test"]) > 12

    def test_groups_do_not_mix_orientations(self, small: Dataset) -> None:
        view = small.splits["train"]
        assert view.group is not None
        for group in np.unique(view.group):
            assert len(np.unique(view.rotation[view.group == group])) == 1

    def test_size(self) -> None:
        assert load_glyphs(limit=1, drawers=1, size=40).store.shape == (1, 40, 40)

    def test_protocol_names_what_changes_a_figure(self, small: Dataset) -> None:
        assert small.protocol == "held-out scripts (12/12/12 characters), train rotations, 28x28"
        assert small.within_group is False

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"size": 7}, "size must be a whole number in 8..128, got 7"),
            ({"size": 28.0}, "size must be"),
            ({"drawers": 0}, "drawers must be"),
            ({"drawers": True}, "drawers must be"),
            ({"limit": 0}, "limit must be"),
            ({"seed": -1}, "seed must be"),
            ({"rotations": "trian"}, "did you mean 'train'"),
        ],
    )
    def test_options_are_checked(self, options: dict, match: str) -> None:
        with pytest.raises(SettingsError, match=match):
            load_glyphs(**options)
