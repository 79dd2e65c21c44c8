"""Map kernels: any split, any width, any position gives an element the same bits."""

import numpy as np
import pytest

from tenor.compiler.lower import lower
from tenor.compiler.lower.map import LONG_ROW
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.jit import host
from tests.unit.compiler.lower.kernels import (
    innermost,
    only_kernel,
    random_splits,
    run,
    same,
    tiles_of,
    widths,
)

F32 = dt.float32


def flat(b, x):
    return b.exp(b.mul(x, x))


def turned(b, x):
    return b.exp(b.permute(x, tuple(reversed(range(len(x.shape))))))


def backwards(b, x):
    starts = tuple(n - 1 for n in x.shape)
    return b.exp(b.slice(x, starts, x.shape, (-1,) * len(x.shape)))


def padded(b, x):
    return b.pad(x, (1,) * len(x.shape), (3,) * len(x.shape), 7.5)


def spread(b, x):
    return b.exp(b.expand(b.reshape(x, (*x.shape, 1)), (*x.shape, 37)))


def often(b, x):
    """Long operations used again and again, in a chain."""
    for _ in range(2):
        x = b.sin(b.log(b.exp(x)))
        x = b.exp(b.neg(b.sin(x)))
    return b.exp(x)


def often_turned(b, x):
    return often(b, b.permute(x, tuple(reversed(range(len(x.shape))))))


CASES = {
    f"{build.__name__} {shape}": (build, shape)
    for build in (flat, turned, backwards, padded, spread, often, often_turned)
    for shape in ((1,), (15,), (16,), (17,), (1000,), (7, 13), (64, 33), (130, 260), (5, 6, 7))
}
CASES["a long row"] = (padded, (3, LONG_ROW + 1000))


def given(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
def test_any_split_of_the_tiles_gives_the_same_bits(name):
    build, shape = CASES[name]
    kernel, nodes = only_kernel(build, (shape, F32))
    want = run(kernel, nodes, [given(shape)])
    tiles = tiles_of(kernel)
    for seed in range(3):
        assert same(run(kernel, nodes, [given(shape)], splits=random_splits(tiles, seed)), want)


@pytest.mark.parametrize("name", CASES)
def test_any_vector_width_gives_the_same_bits_and_tiles(name):
    build, shape = CASES[name]
    kernel, nodes = only_kernel(build, (shape, F32))
    found = [run(kernel, nodes, [given(shape)], target) for target in widths()]
    assert all(same(f, found[0]) for f in found)
    assert len({tiles_of(kernel, target) for target in widths()}) == 1


def test_an_element_has_the_same_bits_wherever_it_stands():
    values = given((67,))
    whole, nodes = only_kernel(lambda b, x: b.sin(b.exp(x)), ((67,), F32))
    want = run(whole, nodes, [values])[0]
    for length in (1, 3, 16, 21, 66):
        for start in (0, 1, 5):
            part = values[start : start + length]
            kernel, its = only_kernel(lambda b, x: b.sin(b.exp(x)), (part.shape, F32))
            got = run(kernel, its, [part])[0]
            assert got.tobytes() == want[start : start + length].tobytes()


def test_a_scalar_is_one_tile():
    kernel, nodes = only_kernel(flat, ((), F32))
    assert tiles_of(kernel) == 1
    assert np.isclose(run(kernel, nodes, [np.float32(0.5)])[0], np.exp(np.float32(0.25)), rtol=1e-6)


def test_the_code_of_one_run_does_not_know_its_length():
    texts = {
        lower(only_kernel(flat, (s, F32))[0], host()).function.text()
        for s in ((5,), (1000,), (7, 9))
    }
    assert len(texts) == 1


def test_a_long_row_is_cut_into_tiles():
    kernel, _ = only_kernel(padded, ((1, LONG_ROW + 1000), F32))
    short, _ = only_kernel(padded, ((1, 1000), F32))
    assert tiles_of(kernel) > 4
    assert tiles_of(short) == 1


def test_there_is_no_address_arithmetic_in_the_inner_loop():
    def build(b, x, column, row):
        both = b.add(b.mul(x, b.expand(column, (64, 100))), b.expand(row, (64, 100)))
        return b.permute(both, (0, 1))

    kernel, _ = only_kernel(build, ((64, 100), F32), ((64, 1), F32), ((100,), F32))
    for instrs in innermost(lower(kernel, host()).function):
        integer = [i.op for i in instrs if i.results and i.results[0].type in ("i64", "i32")]
        assert "mul" not in integer
        assert "udiv" not in integer
        assert "urem" not in integer


def test_what_does_not_change_along_a_row_is_computed_outside_of_it():
    def build(b, x, column):
        return b.mul(x, b.expand(b.neg(column), (64, 100)))

    kernel, _ = only_kernel(build, ((64, 100), F32), ((64, 1), F32))
    loops = innermost(lower(kernel, host()).function)
    assert any(i.op == "mul" for instrs in loops for i in instrs)
    assert not any(i.op == "fneg" for instrs in loops for i in instrs)


def test_several_outputs_share_what_they_have_in_common():
    def build(b, x):
        e = b.exp(x)
        return e, b.neg(e), b.mul(e, e)

    kernel, nodes = only_kernel(build, ((33,), F32))
    single, _ = only_kernel(lambda b, x: b.exp(x), ((33,), F32))

    def steps(k):
        return sum(i.op == "fma" for block in innermost(lower(k, host()).function) for i in block)

    assert 0 < steps(kernel) <= steps(single)
    e, n, s = run(kernel, nodes, [given((33,))])
    assert np.array_equal(n, -e)
    assert np.array_equal(s, e * e)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_no_byte_beyond_the_end_is_touched(dtype):
    for shape in ((1,), (13,), (5, 3), (3, 65)):
        kernel, nodes = only_kernel(lambda b, x: b.where(b.eq(x, x), x, x), (shape, dtype))
        array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype.numpy)
        assert np.array_equal(run(kernel, nodes, [array])[0], array)


def test_guards_keep_reads_inside():
    # The kernel may not read beyond the array: its last elements lie at the end of a page.
    import mmap

    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    import ctypes

    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + page), page, 0) == 0
    for count in (1, 13, 40):
        x = np.frombuffer(area, np.float32, count, page - 4 * count)
        x[:] = given((count,))
        kernel, nodes = only_kernel(padded, ((count,), F32))
        got = run(kernel, nodes, [x])[0]
        assert np.array_equal(got, np.pad(x, (1, 3), constant_values=7.5))
    assert libc.mprotect(ctypes.c_void_p(start + page), page, 3) == 0


def test_random_words_are_the_same_at_any_place():
    def build(b, x):
        seed, offset = (b.const(k, dt.int64) for k in (5, 9))
        return b.emit(ops.RANDOM_BITS, (seed, offset), ((1000,),))

    kernel, nodes = only_kernel(build, ((1,), F32))
    want = run(kernel, nodes, [])
    for target in widths():
        tiles = tiles_of(kernel, target)
        assert same(run(kernel, nodes, [], target, random_splits(tiles, 3)), want)


@pytest.mark.parametrize("shape", [(1,), (63,), (1000,), (4, 16), (3, 70), (5, 257)])
def test_operations_used_often_are_functions_and_give_the_bits_of_one_at_a_time(shape):
    kernel, nodes = only_kernel(often, (shape, F32))
    apart = sorted(lower(kernel, host()).function.callees)
    assert [name.split(".")[0] for name in apart] == ["exp", "sin"]
    value = given(shape)
    for name in ["exp", "log", "sin", "sin", "neg", "exp"] * 2 + ["exp"]:
        one, its = only_kernel(lambda b, x, name=name: getattr(b, name)(x), (shape, F32))
        assert not any(op in lower(one, host()).function.callees for op in apart)
        (value,) = run(one, its, [value])
    assert same(run(kernel, nodes, [given(shape)]), [value])


def test_used_twice_an_operation_is_written_out():
    kernel, _ = only_kernel(lambda b, x: b.exp(b.exp(x)), ((100,), F32))
    assert not lower(kernel, host()).function.callees


@pytest.mark.parametrize("columns", [1, 16, 128, 300])
def test_rows_picked_from_a_large_array_are_asked_for_ahead(columns):
    """No tile asks for more than its own rows."""

    def build(b, x, index):
        checked = b.emit(ops.WRAP_INDEX, (index,), (x.shape[0], "index"))
        return b.neg(b.take(x, checked, 0))

    rng = np.random.default_rng(0)
    for rows, asked in (((1 << 19) // columns + 1, columns > 1), (7, False)):
        x = rng.standard_normal((rows, columns)).astype(np.float32)
        index = rng.integers(-rows, rows, 1000)
        kernel, nodes = only_kernel(build, ((rows, columns), F32), ((1000,), dt.int64))
        assert ("prefetch" in lower(kernel, host()).function.text()) is asked
        arrays = [x if n.dtype is F32 else index for n in nodes if n.op is ops.LEAF]
        for splits in (None, random_splits(tiles_of(kernel), 0)):
            assert same(run(kernel, nodes, arrays, splits=splits), [-x[index]])
