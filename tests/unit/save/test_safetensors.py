"""The safetensors format, against the format's own package and against damage."""

from __future__ import annotations

import json
import random
import struct

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from tenor.errors import ArgumentError, DTypeError, FormatError
from tenor.ir import dtype as dt
from tenor.save.safetensors import CODES, Typed, layout, load_file, open_file, read, save_file

PLAIN = [d for d in dt.ALL if d is not dt.bfloat16]


def values(dtype, shape=(3, 5), seed=0):
    rng = np.random.default_rng(seed)
    if dtype.kind == "bool":
        return rng.random(shape) < 0.5
    if dtype.kind == "float" and dtype is not dt.bfloat16:
        return rng.standard_normal(shape).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    return rng.integers(info.min, info.max, shape, dtype.numpy, endpoint=True)


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refused(content, match=None):
    with pytest.raises(FormatError, match=match) as caught:
        read(memoryview(content))
    return caught.value


def one(dtype="F32", shape=(2,), begin=0, end=8, **more):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}}


def every():
    arrays = {f"layer.{d.name}": Typed(values(d), d) for d in dt.ALL}
    arrays |= {
        "scalar": np.float32(2.5), "empty": np.zeros((0, 4), np.int16), "ünïcode 名": np.arange(3),
        "transposed": np.arange(12).reshape(3, 4).T, "big_endian": np.arange(3, dtype=">i4"),
        "strided": np.arange(20.0)[::3],
    }  # fmt: skip
    return arrays


def plain(value):
    return value.array if isinstance(value, Typed) else np.asarray(value)


# -- round trips ------------------------------------------------------------------------------
def test_round_trip(tmp_path):
    arrays = every()
    save_file(arrays, tmp_path / "f", {"format": "pt", "a": "ü"})
    found = open_file(tmp_path / "f")
    assert found.metadata == {"format": "pt", "a": "ü"}
    assert found.arrays.keys() == arrays.keys()
    for name, value in arrays.items():
        array = found.arrays[name]
        np.testing.assert_array_equal(array, plain(value), strict=name != "big_endian")
        assert not array.flags.writeable
        assert array.flags.aligned
    assert found.entries["layer.bfloat16"].dtype is dt.bfloat16
    assert found.entries["layer.uint16"].dtype is dt.uint16


def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path):
    save_file(every(), tmp_path / "a", {"k": "v"})
    found = open_file(tmp_path / "a")
    save_file(found.typed(), tmp_path / "b", found.metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_order_of_arrays_does_not_matter(tmp_path):
    arrays = every()
    save_file(arrays, tmp_path / "a", {"x": "1", "y": "2"})
    backwards = dict(reversed(arrays.items()))
    save_file(backwards, tmp_path / "b", {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_begin_at_64_bytes(tmp_path):
    save_file({"w": np.arange(5.0)}, tmp_path / "f")
    raw = (tmp_path / "f").read_bytes()
    assert (8 + struct.unpack_from("<Q", raw)[0]) % 64 == 0


def test_nothing_at_all(tmp_path):
    save_file({}, tmp_path / "f")
    assert load_file(tmp_path / "f") == {}
    assert safetensors.numpy.load_file(tmp_path / "f") == {}


def test_a_mapped_file_may_be_replaced(tmp_path):
    save_file({"w": np.arange(5.0)}, tmp_path / "f")
    found = load_file(tmp_path / "f")
    save_file({"w": found["w"] + 1}, tmp_path / "f")
    assert found["w"].tolist() == [0, 1, 2, 3, 4]
    assert load_file(tmp_path / "f")["w"].tolist() == [1, 2, 3, 4, 5]


# -- the format's own package -----------------------------------------------------------------
@pytest.mark.parametrize("dtype", PLAIN, ids=str)
def test_their_reader_reads_ours(tmp_path, dtype):
    array = values(dtype)
    save_file({"w": array, "b": array[0]}, tmp_path / "f", {"k": "v"})
    found = safetensors.numpy.load_file(tmp_path / "f")
    np.testing.assert_array_equal(found["w"], array, strict=True)
    np.testing.assert_array_equal(found["b"], array[0], strict=True)
    with safetensors.safe_open(tmp_path / "f", "np") as theirs:
        assert theirs.metadata() == {"k": "v"}


@pytest.mark.parametrize("dtype", PLAIN, ids=str)
def test_we_read_theirs(tmp_path, dtype):
    array = values(dtype)
    safetensors.numpy.save_file({"w": array, "e": array[:0]}, tmp_path / "f", {"k": "v"})
    found = open_file(tmp_path / "f")
    np.testing.assert_array_equal(found.arrays["w"], array, strict=True)
    assert found.arrays["e"].shape == (0, 5)
    assert found.entries["w"].dtype is dtype
    assert found.metadata == {"k": "v"}


def test_bfloat16_both_ways(tmp_path):
    bits = values(dt.bfloat16)
    save_file({"w": Typed(bits, dt.bfloat16)}, tmp_path / "a")
    theirs = safetensors.torch.load_file(tmp_path / "a")["w"]
    assert theirs.dtype is torch.bfloat16
    np.testing.assert_array_equal(theirs.view(torch.uint16).numpy(), bits)
    safetensors.torch.save_file({"w": theirs}, tmp_path / "b")
    found = open_file(tmp_path / "b")
    np.testing.assert_array_equal(found.arrays["w"], bits, strict=True)
    assert found.entries["w"].dtype is dt.bfloat16


def test_every_dtype_has_a_code():
    assert set(CODES.values()) == set(dt.ALL)


# -- what cannot be saved ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arrays", "metadata", "error"),
    [
        ({"__metadata__": np.zeros(1)}, None, ArgumentError),
        ({3: np.zeros(1)}, None, ArgumentError),
        ({"a\ud800": np.zeros(1)}, None, ArgumentError),
        ({"n" * 5000: np.zeros(1)}, None, ArgumentError),
        ({"a": np.zeros(1, complex)}, None, DTypeError),
        ({"a": np.array(["x"])}, None, DTypeError),
        ({"a": np.array([object()])}, None, DTypeError),
        ({"a": Typed(np.zeros(1), dt.bfloat16)}, None, ArgumentError),
        ({}, {"k": 1}, ArgumentError),
        ({}, {1: "v"}, ArgumentError),
    ],
)
def test_refused_when_saving(tmp_path, arrays, metadata, error):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(error):
        save_file(arrays, tmp_path / "f", metadata)
    assert (tmp_path / "f").read_bytes() == b"old"


# -- damage and malice ------------------------------------------------------------------------
OK = file_of(one(), bytes(8))
HOSTILE = {
    "huge header length": (struct.pack("<Q", 1 << 63) + b"{}", "at most"),
    "header beyond limit": (struct.pack("<Q", 100_000_001) + b"{}", "at most"),
    "header beyond file": (struct.pack("<Q", 99_999_999) + b"{}", "cut short"),
    "header of another kind": (file_of(b"[]"), "begins with"),
    "leading space": (file_of(b" {}"), "begins with"),
    "empty header": (file_of(b""), "begins with"),
    "trailing word": (file_of(b"{}x"), "JSON"),
    "not utf-8": (file_of(b'{"\xff":1}'), "JSON"),
    "byte order mark": (file_of(b"\xef\xbb\xbf{}"), "begins with"),
    "lone surrogate": (file_of(b'{"\\ud800":{}}'), "JSON"),
    "duplicate name": (file_of(b'{"a":{},"a":{}}'), "twice"),
    "duplicate key": (
        file_of(b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
        "twice",
    ),
    "nesting": (file_of(b'{"a":' * 5 + b"1" + b"}" * 5), "deep"),
    "deep nesting": (file_of(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "deep"),
    "nan": (file_of(b'{"a":NaN}'), "NaN"),
    "infinity": (file_of(b'{"a":-Infinity}'), "Infinity"),
    "huge number": (file_of(b'{"a":' + b"9" * 5000 + b"}"), "number of 5000"),
    "huge exponent": (file_of(b'{"a":1e999}'), "1e999"),
    "many values": (file_of(b'{"a":[' + b"0," * 4_000_001 + b"0]}"), "values"),
    "unclosed quotes": (file_of(b'{"' + b'\\"' * 50_000), "JSON"),
    "entry is a number": (file_of({"w": 1}), "form"),
    "entry is null": (file_of({"w": None}), "form"),
    "missing key": (file_of({"w": {"dtype": "F32", "shape": [2]}}, bytes(8)), "exactly"),
    "extra key": (file_of(one(extra=1), bytes(8)), "exactly"),
    "unknown dtype": (file_of(one("F8_E5M2"), bytes(8)), "known are"),
    "dtype is a list": (file_of(one(["F32"]), bytes(8)), "known are"),
    "lower case dtype": (file_of(one("f32"), bytes(8)), "known are"),
    "negative size": (file_of(one(shape=(-2,)), bytes(8)), "sizes"),
    "two negative sizes": (file_of(one(shape=(-2, -1)), bytes(8)), "sizes"),
    "float size": (file_of(one(shape=(2.0,)), bytes(8)), "sizes"),
    "bool size": (file_of(one("U8", (True,), 0, 1), bytes(1)), "sizes"),
    "size is text": (file_of(one(shape=("2",)), bytes(8)), "sizes"),
    "too many dims": (file_of(one("U8", (1,) * 33, 0, 1), bytes(1)), "at most 32"),
    "overflowing shape": (file_of(one(shape=(1 << 31, 1 << 31, 1 << 31)), bytes(8)), "bytes"),
    "wrapping shape": (file_of(one("U8", (1 << 32, 1 << 32), 0, 0)), "bytes"),
    "overflowing empty": (file_of(one("U8", (0, 1 << 62, 4), 0, 0)), "bytes"),
    "offset is a float": (file_of(one(end=8.0), bytes(8)), "offsets"),
    "offset is negative": (file_of(one(begin=-8, end=0), bytes(8)), "offsets"),
    "offsets are three": (
        file_of({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}, bytes(8)),
        "begin, end",
    ),
    "offsets backwards": (file_of(one(begin=8, end=0), bytes(8)), "takes 8"),
    "too small": (file_of(one(end=4), bytes(4)), "takes 8"),
    "too large": (file_of(one(end=12), bytes(12)), "takes 8"),
    "beyond the file": (file_of(one(), bytes(7)), "cut short"),
    "trailing byte": (file_of(one(), bytes(9)), "follows"),
    "hole before": (file_of(one(begin=1, end=9), bytes(9)), "where the one before"),
    "overlap": (file_of(one() | {"v": one()["w"]}, bytes(8)), "where the one before"),
    "hole between": (file_of(one() | {"v": one(begin=9, end=17)["w"]}, bytes(17)), "before ends"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "strings"),
    "metadata is a list": (file_of({"__metadata__": ["a"]}), "strings"),
    "metadata is nested": (file_of({"__metadata__": {"a": {}}}), "strings"),
    "name too long": (file_of({"n" * 5000: one()["w"]}, bytes(8)), "4096"),
    "bool of two": (file_of(one("BOOL", (2,), 0, 2), b"\0\2"), "BOOL"),
    "nothing": (b"", "bytes"),
    "seven bytes": (bytes(7), "bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "match"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(tmp_path, content, match):
    refused(content, match)
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(FormatError, match=match):
        load_file(tmp_path / "f")


def test_what_the_hostile_ones_are_made_from_is_accepted():
    assert read(memoryview(OK)).arrays["w"].tolist() == [0, 0]
    assert read(memoryview(file_of(one("U8", (0, 7), 0, 0)))).arrays["w"].shape == (0, 7)


def small():
    arrays = {
        "a": np.arange(3, dtype=np.float32), "b": np.array([True, False]), "c": np.int8(-1),
        "d": np.zeros((2, 0)),
    }  # fmt: skip
    return b"".join(bytes(piece) for piece in layout(arrays, {"k": "v"}))


def test_cut_at_every_byte():
    whole = small()
    read(memoryview(whole))
    for n in range(len(whole)):
        refused(whole[:n])
    refused(whole + b"\0")


def test_every_bit_flipped():
    """A flipped bit in the data is another number; anywhere else it may only be refused or read."""
    whole = small()
    refusals = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            found = read(memoryview(bytes(damaged)))
        except FormatError:
            refusals += 1
        else:
            assert sum(a.nbytes for a in found.arrays.values()) == 15
    assert refusals > 8 * 100


def test_random_headers():
    """What we accept of random damage the format's own reader accepts as well."""
    rng = random.Random(0)
    whole = small()
    header = 8 + struct.unpack_from("<Q", whole)[0]
    accepted = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(8, header)] = rng.choice(b'{}[],:"0123456789-.eFBIU \\\xff')
        try:
            found = read(memoryview(bytes(damaged)))
        except FormatError:
            continue
        accepted += 1
        theirs = safetensors.deserialize(bytes(damaged))
        assert {name for name, _ in theirs} == found.arrays.keys()
    assert accepted > 0
