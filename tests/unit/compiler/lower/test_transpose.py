"""Reading across: blocks turned in registers, exact for every dtype, shape and width."""

import numpy as np
import pytest

from tenor.compiler.lower import lower
from tenor.ir import dtype as dt
from tests.jit import host
from tests.unit.compiler.lower.kernels import only_kernel, random_splits, run, widths

SHAPES = [(16, 16), (17, 33), (64, 16), (16, 64), (130, 1030), (31, 47), (100, 100)]
DTYPES = pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)


def given(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype.kind == "float" and dtype is not dt.bfloat16:
        return rng.normal(size=shape).astype(dtype.numpy)
    return rng.integers(0, 2 if dtype.kind == "bool" else 100, shape).astype(dtype.numpy)


def copied(b, x, dims):
    """Return a permutation as a value of its own."""
    return b.where(b.const(True, dt.bool_), b.permute(x, dims), b.const(0, x.dtype))


@DTYPES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_transpose_is_exact(shape, dtype):
    x = given(shape, dtype)
    kernel, nodes = only_kernel(lambda b, y: copied(b, y, (1, 0)), (shape, dtype))
    assert lower(kernel, host()).scratch > 0, "not turned"
    assert np.array_equal(run(kernel, nodes, [x])[0], x.T)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_width_and_any_split_gives_the_same(shape):
    x = given(shape, dt.float32)
    kernel, nodes = only_kernel(lambda b, y: copied(b, y, (1, 0)), (shape, dt.float32))
    tiles = {lower(kernel, target).tiles for target in widths()}
    assert len(tiles) == 1
    for seed, target in enumerate(widths()):
        got = run(kernel, nodes, [x], target, random_splits(*tiles, seed))[0]
        assert np.array_equal(got, x.T)


@pytest.mark.parametrize("dims", [(2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 2, 0)])
def test_batches_and_more_dims(dims):
    x = given((20, 33, 40), dt.float32)
    kernel, nodes = only_kernel(lambda b, y: copied(b, y, dims), ((20, 33, 40), dt.float32))
    assert np.array_equal(run(kernel, nodes, [x])[0], x.transpose(dims))


def test_turned_and_straight_operands_meet():
    x, y, row = (
        given((40, 40), dt.float32),
        given((40, 40), dt.float32, 1),
        given((40,), dt.float32, 2),
    )

    def build(b, x, y, row):
        both = b.add(b.permute(x, (1, 0)), b.permute(y, (1, 0)))
        return b.mul(b.sub(both, x), b.expand(row, (40, 40)))

    f32 = dt.float32
    kernel, nodes = only_kernel(build, ((40, 40), f32), ((40, 40), f32), ((40,), f32))
    got = run(kernel, nodes, [x, y, row])[0]
    assert np.array_equal(got, ((x.T + y.T) - x) * row)


def test_slices_and_steps_are_turned_where_lines_are_contiguous():
    x = given((100, 90), dt.float32)

    def build(b, y):
        part = b.slice(y, (99, 5), (40, 70), (-2, 1))
        return copied(b, part, (1, 0))

    kernel, nodes = only_kernel(build, ((100, 90), dt.float32))
    assert lower(kernel, host()).scratch > 0
    assert np.array_equal(run(kernel, nodes, [x])[0], x[99:19:-2, 5:75].T)


def test_padding_is_left_to_the_plain_loops():
    x = given((30, 40), dt.float32)

    def build(b, y):
        return b.permute(b.pad(y, (1, 2), (3, 4), 7.0), (1, 0))

    kernel, nodes = only_kernel(build, ((30, 40), dt.float32))
    assert lower(kernel, host()).scratch == 0
    padded = np.pad(x, ((1, 3), (2, 4)), constant_values=7)
    assert np.array_equal(run(kernel, nodes, [x])[0], padded.T)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 100])
@DTYPES
def test_backwards_is_read_in_runs(dtype, n):
    x = given((3, n), dtype)

    def build(b, y):
        back = b.slice(y, (0, n - 1), (3, n), (1, -1))
        return b.where(b.const(True, dt.bool_), back, b.const(0, y.dtype))

    kernel, nodes = only_kernel(build, ((3, n), dtype))
    assert np.array_equal(run(kernel, nodes, [x])[0], x[:, ::-1])
