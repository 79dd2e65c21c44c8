"""JSON values to arrays and back."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenor.errors import RequestError
from tenor.ir import dtype as dt
from tenor.serve.tensors import Place, from_flat, from_nested, readable, write


def spec(dtype, shape):
    return SimpleNamespace(name="x", dtype=dtype, shape=shape)


def parse(value, dtype=dt.float32, shape=("n",)):
    return from_nested(value, spec(dtype, shape), Place("x"))


def refused(value, dtype=dt.float32, shape=("n",)):
    with pytest.raises(RequestError) as caught:
        parse(value, dtype, shape)
    return caught.value


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16], ids=lambda d: d.name)
def test_every_16_bit_float_comes_back_with_the_same_bits(dtype):
    bits = np.arange(2**16, dtype=np.uint16)
    numbers = readable(bits.view(dtype.numpy), dtype)
    finite = np.isfinite(numbers)
    text = write(numbers[finite].tolist(), [numbers[finite]])
    back = parse(json.loads(text), dtype)
    assert np.array_equal(back.view(np.uint16), bits[finite])


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_random_bits_of_wide_floats_come_back(dtype):
    unsigned = np.dtype(f"uint{8 * dtype.itemsize}")
    bits = np.random.default_rng(7).integers(0, 2 ** (8 * dtype.itemsize), 20_000, unsigned)
    numbers = bits.view(dtype.numpy)
    numbers = numbers[np.isfinite(numbers)]
    text = write(numbers.tolist(), [numbers])
    back = np.array(json.loads(text), np.float64).astype(dtype.numpy)  # as any client would
    assert back.tobytes() == numbers.tobytes()
    assert parse(json.loads(text), dtype).tobytes() == numbers.tobytes()


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_integers_come_back_up_to_both_ends_of_their_range(dtype):
    limits = np.iinfo(dtype.numpy)
    numbers = np.array([limits.min, limits.min + 1, 0, limits.max - 1, limits.max], dtype.numpy)
    back = parse(json.loads(write(numbers.tolist(), [numbers])), dtype)
    assert back.dtype == dtype.numpy
    assert back.tolist() == numbers.tolist()


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_an_integer_outside_the_range_is_refused_with_the_range(dtype):
    limits = np.iinfo(dtype.numpy)
    for beyond in (int(limits.max) + 1, int(limits.min) - 1):
        error = refused([0, beyond], dtype)
        assert str(beyond) in error.came[0]
        assert "x[1]" in error.came[0]
        assert f"{limits.min} to {limits.max}" in error.fix


@pytest.mark.parametrize(
    ("dtype", "beyond"),
    [(dt.float16, 65520), (dt.float32, 3.5e38), (dt.bfloat16, 3.4e38), (dt.float64, 10**309)],
    ids=["float16", "float32", "bfloat16", "float64"],
)
def test_a_number_that_would_round_to_infinity_is_refused(dtype, beyond):
    assert "x[1]" in refused([0.5, beyond], dtype).came[0]
    assert "x[1]" in refused([0.5, -beyond], dtype).came[0]


def test_bfloat16_rounds_to_even_as_pytorch_does():
    torch = pytest.importorskip("torch")
    values = [*np.random.default_rng(3).normal(size=5000).tolist(), 1.00390625, 1.01171875, 0.0]
    wanted = torch.tensor(values).to(torch.bfloat16).view(torch.uint16).numpy()
    assert np.array_equal(parse(values, dt.bfloat16), wanted)


@pytest.mark.parametrize("value", [3.0, "3", None, True, {}, 1e2])
def test_integers_are_written_without_a_fraction(value):
    assert "x[0]" in refused([value], dt.int32).came[0]


@pytest.mark.parametrize("value", ["3", None, True, {}, {"b64": "AA=="}])
def test_floats_take_numbers_only(value):
    assert "x[1]" in refused([1, value], dt.float32).came[0]


@pytest.mark.parametrize("value", [1, 0, "true", None, 1.0])
def test_bools_take_true_and_false_only(value):
    assert "x[0]" in refused([value], dt.bool_).came[0]


def test_whole_numbers_are_numbers():
    assert parse([1, 2, 2.5]).tolist() == [1.0, 2.0, 2.5]
    assert parse([10**30, 2**64], dt.float64).tolist() == [1e30, 2.0**64]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1, 2], [3]], "2 in x[0], 1 in x[1]"),
        ([[1], [3, 4]], "1 in x[0], 2 in x[1]"),
        ([[1, 2, 3]], "3 at dim 1, in x[0]"),
        ([1, 2], "the number 1 at x[0]"),
        ([[1, 2], 3], "the number 3 at x[1]"),
        ([[[1, 2], [3, 4]]], "a list of 2 at x[0][0]"),
        ([[1, [2]]], "a list of 1 at x[0][1]"),
        ([[]], "0 at dim 1"),
        (3, "the number 3 at x"),
        ("abc", "the string 'abc' at x"),
        ({}, "an object at x"),
        (None, "null at x"),
    ],
)
def test_a_wrong_nesting_is_told_where(value, said):
    error = refused(value, shape=("n", 2))
    assert said in error.came[0]
    assert "float32 [n, 2]" in error.wanted


def test_lists_that_end_early_take_the_wanted_inner_dims():
    assert parse([], shape=("n", 3)).shape == (0, 3)
    assert parse([[], []], shape=("n", "m", 3)).shape == (2, 0, 3)
    assert parse([], shape=("n", "m")).shape == (0, 0)


@given(
    st.lists(st.integers(0, 4), min_size=0, max_size=4).flatmap(
        lambda shape: st.tuples(st.just(shape), st.integers(0, 2**31))
    )
)
@settings(max_examples=100, deadline=None)
def test_nested_lists_of_any_shape_are_read_as_numpy_reads_them(case):
    shape, seed = case
    array = np.random.default_rng(seed).integers(-1000, 1000, shape)
    free = tuple(f"d{i}" for i in range(len(shape)))
    read = parse(array.tolist(), dt.int64, free)
    assert np.array_equal(read.ravel(), array.ravel())
    flat = from_flat(array.ravel().tolist(), shape, spec(dt.int64, free), Place("x"))
    assert flat.shape == array.shape
    assert np.array_equal(flat, array)


def test_flat_data_may_be_nested_as_its_shape_says():
    nested = from_flat([[1, 2], [3, 4]], [2, 2], spec(dt.int32, ("n", 2)), Place("data"))
    assert nested.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RequestError, match="int32"):
        from_flat([[1, 2], [3, 4]], [1, 2], spec(dt.int32, ("n", 2)), Place("data"))


@pytest.mark.parametrize(
    ("data", "shape", "said"),
    [
        ([1, 2, 3], [2, 2], "3 elements"),
        ([1, 2], [2**40, 2], "2 elements"),
        ([1, 2], [2**63, 2], "2 elements"),
        ([1, 2], [10**300, 2], "2 elements"),
        ([1, 2], [-1, 2], "-1 at dim 0"),
        ([1, 2], [1, 3], "3 at dim 1"),
        ([1, 2], [2], "shape of 1 dims"),
        ([], [2**31, 0], "without elements"),
        ([], [0], "shape of 1 dims"),
        ({}, [1, 2], "an object"),
        ("ab", [1, 2], "the string 'ab'"),
    ],
)
def test_a_wrong_shape_is_refused_before_anything_is_allocated(data, shape, said):
    free = spec(dt.float32, ("n", "m") if shape[-1:] == [0] else ("n", 2))
    with pytest.raises(RequestError) as caught:
        from_flat(data, shape, free, Place("data"))
    assert said in caught.value.came[0]
