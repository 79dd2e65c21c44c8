"""Values in files: every format to a signature's inputs, and what is refused."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tenor.cli.values import read_values, to_json, write_values
from tenor.errors import ArgumentError, DTypeError, FormatError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import to_bfloat16
from tenor.save.manifest import Signature, TensorSpec

ROWS = np.array([[1.5, -2.0, 0.1], [4.0, 5.0, 6.0]], np.float32)
ONE = Signature("predict", (TensorSpec("x", dt.float32, ("batch", 3)),), ())
IMAGE = Signature("predict", (TensorSpec("x", dt.float32, ("batch", 1, 3)),), ())
TWO = Signature(
    "predict",
    (TensorSpec("user", dt.int32, ("batch",)), TensorSpec("on", dt.bool_, ("batch", 1))),
    (),
)
FIXED = Signature("predict", (TensorSpec("x", dt.float32, (2, 3)),), ())


def npy(array):
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def npz(**arrays):
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def read(tmp_path, suffix, raw, signature=ONE):
    path = tmp_path / f"given{suffix}"
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return read_values(str(path), signature)


NAMED = json.dumps({"x": ROWS.tolist()})
LISTED = json.dumps(ROWS.tolist())


@pytest.mark.parametrize(
    ("suffix", "raw"),
    [
        (".npy", npy(ROWS)), (".npy", npy(ROWS.astype(np.float64))),
        (".npy", npy(np.asfortranarray(ROWS))),
        (".npz", npz(x=ROWS)), (".npz", npz(anything=ROWS)),
        (".json", LISTED), (".json", NAMED),
        (".json", f'{{"inputs": {NAMED}}}'), (".json", f'{{"inputs": {LISTED}}}'),
        (".json", f'{{"instances": {LISTED}}}'),
        (".json", json.dumps({"instances": [{"x": row} for row in ROWS.tolist()]})),
        (".csv", "1.5,-2,0.1\n4,5,6\n"), (".csv", "a,b,c\n1.5,-2,0.1\n4,5,6\n\n"),
        (".csv", "\ufeff1.5,-2,0.1\r\n4,5,6\r\n"),
    ],
)  # fmt: skip
def test_one_input_in_every_format(tmp_path, suffix, raw):
    values, alone = read(tmp_path, suffix, raw)
    assert not alone
    assert list(values) == ["x"]
    assert values["x"].dtype == np.float32
    assert values["x"].flags.c_contiguous
    np.testing.assert_array_equal(values["x"], ROWS)


def test_columns_take_the_inputs_shape(tmp_path):
    values, _ = read(tmp_path, ".csv", "1.5,-2,0.1\n4,5,6\n", IMAGE)
    np.testing.assert_array_equal(values["x"], ROWS[:, None])


@pytest.mark.parametrize(
    ("suffix", "raw"),
    [
        (".npz", npz(user=np.array([3, -1]), on=np.array([[True], [False]]))),
        (".json", '{"user": [3, -1], "on": [[true], [false]]}'),
        (".json", '{"instances": [{"user": 3, "on": [true]}, {"user": -1, "on": [false]}]}'),
        (".csv", "on,user,more\ntrue,3,x\n0,-1,y\n"),
    ],
)
def test_several_inputs_by_name(tmp_path, suffix, raw):
    raw = raw.replace(",more", "").replace(",x", "").replace(",y", "") if suffix == ".csv" else raw
    values, _ = read(tmp_path, suffix, raw, TWO)
    assert values["user"].dtype == np.int32
    assert values["user"].tolist() == [3, -1]
    assert values["on"].dtype == np.bool_
    assert values["on"].tolist() == [[True], [False]]


def test_one_example_alone_becomes_a_batch(tmp_path):
    values, alone = read(tmp_path, ".json", "[1, 2, 3]")
    assert alone
    assert values["x"].shape == (1, 3)


def test_a_fixed_batch_is_not_made_up(tmp_path):
    with pytest.raises(ShapeError):
        read(tmp_path, ".json", "[1, 2, 3]", FIXED)


def test_json_from_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(LISTED.encode())))
    values, _ = read_values("-", ONE)
    np.testing.assert_array_equal(values["x"], ROWS)


def test_bfloat16_is_given_as_numbers(tmp_path):
    signature = Signature("predict", (TensorSpec("x", dt.bfloat16, ("n",)),), ())
    values, _ = read(tmp_path, ".json", "[1.5, 2]", signature)
    np.testing.assert_array_equal(values["x"], to_bfloat16(np.array([1.5, 2], np.float32)))


def packed_otherwise(raw):
    """Return a zip file that says its first member is compressed in a way nobody knows."""
    changed = bytearray(raw)
    changed[changed.index(b"PK\1\2") + 10] = 99
    return bytes(changed)


@pytest.mark.parametrize(
    ("suffix", "raw", "error", "text"),
    [
        (".txt", b"", ArgumentError, ".npy, .npz, .json or .csv"),
        (".npy", b"not an array", FormatError, ".npy file of numbers"),
        (".npy", npy(np.array([{}], object)), FormatError, "object arrays"),
        (".npy", npz(x=ROWS), FormatError, "npy"),
        (".npz", npy(ROWS), FormatError, "npz"),
        (".npz", b"PK\x03\x04", FormatError, "npz"),
        (".npz", npz(y=ROWS, z=ROWS), ArgumentError, "takes x"),
        (".json", "[1, 2", FormatError, ".json file of numbers"),
        (".json", "[[1, 2, 3], [4]]", FormatError, ".json file of numbers"),
        (".json", '["a", "b", "c"]', DTypeError, "must be float32"),
        (".json", '{"y": [1]}', ArgumentError, "takes x"),
        (".json", "{}", ArgumentError, "nothing"),
        (".json", "[[1, 2]]", ShapeError, "[batch, 3]"),
        (".json", "[]", ShapeError, "[batch, 3]"),
        (".csv", "", FormatError, "rows of numbers"),
        (".csv", "a,b,c\n", FormatError, "rows of numbers"),
        (".csv", "1,2\n", ShapeError, "[batch, 3]"),
        (".csv", "1,2,3\n4,5\n", FormatError, "as many columns"),
        (".csv", "1,2,3\n4,five,6\n", FormatError, "five"),
        (".csv", b"\xff\xfe", FormatError, "csv"),
        (".csv", "1,2,x\n", FormatError, "a header alone: 1,2,x"),
        (".csv", f'"{"1" * 200_000}",2,3\n', FormatError, "field limit"),
        (".json", "[" * 100_000, FormatError, "recursion"),
        (".json", "[1, 2, 1e39]", DTypeError, "range of float32"),
        (".npy", npy(ROWS).replace(b"'shape': (", b"'shape': (100000000000, "), FormatError, "npy"),
        (".npy", npy(ROWS).replace(b"{'descr", b"{[descr"), FormatError, "npy"),
        (".npz", packed_otherwise(npz(x=ROWS)), FormatError, "compression"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, suffix, raw, error, text):
    with pytest.raises(error) as caught:
        read(tmp_path, suffix, raw)
    assert text in str(caught.value)


@pytest.mark.parametrize("raw", ["[[1, 2, 3]]", "1,2,3\n"])
def test_several_inputs_need_names(tmp_path, raw):
    with pytest.raises((ArgumentError, FormatError), match="predict"):
        read(tmp_path, ".json" if raw.startswith("[") else ".csv", raw, TWO)


def test_integers_out_of_range_are_refused(tmp_path):
    with pytest.raises(DTypeError, match="int32"):
        read(tmp_path, ".json", '{"user": [3000000000], "on": [[true]]}', TWO)


def test_a_fraction_is_no_integer(tmp_path):
    with pytest.raises(DTypeError, match="int32"):
        read(tmp_path, ".json", '{"user": [1.5], "on": [[true]]}', TWO)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_values(str(tmp_path / "none.npy"), ONE)


# -- writing ----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_json_reads_back_to_the_same_bits(dtype):
    rng = np.random.default_rng(0)
    array = rng.normal(size=(50, 2)).astype(dtype)
    read_back = np.array(json.loads(to_json({"y": array}))["y"]).astype(dtype)
    assert read_back.tobytes() == array.tobytes()


def test_json_of_scalars_ints_and_bools():
    text = to_json({"a": np.float32(0.1).reshape(()), "b": np.array([1]), "c": np.array([True])})
    assert text == '{"a": 0.1, "b": [1], "c": [true]}'


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".json", ".csv"])
def test_outputs_are_written_in_every_format(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    write_values(path, {"y": ROWS})
    read_back = {
        ".npy": lambda: np.load(path),
        ".npz": lambda: np.load(path)["y"],
        ".json": lambda: np.array(json.loads(path.read_text())["y"], np.float32),
        ".csv": lambda: np.loadtxt(path, delimiter=",", dtype=np.float32),
    }[suffix]()
    np.testing.assert_array_equal(read_back, ROWS)


def test_where_outputs_cannot_go(tmp_path):
    with pytest.raises(ArgumentError, match="npy"):
        write_values(tmp_path / "out.txt", {"y": ROWS})
    with pytest.raises(ArgumentError, match="one output"):
        write_values(tmp_path / "out.npy", {"y": ROWS, "z": ROWS})
    assert list(tmp_path.iterdir()) == []
