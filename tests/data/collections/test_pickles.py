from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from metacortex.data.collections.pickles import read_pickle
from metacortex.errors import DataError

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    np.arange(6.0)[::2],
    np.array(["a", "bc"]),
    np.array([True, False]),
    np.zeros((0, 3), np.float32),
    np.array(7),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
def test_arrays_of_every_protocol(array: np.ndarray, protocol: int) -> None:
    content = {"data": array, "rows": [array, {"deep": array}], "name": "x", "number": np.int64(3), "raw": b"\x00\xff"}
    read = read_pickle(pickle.dumps(content, protocol))
    for found in (read["data"], read["rows"][0], read["rows"][1]["deep"]):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert (read["name"], read["number"], read["raw"]) == ("x", 3, b"\x00\xff")
    assert np.array_equal(read_pickle(pickle.dumps(array, protocol)), array)


def test_as_python_2_and_numpy_1_wrote_it() -> None:
    """Protocol 2 of Python 2: byte strings everywhere, the old name of numpy's module."""
    old = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x06\x00\x01\x02\x80\xfe\xfftbs."
    )
    assert read_pickle(old)["data"].tolist() == [[0, 1, 2], [128, 254, 255]]
    assert read_pickle(pickle.dumps(OrderedDict(a=1), 2)) == {"a": 1}


class Evil:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_not_run(tmp_path: Path, protocol: int) -> None:
    ran = tmp_path / "ran"
    for evil in (Evil(os.system, f"touch {ran}"), Evil(eval, f"open({str(ran)!r}, 'w')"), Evil(np.load, str(ran))):
        with pytest.raises(DataError, match=r"asks for .* do not trust it"):
            read_pickle(pickle.dumps({"data": evil}, protocol), "bad.pkl")
    assert not ran.exists()


@pytest.mark.parametrize(
    "program",
    [
        pickle.dumps(np.array([1, "a", None], dtype=object)),
        pickle.dumps(np.zeros(2, [("a", "i4")])),
        pickle.dumps(np.datetime64("2020-01-01")),
        b"\x80\x02cnumpy\ndtype\n}U\x09_functionK\x01sb.",  # state for a function
        b"\x80\x02cnumpy\ndtype\n(NcnumPy\nx\n.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # __new__ of a function
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01J\xff\xff\xff\x7fNK\x00U\x00tb.",
        b"\x80\x02cposix\nsystem\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__class__\x93.",
        b"\x80\x02(i__main__\nEvil\n.",
        b"<html><body>not found</body></html>",
        b"",
    ],
)
def test_everything_else_is_refused(program: bytes) -> None:
    with pytest.raises(DataError, match="pickle"):
        read_pickle(program)


def test_sizes_must_fit() -> None:
    good = pickle.dumps(np.arange(40, dtype=np.uint8).reshape(5, 8), 2)
    assert b"K\x05K\x08\x86" in good
    with pytest.raises(DataError, match=r"an array of shape \(5, 9\) in 40 bytes"):
        read_pickle(good.replace(b"K\x05K\x08\x86", b"K\x05K\x09\x86"))


def test_cut_short_anywhere() -> None:
    content = pickle.dumps({"data": np.arange(50), "labels": [1, 2, 3]}, 2)
    for end in range(0, len(content), 3):
        with pytest.raises(DataError, match="damaged or cut short"):
            read_pickle(content[:end])


def test_lists_that_hold_themselves() -> None:
    knot: list[object] = [np.arange(2)]
    knot.append(knot)
    read = read_pickle(pickle.dumps(knot))
    assert read[1] is read
    assert read[0].tolist() == [0, 1]


def test_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.pkl: there is no such file"):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="cannot read"):
        read_pickle(tmp_path)
    assert read_pickle(io.BytesIO(pickle.dumps([1]))) == [1]
