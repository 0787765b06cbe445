from __future__ import annotations

import errno
import json
import multiprocessing
import pickle
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.data.sources import load_dataset
from metacortex.data.store import FORMAT, ClassInfo, ClassStore, build_store, open_or_build
from metacortex.errors import DataError


def small(path: Path, fill: int = 0) -> ClassStore:
    return build_store(
        path, "small", (1, 2, 2), [(n, [np.full((1, 2, 2), i + fill, np.uint8)] * (i + 1)) for i, n in enumerate("ab")]
    )


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=6), st.integers(1, 4), min_size=1, max_size=6),
    st.sampled_from([((1, 3, 2), "uint8"), ((5,), "float32")]),
    st.integers(0, 9),
)
def test_round_trip(counts: dict[str, int], kind: tuple[tuple[int, ...], str], seed: int) -> None:
    shape, dtype = kind
    rng = np.random.default_rng(seed)
    content = {n: (rng.random((c, *shape)) * 255).astype(dtype) for n, c in counts.items()}
    with tempfile.TemporaryDirectory() as folder:
        items = [(ClassInfo(n, len(x), {"of": n}), list(x)) for n, x in content.items()]
        store = build_store(Path(folder) / "s", "random", shape, items, dtype=dtype)
        names = [c.name for c in store.classes]
        assert names == sorted(content)
        assert store.offsets[0] == 0
        assert store.offsets[-1] == len(store.examples) == sum(counts.values())
        assert store.counts().tolist() == [counts[n] for n in names]
        for i, name in enumerate(names):
            assert np.array_equal(store.of_class(i), content[name])
            assert store.classes[i].meta == {"of": name}
        store.verify()
        again = ClassStore.open(Path(folder) / "s")
        assert again.fingerprint == store.fingerprint
        assert again.classes == store.classes
        labels = [n for n, x in content.items() for _ in x]
        rows = np.concatenate(list(content.values()))
        order = sorted(content)
        memory = ClassStore.from_arrays(rows, [order.index(x) for x in labels], order, meta=[{"of": n} for n in order])
        assert memory.fingerprint == store.fingerprint


def test_read_only_and_pickled_by_path(tmp_path: Path) -> None:
    store = small(tmp_path / "s")
    with pytest.raises(ValueError, match="read-only"):
        store.examples[0] = 1
    packed = pickle.dumps(store)
    assert len(packed) < 300
    assert np.array_equal(pickle.loads(packed).examples, store.examples)
    memory = ClassStore.from_arrays(np.ones((2, 3), np.float32), [0, 1])
    assert pickle.loads(pickle.dumps(memory)).fingerprint == memory.fingerprint


def test_shown_in_a_line(tmp_path: Path) -> None:
    assert repr(small(tmp_path / "s")).startswith("<ClassStore small: 2 classes, 3 examples of shape (1, 2, 2) in ")
    assert len(repr(load_dataset("digits"))) < 1500


def test_fingerprint_tells_content(tmp_path: Path) -> None:
    one, same, other = small(tmp_path / "a"), small(tmp_path / "b"), small(tmp_path / "c", fill=1)
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "there is no class"),
        ([("a", [])], "class 'a': has 0 examples"),
        ([("a", [np.zeros((1, 2, 2), np.uint8)]), ("a", [])], "class 'a' comes twice"),
        ([(ClassInfo("a", 3), [np.zeros((1, 2, 2), np.uint8)])], "has 1 examples, needs 3"),
        ([("a", [np.zeros((2, 2), np.uint8)])], "example 0: expected"),
        ([("a", [np.zeros((1, 2, 2), np.float32)])], "float32"),
    ],
)
def test_bad_classes_leave_nothing(tmp_path: Path, classes: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_store(tmp_path / "s", "bad", (1, 2, 2), classes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["head", "garbage", "examples", "longer", "no head", "field", "count"])
def test_damage_is_found_and_repaired(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s"
    print_ = small(path).fingerprint
    head, data = path / "store.json", path / "examples.bin"
    text = head.read_text()
    if damage == "head":
        head.write_text(text[: len(text) // 2])
    elif damage == "garbage":
        head.write_bytes(b"\xff\xfe\x00[]")
    elif damage == "examples":
        data.write_bytes(data.read_bytes()[:-1])
    elif damage == "longer":
        data.write_bytes(data.read_bytes() + b"x")
    elif damage == "no head":
        head.unlink()
    else:
        content = json.loads(text)
        if damage == "field":
            del content["shape"]
        else:
            content["classes"][0][1] += 1
        head.write_text(json.dumps(content))
    with pytest.raises(DataError, match="damaged"):
        ClassStore.open(path)
    assert open_or_build(path, lambda: small(path)).fingerprint == print_
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_changed_example_is_found_by_verify(tmp_path: Path) -> None:
    small(tmp_path / "s")
    data = tmp_path / "s" / "examples.bin"
    data.write_bytes(b"\x07" + data.read_bytes()[1:])
    with pytest.raises(DataError, match="fingerprint"):
        ClassStore.open(tmp_path / "s").verify()


def test_newer_format_is_refused_and_kept(tmp_path: Path) -> None:
    small(tmp_path / "s")
    head = tmp_path / "s" / "store.json"
    head.write_text(head.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    with pytest.raises(DataError, match="newer metacortex"):
        open_or_build(tmp_path / "s", lambda: pytest.fail("a newer store must not be replaced"))
    assert head.is_file()


def test_full_disk(tmp_path: Path) -> None:
    # a limit on file size stops the writing half-way, as a full disk does
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    block = np.zeros((1, 64, 64), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(DataError, match="free some space") as caught:
            build_store(tmp_path / "s", "big", block.shape, [("a", [block] * 50)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno in (errno.EFBIG, errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        small(tmp_path / "file" / "s")


def _build(path: str, gate, results) -> None:
    gate.wait(60)
    results.put(small(Path(path)).fingerprint)


def test_two_processes_build_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_build, args=(str(tmp_path / "s"), gate, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    prints = {results.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert [w.exitcode for w in workers] == [0, 0]
    assert prints == {ClassStore.open(tmp_path / "s").fingerprint}
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_loser_uses_the_winners_store(tmp_path: Path) -> None:
    def slow():
        yield np.zeros((1, 2, 2), np.uint8)
        small(tmp_path / "s")  # another process finishes first

    store = build_store(tmp_path / "s", "slow", (1, 2, 2), [("x", slow())])
    assert [c.name for c in store.classes] == ["a", "b"]
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_of_class_checks_its_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes 0\.\.1, got index 2"):
        small(tmp_path / "s").of_class(2)
