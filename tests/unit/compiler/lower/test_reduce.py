"""Reduce kernels: the documented order, bit for bit; any split, any width."""

from itertools import product

import numpy as np
import pytest

import tenor as tn
from tenor.compiler.lower import lower
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.build import GraphBuilder
from tests.jit import host
from tests.ops import differential
from tests.unit.compiler.lower.kernels import (
    only_kernel,
    random_splits,
    run,
    same,
    tiles_of,
    widths,
)

F32 = dt.float32


# -- the order, as the module's docstring gives it, in NumPy ------------------------------------
def joined(parts):
    """Join accumulators i and i + half, halving until one is left."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = parts[:half] + parts[half:]
    return parts[0]


def inner_sum(rows, total):
    """Sum rows [outer, n] with `total` accumulators that take the elements of each row in turn."""
    held = np.zeros(total, rows.dtype)
    for row in rows:
        for at in range(0, len(row), total):
            part = row[at : at + total]
            held[: len(part)] = held[: len(part)] + part
    return joined(held)


def outer_sum(values):
    """Sum in order, with one accumulator."""
    held = values.dtype.type(0)
    for v in values:
        held = held + v
    return held


def model(x, dims):
    """Return the sum over dims by the rules."""
    kept = [d for d in range(x.ndim) if d not in dims]
    real = [d for d in range(x.ndim) if x.shape[d] > 1]
    count = int(np.prod([x.shape[d] for d in dims]))
    inner = bool(real) and real[-1] in dims and count > 16
    out = np.zeros([1 if d in dims else n for d, n in enumerate(x.shape)], x.dtype)
    reduced = [d for d in dims if x.shape[d] > 1]
    for place in product(*(range(x.shape[d]) for d in kept)):
        index = [slice(None)] * x.ndim
        for d, i in zip(kept, place, strict=True):
            index[d] = i
        values = x[tuple(index)]
        at = tuple(0 if d in dims else place[kept.index(d)] for d in range(x.ndim))
        last = x.shape[reduced[-1]] if reduced else 1
        total = 16 if x.dtype.itemsize == 8 else 32
        out[at] = inner_sum(values.reshape(-1, last), total) if inner else outer_sum(values.ravel())
    return out


SHAPES = [
    ((5,), (0,)), ((16,), (0,)), ((33,), (0,)), ((1000,), (0,)), ((3, 40), (1,)), ((3, 16), (1,)),
    ((3, 17), (1,)), ((40, 3), (0,)), ((200, 37), (0,)), ((4, 5, 33), (0, 2)), ((4, 5, 33), (1, 2)),
    ((4, 5, 33), (0, 1)), ((4, 5, 33), (1,)), ((2, 3, 4, 50), (1, 3)), ((64, 1, 9), (0, 2)),
    ((3, 50, 1), (1,)), ((2, 2, 4), (1, 2)), ((130, 70), (0,)), ((7, 300), (0, 1)),
    ((41, 5000), (0,)),
]  # fmt: skip


def given(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def summing(dims):
    return lambda b, x: b.sum(x, dims)


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize(("shape", "dims"), SHAPES, ids=str)
def test_sums_are_taken_in_the_documented_order(shape, dims, dtype):
    x = given(shape, dtype.numpy)
    kernel, nodes = only_kernel(summing(dims), (shape, dtype))
    got = run(kernel, nodes, [x])[0]
    assert got.tobytes() == model(x, dims).tobytes()


@pytest.mark.parametrize(("shape", "dims"), SHAPES, ids=str)
def test_any_vector_width_and_split_gives_the_same_bits(shape, dims):
    x = given(shape)
    kernel, nodes = only_kernel(summing(dims), (shape, F32))
    want = run(kernel, nodes, [x])
    for target in widths():
        tiles = tiles_of(kernel, target)
        for seed in range(2):
            assert same(run(kernel, nodes, [x], target, random_splits(tiles, seed)), want)


# Long enough for a sum to be taken in stretches.
LARGE = [
    ((20, 30, 40), (0, 1)), ((20, 30, 40), (0, 1, 2)), ((40, 50, 300), (1, 2)), ((600, 5), (0,)),
    ((300, 20, 5), (0, 1)), ((3, 300, 400), (0, 2)), ((7, 9, 11, 300), (0, 1, 3)), ((9000,), (0,)),
    ((70, 90), (0, 1)), ((3, 20_000), (1,)), ((20_000, 17), (0,)),
    ((3, 600, 700), (1,)), ((19, 3, 20, 900), (0, 2)), ((37, 300), (1,)), ((70, 1000), (1,)),
]  # fmt: skip


def whole(build, shape, x):
    """Compile and run a graph of one leaf; return its first output."""
    b = GraphBuilder()
    made = build(b, b.leaf(shape, F32))
    graph = b.graph(*(made if isinstance(made, tuple) else (made,)))
    outputs, status = differential.run(graph, differential.compiled(graph), [x])
    assert status == (0, 0)
    return outputs[0]


@pytest.mark.parametrize(("shape", "dims"), SHAPES + LARGE, ids=str)
def test_layout_and_neighbours_change_no_bit(shape, dims):
    x = given(shape)
    order = tuple(reversed(range(len(shape))))
    want = whole(summing(dims), shape, x)
    turned = whole(lambda b, y: b.sum(b.permute(y, order), dims), tuple(reversed(shape)), x.T)
    assert turned.tobytes() == want.tobytes()

    def inside(b, y):
        part = b.slice(y, (1,) * len(shape), shape, (1,) * len(shape))
        return b.sum(part, dims)

    around = np.pad(x, 1)
    assert whole(inside, around.shape, around).tobytes() == want.tobytes()

    def several(b, y):
        return b.sum(y, dims), b.max(y, dims), b.sum(b.mul(y, y), dims), b.prod(y, dims)

    assert whole(several, shape, x).tobytes() == want.tobytes()

    def computed(b, y):
        return b.sqrt(b.abs(b.sum(b.neg(b.neg(y)), dims)))

    assert whole(computed, shape, x).tobytes() == np.sqrt(np.abs(want)).tobytes()


@pytest.mark.parametrize(("shape", "dims"), LARGE, ids=str)
def test_long_sums_have_the_same_bits_at_any_width_and_split(shape, dims):
    x = given(shape)
    kernel, nodes = only_kernel(summing(dims), (shape, F32))
    want = run(kernel, nodes, [x])
    exact = np.sum(x.astype(np.float64), axis=dims, keepdims=True)
    size = np.sum(np.abs(x.astype(np.float64)), axis=dims, keepdims=True)
    assert np.all(np.abs(want[0] - exact) <= 2.0**-23 * size)
    for target in widths():
        tiles = tiles_of(kernel, target)
        assert same(run(kernel, nodes, [x], target, random_splits(tiles, 1)), want)


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16], ids=lambda d: d.name)
def test_halves_are_added_up_in_float32_and_rounded_once(dtype):
    for shape, dims in SHAPES:
        values = given(shape)
        bits = to_bfloat16(values) if dtype is dt.bfloat16 else values.astype(np.float16)
        wide = from_bfloat16(bits) if dtype is dt.bfloat16 else bits.astype(np.float32)
        total = model(wide, dims)
        want = to_bfloat16(total) if dtype is dt.bfloat16 else total.astype(np.float16)
        kernel, nodes = only_kernel(summing(dims), (shape, dtype))
        assert run(kernel, nodes, [bits])[0].tobytes() == want.tobytes()


@pytest.mark.parametrize("n", [1, 5, 16, 17, 31, 32, 33, 100, 1000])
@pytest.mark.parametrize("op", [ops.ARGMAX, ops.ARGMIN], ids=lambda o: o.name)
def test_the_first_of_equal_extremes_is_found_anywhere(op, n):
    kernel, nodes = only_kernel(lambda b, x: b.emit(op, (x,), (1,)), ((6, n), F32))
    rng = np.random.default_rng(n)
    function = np.argmax if op is ops.ARGMAX else np.argmin
    for _ in range(20):
        x = rng.integers(-1, 2, (6, n)).astype(np.float32)
        got = run(kernel, nodes, [x])[0]
        assert np.array_equal(got, function(x, axis=1, keepdims=True))


@pytest.mark.parametrize("n", [1, 16, 33, 100])
def test_nan_beats_everything_and_the_first_nan_wins(n):
    def build(b, x):
        return b.argmax(x, 1), b.argmin(x, 1), b.max(x, (1,))

    kernel, nodes = only_kernel(build, ((8, n), F32))
    rng = np.random.default_rng(n)
    x = rng.normal(size=(8, n)).astype(np.float32)
    x[rng.random((8, n)) < 0.2] = np.nan
    x[rng.random((8, n)) < 0.2] = np.inf
    high, low, top = run(kernel, nodes, [x])
    assert np.array_equal(high, np.argmax(x, 1, keepdims=True))
    assert np.array_equal(low, np.argmin(x, 1, keepdims=True))
    assert np.array_equal(top, np.max(x, 1, keepdims=True), equal_nan=True)


def test_extremes_where_all_are_the_worst():
    def build(b, x):
        return b.argmax(x, 1), b.max(x, (1,))

    for dtype, worst in ((dt.float32, -np.inf), (dt.int32, -(2**31)), (dt.uint8, 0), (dt.bool_, 0)):
        kernel, nodes = only_kernel(build, ((3, 50), dtype))
        position, value = run(kernel, nodes, [np.full((3, 50), worst).astype(dtype.numpy)])
        assert not position.any()
        assert (value == np.array(worst).astype(dtype.numpy)).all()


def test_infinities_and_nan_go_through_sums():
    x = given((4, 100))
    x[0, 50], x[1, 3], x[2, 7], x[2, 90] = np.inf, np.nan, np.inf, -np.inf
    got = run(*only_kernel(summing((1,)), ((4, 100), F32)), [x])[0].ravel()
    assert got[0] == np.inf
    assert np.isnan(got[1:3]).all()
    assert np.isfinite(got[3])


def test_elements_of_other_widths_have_kernels_of_their_own():
    def build(b, x):
        return b.sum(x, (1,)), b.sum(b.cast(x, dt.float64), (1,))

    with pytest.raises(AssertionError, match="sum"):
        only_kernel(build, ((4, 100), F32))


@pytest.mark.parametrize("shape", [(1000, 1000), (4096, 256), (4096, 768), (256, 65_536)])
@pytest.mark.parametrize("dim", [0, 1])
def test_a_large_reduction_has_tiles(shape, dim):
    kernel, _ = only_kernel(summing((dim,)), (shape, F32))
    assert tiles_of(kernel) >= 8


@pytest.mark.parametrize("dim", [0, 1])
def test_elements_of_a_large_array_alone_are_asked_for_ahead(dim):
    for rows, asked in ((1000, True), (30, False)):
        kernel, _ = only_kernel(lambda b, x: b.argmax(x, dim), ((rows, 1000), F32))
        text = lower(kernel, host()).function.text()
        assert ("prefetch" in text) is asked


@pytest.mark.parametrize("shape", [(37, 300), (16, 300), (3, 300), (70, 1000)])
def test_what_is_made_of_rows_joined_side_by_side(shape):
    """The results of a few rows are one vector; the last rows may be fewer."""

    def build(b, x):
        high, place = b.max(x, (1,)), b.argmax(x, 1)
        return b.sqrt(b.abs(high)), place, b.sum(b.mul(x, x), (1,))

    x = given(shape)
    kernel, nodes = only_kernel(build, (shape, F32))
    want = run(kernel, nodes, [x])
    made = dict(zip([n.op.name for n in nodes if n.op.name != "leaf"], want, strict=True))
    np.testing.assert_array_equal(made["sqrt"], np.sqrt(np.abs(x.max(1, keepdims=True))))
    np.testing.assert_array_equal(made["argmax"], x.argmax(1)[:, None])
    assert made["sum"].tobytes() == model(x * x, (1,)).tobytes()
    for target in widths():
        tiles = tiles_of(kernel, target)
        assert same(run(kernel, nodes, [x], target, random_splits(tiles, 2)), want)


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (5, 7)])
@pytest.mark.parametrize("op", [ops.ARGMAX, ops.ARGMIN], ids=lambda op: op.name)
def test_a_position_among_merged_dims_counts_row_major_and_the_first_wins(op, window):
    def build(b, x):
        for dim, size in enumerate(window):
            x = b.emit(ops.UNFOLD, (x,), (1 + dim, size, 2, 1))
        flat = b.emit(ops.RESHAPE, (x,), ((*x.shape[:-2], x.shape[-2] * x.shape[-1]),))
        return b.emit(op, (flat,), (3,))

    x = np.random.default_rng(0).integers(0, 3, (4, 19, 23)).astype(np.float32)
    kernel, nodes = only_kernel(build, (x.shape, dt.float32))
    seen = np.lib.stride_tricks.sliding_window_view(x, window, (1, 2))[:, ::2, ::2]
    flat = seen.reshape(*seen.shape[:3], -1)
    found = np.argmax(flat, -1) if op is ops.ARGMAX else np.argmin(flat, -1)
    for target in widths():
        np.testing.assert_array_equal(run(kernel, nodes, [x], target)[0][..., 0], found)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("kind", ["f32", "f64", "i32", "u8", "b8"])
def test_the_first_of_elements_that_are_all_the_least_is_found(op, dim, kind):
    """Nothing beats what an accumulator begins with, and nothing says that it was seen."""
    least = {"f32": -np.inf, "f64": -np.inf, "i32": -(2**31), "u8": 0, "b8": False}[kind]
    most = {"f32": np.inf, "f64": np.inf, "i32": 2**31 - 1, "u8": 255, "b8": True}[kind]
    numpy = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "u8": np.uint8, "b8": bool}
    x = np.full((70, 70), least if op == "argmax" else most, numpy[kind])
    x[40, 60] = most if op == "argmax" else least
    got = getattr(tn, op)(tn.tensor(x), dim).numpy()
    np.testing.assert_array_equal(got, getattr(np, op)(x, dim))


@pytest.mark.parametrize("dim", [0, 1])
def test_the_first_nan_beats_infinity(dim):
    x = np.full((70, 70), np.inf, np.float32)
    x[33:35, 20:60:7] = np.nan
    np.testing.assert_array_equal(tn.argmax(tn.tensor(x), dim).numpy(), np.argmax(x, dim))
    np.testing.assert_array_equal(tn.argmin(tn.tensor(-x), dim).numpy(), np.argmin(-x, dim))
