"""Matrix products against NumPy in float64, and the bits they promise."""

import numpy as np
import pytest

from tenor.compiler.lower.contraction import TEMPLATES
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.kernel import Buffer, Kernel
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


def prepared(a, b, dtype):
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
    lowered = TEMPLATES["matmul"](Kernel("matmul", out.shape, buffers, params=params), host())
    return lowered, [a, b, out], out


def product(a, b, dtype):
    """Return the product our kernel computes."""
    lowered, arrays, out = prepared(a, b, dtype)
    run_kernel(lowered, arrays)
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
