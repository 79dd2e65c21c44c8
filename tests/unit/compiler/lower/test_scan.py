"""The sequential templates against NumPy, in every dtype; and tiles in any order."""

import math
from itertools import pairwise

import numpy as np
import pytest

from tenor.compiler.lower.scan import TEMPLATES
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.kernel import Buffer, Kernel
from tests.jit import host, run_kernel

SEVERAL = pytest.mark.parametrize(
    "dtype", [dt.float32, dt.float16, dt.bfloat16, dt.int64, dt.bool_], ids=lambda d: d.name
)
DTYPES = pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
MODES = pytest.mark.parametrize("mode", ["set", "add"])
HALVES = (dt.float16, dt.bfloat16)


def lowered(kind, params, arrays, dtypes):
    """Return the lowering of a kernel with these buffers."""
    buffers = [Buffer(d, a.size) for d, a in zip(dtypes, arrays, strict=True)]
    return TEMPLATES[kind](Kernel(kind, (), buffers, params=dict(params)), host())


def run(kind, params, arrays, dtypes):
    """Run a kernel; its last array is the output."""
    run_kernel(lowered(kind, params, arrays, dtypes), arrays)
    return arrays[-1]


def some(dtype, shape, seed=0):
    """Return small random values of a dtype, as it is held in memory."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "float":
        return narrow(rng.normal(size=shape), dtype)
    return rng.integers(0, 2 if dtype.kind == "bool" else 50, shape).astype(dtype.numpy)


def wide(array, dtype):
    """Return the values in the dtype arithmetic is done in."""
    return from_bfloat16(array) if dtype is dt.bfloat16 else array.astype(dtype.compute.numpy)


def narrow(values, dtype):
    """Return the values as a dtype is held in memory."""
    return to_bfloat16(values) if dtype is dt.bfloat16 else np.asarray(values).astype(dtype.numpy)


def added(a, b):
    """Return a + b; or for bool."""
    return a | b if a.dtype == bool else a + b


# -- cumsum -----------------------------------------------------------------------------------
@SEVERAL
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(6, 1, 1), (7, 33, 1), (2, 9, 3), (2, 5, 300)])
def test_cumsum_adds_from_one_end_and_rounds_what_it_stores(dtype, reverse, shape):
    x = some(dtype, shape)
    params = dict(zip(("outer", "length", "inner"), shape, strict=True), reverse=reverse)
    got = run("cumsum", params, [x, np.empty_like(x)], [dtype, dtype])
    values = np.flip(wide(x, dtype), 1) if reverse else wide(x, dtype)
    ufunc = np.logical_or if dtype.kind == "bool" else np.add
    expected = ufunc.accumulate(values, axis=1, dtype=values.dtype)
    expected = np.flip(expected, 1) if reverse else expected
    np.testing.assert_array_equal(got, narrow(expected, dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
def test_a_long_cumsum_of_a_half_does_not_stall(dtype):
    # Added up in the half itself, 1 + 1 + ... stops where the ulp is 2: at 2048 or 256.
    x = narrow(np.ones((1, 5000, 1)), dtype)
    got = run("cumsum", {"outer": 1, "length": 5000, "inner": 1}, [x, x.copy()], [dtype, dtype])
    assert wide(got, dtype)[0, -1, 0] == pytest.approx(5000, rel=2**-8)


# -- argsort ----------------------------------------------------------------------------------
def awkward(dtype, shape):
    """Return values with ties, and those whose order is easy to get wrong."""
    x = some(dtype, shape).reshape(-1)
    rng = np.random.default_rng(1)
    if dtype.kind == "float":
        odd = [np.nan, -np.nan, 0.0, -0.0, np.inf, -np.inf, 1, 1, -1, 6e-8, -6e-8]
        values = np.array(odd, np.float32)[rng.integers(0, len(odd), x.size)]
        x[::3] = narrow(values, dtype)[::3]
    elif dtype.kind != "bool":
        info = np.iinfo(dtype.numpy)
        values = rng.integers(info.min, info.max, x.size, dtype.numpy, endpoint=True)
        x[::3] = values[::3]
    return x.reshape(shape)


@DTYPES
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", ["any", "rising", "falling", "equal"])
@pytest.mark.parametrize(
    ("k", "shape"), [(1, (2, 900, 1)), (40, (2, 1733, 3)), (400, (1, 2500, 1))]
)
def test_topk_is_the_beginning_of_argsort(dtype, descending, order, k, shape):
    x = awkward(dtype, shape)
    if order != "any":
        ranks = np.argsort(wide(x, dtype), axis=1, kind="stable")
        ranks = {"rising": ranks, "falling": ranks[:, ::-1], "equal": ranks * 0}[order]
        x = np.take_along_axis(x, ranks, 1)
    params = dict(zip(("outer", "length", "inner"), shape, strict=True), descending=descending)
    whole = run("argsort", params, [x, np.empty(shape, np.int64)], [dtype, dt.int64])
    short = np.empty((shape[0], k, shape[2]), np.int64)
    got = run("topk", params | {"k": k}, [x, short], [dtype, dt.int64])
    np.testing.assert_array_equal(got, whole[:, :k])


@DTYPES
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "shape", [(5, 1, 1), (3, 100, 1), (40, 257, 1), (2, 31, 3), (2, 3001, 1), (2, 300, 3)]
)
def test_argsort_is_stable_and_puts_nan_above_all(dtype, descending, shape):
    x = awkward(dtype, shape)
    params = dict(zip(("outer", "length", "inner"), shape, strict=True), descending=descending)
    got = run("argsort", params, [x, np.empty(shape, np.int64)], [dtype, dt.int64])
    values = wide(x, dtype)
    expected = np.argsort(values, axis=1, kind="stable")
    if descending:  # flipped twice, so that equal values keep their order
        flipped = np.argsort(np.flip(values, 1), axis=1, kind="stable")
        expected = shape[1] - 1 - np.flip(flipped, 1)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [dt.float32, dt.int64, dt.uint8], ids=lambda d: d.name)
@pytest.mark.parametrize("values", [1, 2, 300])
def test_argsort_of_lines_whose_elements_share_bytes(dtype, values):
    """A pass over a byte that all keys share is left out."""
    high = np.iinfo(dtype.numpy).max if dtype.kind != "float" else 2**24
    x = np.random.default_rng(0).integers(high - min(values, high), high, (3, 700, 1))
    x = x.astype(dtype.numpy)
    params = {"outer": 3, "length": 700, "inner": 1}
    got = run("argsort", params, [x, np.empty(x.shape, np.int64)], [dtype, dt.int64])
    np.testing.assert_array_equal(got, np.argsort(x, axis=1, kind="stable"))


# -- put --------------------------------------------------------------------------------------
@SEVERAL
@MODES
@pytest.mark.parametrize(
    ("outer", "length", "inner", "count"),
    [(1, 10, 1, 40), (2, 5, 7, 9), (1, 6, 130, 20), (3, 4, 64, 0), (1, 5000, 16, 90),
     (1, 9000, 130, 300), (2, 9000, 33, 500), (1, 70_000, 17, 0)],
)  # fmt: skip
def test_put_writes_rows_in_the_order_of_the_index(dtype, mode, outer, length, inner, count):
    x, source = some(dtype, (outer, length, inner)), some(dtype, (outer, count, inner), 1)
    index = np.random.default_rng(2).integers(0, length, count)
    params = {"outer": outer, "length": length, "inner": inner, "count": count, "mode": mode}
    arrays = [x, index, source, np.empty_like(x)]
    got = run("put", params, arrays, [dtype, dt.int64, dtype, dtype])
    expected, rows = wide(x, dtype), wide(source, dtype)
    for c, row in enumerate(index):
        before = expected[:, row]
        expected[:, row] = added(before, rows[:, c]) if mode == "add" else rows[:, c]
    np.testing.assert_array_equal(got, narrow(expected, dtype))


def test_put_may_write_into_its_input():
    x, source = np.arange(6.0).reshape(1, 3, 2), np.ones((1, 2, 2))
    params = {"outer": 1, "length": 3, "inner": 2, "count": 2, "mode": "add"}
    run("put", params, [x, np.array([2, 2]), source, x], [dt.float64, dt.int64] + [dt.float64] * 2)
    assert x.tolist() == [[[0, 1], [2, 3], [6, 7]]]


ALONG = [
    ((5,), (9,), 0),
    ((4, 6, 3), (2, 5, 3), 1),
    ((4, 6, 3), (3, 9, 2), 1),
    ((3, 4, 5, 2), (3, 4, 3, 1), 0),
    ((3, 70), (3, 80), 1),
    ((7, 90), (30, 40), 0),
    ((2, 3, 2, 4), (2, 2, 4, 3), 2),
]


@SEVERAL
@MODES
@pytest.mark.parametrize(("shape", "index_shape", "dim"), ALONG)
def test_put_along_scatters_like_torch(dtype, mode, shape, index_shape, dim):
    x, source = some(dtype, shape), some(dtype, index_shape, 1)
    index = np.random.default_rng(2).integers(0, shape[dim], index_shape)
    params = {"x_shape": shape, "index_shape": index_shape, "dim": dim, "mode": mode}
    arrays = [x, index, source, np.empty_like(x)]
    got = run("put_along", params, arrays, [dtype, dt.int64, dtype, dtype])
    expected, values = wide(x, dtype), wide(source, dtype)
    for place in np.ndindex(*index_shape):
        at = (*place[:dim], index[place], *place[dim + 1 :])
        one = np.asarray(values[place])
        expected[at] = added(np.asarray(expected[at]), one) if mode == "add" else one
    np.testing.assert_array_equal(got, narrow(expected, dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=lambda d: d.name)
def test_many_additions_to_one_row_of_halves_round_once(dtype):
    ones = narrow(np.ones((1, 5000, 2)), dtype)
    arrays = [narrow(np.zeros((1, 3, 2)), dtype), np.ones(5000, np.int64), ones]
    params = {"outer": 1, "length": 3, "inner": 2, "count": 5000, "mode": "add"}
    got = run("put", params, [*arrays, arrays[0].copy()], [dtype, dt.int64, dtype, dtype])
    exact = narrow(np.array([0, 5000, 0]), dtype)
    assert got[0, :, 1].tolist() == exact.tolist()


# -- fold -------------------------------------------------------------------------------------
def fold_with_numpy(x, dtype, params):
    """Return the sum of the windows at their places, window after window."""
    values = wide(x, dtype)
    result = np.zeros((params["outer"], params["length"], params["inner"]), values.dtype)
    for w in range(params["windows"]):
        for k in range(params["size"]):
            at = w * params["step"] + k * params["dilation"]
            result[:, at] = added(result[:, at], values[:, w, :, k])
    return narrow(result, dtype)


@SEVERAL
@pytest.mark.parametrize(("size", "step", "dilation", "inner"),
                         [(2, 2, 1, 2), (3, 1, 1, 3), (3, 5, 1, 1), (4, 2, 3, 1), (3, 4, 2, 5),
                          (40, 3, 1, 1), (1, 1, 1, 1), (7, 2, 1, 6)])  # fmt: skip
def test_fold_adds_windows_back_where_unfold_took_them(dtype, size, step, dilation, inner):
    windows = 4
    length = (windows - 1) * step + (size - 1) * dilation + 1 + min(step - 1, 1)
    params = {"outer": 3, "length": length, "windows": windows, "size": size, "step": step,
              "dilation": dilation, "inner": inner}  # fmt: skip
    x = some(dtype, (3, windows, inner, size))
    out = narrow(np.full((3, length, inner), 1), dtype)
    got = run("fold", params, [x, out], [dtype, dtype])
    np.testing.assert_array_equal(got, fold_with_numpy(x, dtype, params))


# -- tiles ------------------------------------------------------------------------------------
BIG = {
    "cumsum": ({"outer": 40, "length": 2000, "inner": 1}, [(40, 2000), (40, 2000)]),
    "argsort": ({"outer": 40, "length": 500, "inner": 1}, [(40, 500), (40, 500)]),
    "topk": ({"outer": 40, "length": 5000, "inner": 1, "k": 9, "descending": True},
             [(40, 5000), (40, 9)]),
    "put": ({"outer": 1, "length": 30, "inner": 400, "count": 90, "mode": "add"},
            [(30, 400), (90,), (90, 400), (30, 400)]),
    "put, many rows": (
        {"outer": 1, "length": 5000, "inner": 16, "count": 700, "mode": "add"},
        [(1, 5000, 16), (700,), (1, 700, 16), (1, 5000, 16)],
    ),
    "put, rows from afar": (
        {"outer": 2, "length": 9000, "inner": 40, "count": 700, "mode": "add"},
        [(2, 9000, 40), (700,), (2, 700, 40), (2, 9000, 40)],
    ),
    "put_along": ({"x_shape": (30, 400), "index_shape": (90, 390), "dim": 0, "mode": "add"},
                  [(30, 400), (90, 390), (90, 390), (30, 400)]),
    "fold": ({"outer": 60, "length": 100, "windows": 98, "size": 3, "step": 1, "dilation": 1,
              "inner": 9}, [(60, 98, 9, 3), (60, 100, 9)]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BIG)
def test_tiles_taken_in_any_order_give_the_same_bits(kind):
    params, shapes = BIG[kind]
    dtypes = [dt.float32] * len(shapes)
    if len(shapes) == 4 or kind in ("argsort", "topk"):
        dtypes[1] = dt.int64
    reach = params["length"] if kind.startswith("put,") else 30
    arrays = [some(d, s, k) * 53 % reach if d is dt.int64 else some(d, s, k)
              for k, (d, s) in enumerate(zip(dtypes, shapes, strict=True))]  # fmt: skip
    kernel = lowered(kind.split(",")[0], params, arrays, dtypes)
    assert kernel.tiles > 2
    run_kernel(kernel, arrays)
    pieces = [*arrays[:-1], np.empty_like(arrays[-1])]
    cuts = [*range(0, kernel.tiles, math.ceil(kernel.tiles / 3)), kernel.tiles]
    for begin, end in reversed(list(pairwise(cuts))):
        run_kernel(kernel, pieces, begin, end)
    np.testing.assert_array_equal(pieces[-1], arrays[-1])
