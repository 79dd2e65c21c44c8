"""Matrix products against NumPy in float64, and the bits they promise."""

from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler.emit.llvm import emit
from tenor.compiler.lower.contraction import TEMPLATES, prepared_elements
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.kernel import Buffer, Kernel
from tenor.ir.target import Target
from tests.jit import host, run_kernel

DTYPES = pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
FAST = pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
TOLERANCE = {dt.float32: 2e-6, dt.float64: 1e-14, dt.float16: 2e-3, dt.bfloat16: 1e-2}


def some(dtype, shape, seed=0):
    """Return small random values of a dtype, as it is held in memory."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "float":
        return narrow(rng.normal(size=shape), dtype)
    low, high = {"bool": (0, 2), "int": (-90, 90), "uint": (0, 200)}[dtype.kind]
    return rng.integers(low, high, shape).astype(dtype.numpy)


def narrow(values, dtype):
    """Return values as a dtype is held in memory."""
    return to_bfloat16(values) if dtype is dt.bfloat16 else np.asarray(values).astype(dtype.numpy)


def wide(array, dtype):
    """Return what is held in memory as float64, or as it is."""
    if dtype is dt.bfloat16:
        return from_bfloat16(array).astype(np.float64)
    return array.astype(np.float64) if dtype.kind == "float" else array


def transposed(a):
    """Return the same matrices with their columns contiguous."""
    return np.swapaxes(np.ascontiguousarray(np.swapaxes(a, -1, -2)), -1, -2)


def prepared(a, b, dtype, target=None):
    """Return the kernel's lowering, its arrays and its output for two strided arrays."""
    *batch, m, k = a.shape
    n = b.shape[-1]
    out = np.full((*batch, m, n), 7, dtype.numpy)
    rows = []
    for d, extent in enumerate(batch):
        rows.append((extent, *(x.strides[d] // x.itemsize for x in (a, b, out))))
    params = {
        "batch": tuple(rows), "m": m, "n": n, "k": k, "c": (n, 1), "offsets": (0, 0, 0),
        "a": tuple(s // a.itemsize for s in a.strides[-2:]),
        "b": tuple(s // b.itemsize for s in b.strides[-2:]),
    }  # fmt: skip
    buffers = [Buffer(dtype, x.size) for x in (a, b, out)]
    lowered = TEMPLATES["matmul"](
        Kernel("matmul", out.shape, buffers, params=params), target or host()
    )
    return lowered, [a, b, out], out


def product(a, b, dtype, target=None):
    """Return the product our kernel computes."""
    lowered, arrays, out = prepared(a, b, dtype, target)
    run_kernel(lowered, arrays, target=target)
    return out


def check(a, b, dtype):
    """Compare with NumPy: exact for integers and bool, by the size of the sums for floats."""
    got, expected = product(a, b, dtype), np.matmul(wide(a, dtype), wide(b, dtype))
    if dtype.kind != "float":
        np.testing.assert_array_equal(got, expected)
        return
    bound = np.matmul(np.abs(wide(a, dtype)), np.abs(wide(b, dtype)))
    assert np.all(np.abs(wide(got, dtype) - expected) <= TOLERANCE[dtype] * (bound + 1e-3))


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (13, 33, 65), (6, 16, 8), (0, 3, 4),
                                   (3, 0, 4), (3, 4, 0), (1, 40, 9), (40, 1, 9)])  # fmt: skip
def test_a_product_is_numpys_in_every_dtype(dtype, shape):
    m, n, k = shape
    check(some(dtype, (m, k)), some(dtype, (k, n), 1), dtype)


def spread(x):
    """Return the same matrices with gaps between rows and columns."""
    around = np.zeros((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), x.dtype)
    view = around[..., ::2, ::3]
    view[...] = x
    return view


@FAST
@pytest.mark.parametrize("shape", [(5, 128, 40), (33, 192, 700), (2, 64, 1100), (128, 96, 9)])
@pytest.mark.parametrize("bits", [128, 256, 512])
def test_columns_in_panels_give_the_same_bits(dtype, shape, bits):
    if bits > host().vector_bits:
        pytest.skip("the host has no such vectors")
    m, n, k = shape
    target = replace(host(), vector_bits=bits)
    columns = 64 if n % 64 == 0 else 48
    a, b = some(dtype, (m, k)), some(dtype, (k, n), 1)
    panels = np.ascontiguousarray(b.reshape(k, n // columns, columns).swapaxes(0, 1))
    out = np.full((m, n), 7, dtype.numpy)
    params = {
        "batch": (), "m": m, "n": n, "k": k, "a": (k, 1), "b": (columns, 1), "c": (n, 1),
        "offsets": (0, 0, 0), "panel": columns,
    }  # fmt: skip
    buffers = [Buffer(dtype, x.size) for x in (a, panels, out)]
    kernel = Kernel("matmul", out.shape, buffers, params=params)
    run_kernel(TEMPLATES["matmul"](kernel, target), [a, panels, out], target=target)
    assert out.tobytes() == product(a, b, dtype).tobytes()


@FAST
@pytest.mark.parametrize("shape", [(130, 100, 33), (64, 50, 600), (77, 130, 1100), (200, 17, 40)])
def test_a_transposed_left_side_packed_in_panels_gives_the_same_bits(dtype, shape):
    m, n, k = shape
    a, b = some(dtype, (m, k)), some(dtype, (k, n), 1)
    assert product(transposed(a), b, dtype).tobytes() == product(a, b, dtype).tobytes()


LAYOUTS = {
    "plain": lambda x: x,
    "transposed": transposed,
    "strided": spread,
}
SHAPES = pytest.mark.parametrize(
    "shape", [(1, 33, 70), (33, 1, 70), (1, 1, 70), (37, 50, 600), (32, 130, 1100), (8, 48, 65),
              (7, 17, 16), (64, 10, 128), (1, 530, 1037), (1, 321, 5), (4, 40, 1037)],
)  # fmt: skip
"""(m, n, k): matrix by vector, several blocks of k, few rows, edges of tiles, one long row."""


@FAST
@SHAPES
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_operands_may_be_transposed_and_strided(dtype, shape, left, right):
    m, n, k = shape
    check(LAYOUTS[left](some(dtype, (m, k))), LAYOUTS[right](some(dtype, (k, n), 1)), dtype)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16], ids=lambda d: d.name)
@SHAPES
def test_the_layout_of_the_operands_is_not_in_the_bits(dtype, shape):
    m, n, k = shape
    a, b = some(dtype, (m, k)), some(dtype, (k, n), 1)
    first = product(a, b, dtype).copy()
    for left in LAYOUTS.values():
        for right in LAYOUTS.values():
            np.testing.assert_array_equal(product(left(a), right(b), dtype), first)


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("k", [17, 1100])
@pytest.mark.parametrize("right", LAYOUTS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(dtype, k, right):
    a, b = some(dtype, (65, k)), LAYOUTS[right](some(dtype, (k, 50), 1))
    whole = product(a, b, dtype)
    for rows in (1, 5, 9, 32):
        np.testing.assert_array_equal(product(a[:rows], b, dtype), whole[:rows])
    np.testing.assert_array_equal(product(a[64:], b, dtype), whole[64:])
    for columns in (1, 33):
        np.testing.assert_array_equal(product(a, b[:, :columns], dtype), whole[:, :columns])


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("k", [5, 520, 1037])
def test_a_long_row_has_the_same_bits_alone_and_in_any_batch(dtype, k):
    a, b = some(dtype, (9, k)), some(dtype, (k, 397), 1)
    whole = product(a, b, dtype)
    for x in (b, transposed(b)):
        np.testing.assert_array_equal(product(a[4:5], x, dtype), whole[4:5])
        np.testing.assert_array_equal(product(transposed(x.T), a[4:5].T, dtype), whole[4:5].T)


def test_the_sum_is_one_chain_of_fused_steps_in_each_block_of_k():
    """Powers of two show the order: 2**24 swallows a one added to it, and not a two."""
    k = 1024
    a = np.ones((1, k), np.float32)
    a[0, 0], a[0, 512] = 2.0**24, -(2.0**24)
    b = np.ones((k, 1), np.float32)
    # The first block keeps 2**24, its ones lost; the second keeps -2**24 and loses no one.
    assert product(a, b, dt.float32)[0, 0] == 511.0


@FAST
def test_a_matrix_may_be_shared_by_the_batch(dtype):
    a, b = some(dtype, (4, 3, 10, 20)), some(dtype, (20, 33), 1)
    check(a, np.broadcast_to(b, (4, 3, 20, 33)), dtype)
    check(np.broadcast_to(a[:, :1], a.shape), some(dtype, (4, 3, 20, 33), 2), dtype)
    check(a, np.broadcast_to(some(dtype, (3, 20, 33)), (4, 3, 20, 33)), dtype)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int16], ids=lambda d: d.name)
def test_any_split_of_the_tiles_gives_the_same_bits(dtype):
    a, b = some(dtype, (150, 520)), transposed(some(dtype, (520, 300), 1))
    lowered, arrays, out = prepared(a, b, dtype)
    assert lowered.tiles > 2
    run_kernel(lowered, arrays)
    whole = out.copy()
    out[...] = 7
    for tile in reversed(range(lowered.tiles)):
        run_kernel(lowered, arrays, tile, tile + 1)
    np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize("right", LAYOUTS)
def test_any_split_of_a_long_row_gives_the_same_bits(right):
    a, b = some(dt.float32, (1, 700)), LAYOUTS[right](some(dt.float32, (700, 6001), 1))
    lowered, arrays, out = prepared(a, b, dt.float32)
    assert lowered.tiles > 2
    run_kernel(lowered, arrays)
    whole = out.copy()
    out[...] = 7
    for tile in reversed(range(lowered.tiles)):
        run_kernel(lowered, arrays, tile, tile + 1)
    np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize(("m", "n"), [(9, 1), (9, 17), (9, 33), (1, 545)])
@pytest.mark.parametrize("k", [5, 600])
def test_nothing_beyond_the_result_is_written(dtype, m, n, k):
    room = np.ones(m * n + 64, dtype.numpy)
    lowered, (a, b, _), _ = prepared(some(dtype, (m, k)), some(dtype, (k, n), 1), dtype)
    run_kernel(lowered, [a, b, room[32:]])
    np.testing.assert_array_equal(room[:32], 1)
    np.testing.assert_array_equal(room[32 + m * n :], 1)


@pytest.mark.parametrize(
    "target", [Target.x86_64_avx2(), Target.x86_64_avx512(), Target.aarch64(), Target.wasm32()],
    ids=["avx2", "avx512", "neon", "wasm"],
)  # fmt: skip
def test_it_compiles_for_every_target(target):
    for a, b in (((33, 70), (70, 50)), ((1, 600), (600, 250))):
        for layout in LAYOUTS.values():
            operands = some(dt.float32, a), layout(some(dt.float32, b, 1))
            lowered, _, _ = prepared(*operands, dt.float32, target)
            module = llvm.parse_assembly(emit(lowered.function, "kernel", target))
            module.verify()


@pytest.mark.skipif(host().vector_bits < 256, reason="needs AVX2")
@FAST
def test_narrower_vectors_give_the_same_bits(dtype):
    narrow_target = replace(host(), vector_bits=128, registers=16)
    for m, n, k in ((19, 37, 40), (19, 37, 700), (1, 270, 700)):
        a, b = some(dtype, (m, k)), some(dtype, (k, n), 1)
        for right in LAYOUTS.values():
            wide_bits = product(a, right(b), dtype).copy()
            np.testing.assert_array_equal(product(a, right(b), dtype, narrow_target), wide_bits)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("k", [512, 513, 4096, 5000])
def test_a_dot_product_has_the_bits_it_has_in_a_larger_product(dtype, k):
    a, b = some(dtype, (2, k)), some(dtype, (k, 3), 1)
    whole = product(a, b, dtype)
    alone = product(a[1:], transposed(b)[:, 2:], dtype)
    np.testing.assert_array_equal(alone, whole[1:, 2:])


def test_a_dot_product_keeps_the_sign_of_zero():
    a, b = np.full((1, 600), -1e-30, np.float32), np.full((600, 1), 1e-30, np.float32)
    assert np.signbit(product(a, b, dt.float32)[0, 0])


NARROW = replace(host(), vector_bits=256, registers=16)


def in_strips(a, b, dtype, params, target, tiles=None):
    """Return the product of a and b^T that reads b in strips, done for some of its tiles."""
    (m, k), n = a.shape, len(b)
    buffers = [Buffer(dtype, size) for size in (m * k, n * k, m * n)]
    kernel = Kernel("matmul", (m, n), buffers, params=params)
    assert prepared_elements(kernel, target) == n * k
    strips, out = np.full(n * k, 7, dtype.numpy), np.full((m, n), 7, dtype.numpy)
    maker = Kernel("prepare", (n * k,), [buffers[1], Buffer(dtype, n * k, written=True)],
                   params=params | {"of": "matmul"})  # fmt: skip
    run_kernel(TEMPLATES["prepare"](maker, target), [b, strips], target=target)
    main = TEMPLATES["matmul"](replace(kernel, params=params | {"prepared": True}), target)
    run_kernel(main, [a, strips, out], *(tiles(main.tiles) if tiles else ()), target=target)
    return out


@pytest.mark.skipif(host().vector_bits < 256, reason="needs AVX2")
@FAST
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(1, 784, 512), (1, 70, 129), (5, 33, 100), (1, 1100, 320), (16, 600, 70), (9, 33, 10)],
)
def test_a_matrix_brought_into_strips_gives_the_same_bits(dtype, m, k, n):
    a, b = some(dtype, (m, k)), some(dtype, (n, k), 1)
    params = {
        "batch": (), "m": m, "n": n, "k": k, "a": (k, 1), "b": (1, k), "c": (n, 1),
        "offsets": (0, 0, 0),
    }  # fmt: skip
    found = [in_strips(a, b, dtype, params, target) for target in (host(), NARROW)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], product(a, b.T, dtype))


@pytest.mark.parametrize(("m", "k", "n"), [(1, 784, 512), (8, 512, 512), (16, 300, 1000)])
def test_half_of_the_tiles_with_strips_is_half_of_the_columns(m, k, n):
    a, b = some(dt.float32, (m, k)), some(dt.float32, (n, k), 1)
    params = {
        "batch": (), "m": m, "n": n, "k": k, "a": (k, 1), "b": (1, k), "c": (n, 1),
        "offsets": (0, 0, 0),
    }  # fmt: skip
    out = in_strips(a, b, dt.float32, params, host(), lambda count: (0, count // 2))
    done = (out != 7).all(0)
    assert done[: done.sum()].all()
    assert abs(done.sum() - n / 2) <= n / 16


def test_a_row_is_cut_in_two_and_a_small_matrix_is_read_where_it_lies():
    def lowered(m, k, n):
        return prepared(some(dt.float32, (m, k)), some(dt.float32, (k, n), 1), dt.float32)[0]

    assert lowered(1, 1024, 1024).tiles == 2
    assert lowered(1, 70, 90).tiles == 1
    assert not lowered(128, 128, 128).scratch


@FAST
def test_only_what_few_rows_meet_whole_is_brought_into_strips(dtype):
    params = {
        "batch": (), "m": 4, "n": 64, "k": 32, "a": (32, 1), "b": (1, 32), "c": (64, 1),
        "offsets": (0, 0, 0),
    }  # fmt: skip
    kernel = Kernel("matmul", (4, 64), [Buffer(dtype, 4096)] * 3, params=params)
    assert prepared_elements(kernel, host())
    others = ({"m": 40}, {"b": (64, 1)}, {"b": (1, 33)}, {"offsets": (0, 5, 0)},
              {"batch": ((3, 128, 2048, 256),)})  # fmt: skip
    for other in others:
        assert not prepared_elements(replace(kernel, params=params | other), host())


@FAST
@pytest.mark.parametrize("k", [1100, 1102, 2100])
def test_blocks_of_k_taken_together_give_the_same_bits(dtype, k):
    """Where C leaves the cache before its next block of k, B is packed for several of them."""
    m, n = 1030, 512
    a, b = some(dtype, (m, k)), some(dtype, (k, n), 1)
    lowered, _, _ = prepared(a, b, dtype)
    few, _, _ = prepared(a[:60], b, dtype)
    assert lowered.scratch > 1.5 * few.scratch
    assert product(a, b, dtype)[500:560].tobytes() == product(a[500:560], b, dtype).tobytes()


@pytest.mark.parametrize(
    ("m", "k", "n"), [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (128, 768, 3072),
                      (128, 3072, 768), (1000, 300, 1000), (768, 128, 3072)],
)  # fmt: skip
def test_the_first_half_of_the_tiles_is_half_of_the_work(m, k, n):
    a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
    lowered, arrays, out = prepared(a, b, dt.float32)
    assert lowered.tiles % 2 == 0
    assert 4 <= lowered.tiles <= 16
    run_kernel(lowered, arrays, 0, lowered.tiles // 2)
    assert abs(np.mean(out == k) - 0.5) < 0.04
