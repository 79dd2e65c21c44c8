"""Elements a few apart are loaded as vectors with what lies between, and nothing beyond them."""

import ctypes
import mmap

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler import compile
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.target import Target
from tenor.runtime import cpu
from tests.jit import run_kernel

TRIPLE = llvm.get_process_triple()
TARGETS = {
    "this machine": cpu.host_target(),
    "AVX2": Target(TRIPLE, "haswell", "", 256, 16),
    "SSE2": Target(TRIPLE, "x86-64", "", 128, 16),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [dt.int8, dt.int16, dt.float32])
def test_pools_touch_nothing_beyond_the_image(name, dtype):
    if name == "AVX2" and not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("this machine has no avx2")
    target, page = TARGETS[name], mmap.PAGESIZE
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mprotect"):
        pytest.skip("no mprotect here")
    area = mmap.mmap(-1, 2 * page)
    base = np.frombuffer(area, np.uint8).ctypes.data
    assert not libc.mprotect(ctypes.c_void_p(base + page), ctypes.c_size_t(page), 0)
    for shape, size, step in (((2, 3, 8, 8), 2, 2), ((1, 2, 5, 39), 3, 2), ((1, 1, 9, 70), 2, 3),
                              ((1, 1, 4, 68), 1, 4)):  # fmt: skip
        b = GraphBuilder()
        x = b.leaf(shape, dtype)
        inner = b.emit(ops.UNFOLD, (x,), (2, size, step, 1))
        graph = b.graph(b.emit(ops.MAX, (b.emit(ops.UNFOLD, (inner,), (3, size, step, 1)),),
                               ((4, 5), "first")))  # fmt: skip
        trace = []
        compile(graph, target, trace=trace)
        low = next(s.value for s in trace if s.name == "lower").lowered
        count = int(np.prod(shape))
        start = page - count * dtype.itemsize
        image = np.frombuffer(area, dtype.numpy, count, start).reshape(shape)
        image[...] = np.random.default_rng(0).integers(-90, 90, shape)
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), (2, 3))
        want = windows[:, :, ::step, ::step].max((4, 5))
        out = np.zeros(want.shape, dtype.numpy)
        assert len(low) == 1
        run_kernel(low[0], [image, out], target=target)
        np.testing.assert_array_equal(out, want)
