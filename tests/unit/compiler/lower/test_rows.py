"""Kernels over the same rows, joined: the values, and the bits, of each alone."""

import numpy as np
import pytest

from tenor.compiler import compile
from tenor.compiler.lower import lower
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tests.jit import host, run_kernel
from tests.unit.compiler.lower.kernels import random_splits, run, same, tiles_of, widths


def softmax(b, x):
    """Return the nodes of a softmax over the last dim: result, sums, exponentials."""
    n = len(x.shape) - 1
    top = b.emit(ops.EXPAND, (b.emit(ops.MAX, (x,), ((n,), "even")),), (x.shape,))
    e = b.emit(ops.EXP, (b.emit(ops.SUB, (x, top)),))
    total = b.emit(ops.SUM, (e,), ((n,),))
    return b.emit(ops.DIV, (e, b.emit(ops.EXPAND, (total,), (x.shape,)))), total, e


def joined(shape, dtype, outputs=1):
    """Return a softmax's one kernel, and the nodes behind its pointers."""
    b = GraphBuilder()
    made = softmax(b, b.leaf(shape, dtype))
    trace = []
    compile(b.graph(*made[:outputs]), host(), trace=trace, check=True)
    schedule = next(s.value for s in trace if s.name == "rows").schedule
    assert [k.kind for k in schedule.kernels] == ["rows"], schedule.labels
    return schedule.kernels[0], schedule.values[0]


SHAPES = pytest.mark.parametrize(
    "shape", [(1, 70), (3, 17), (32, 10), (1000, 33), (9, 5000), (4, 6, 7, 31), (130, 100)]
)


def some(shape, dtype):
    return np.random.default_rng(3).normal(size=shape).astype(dtype.numpy)


@SHAPES
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_a_softmax_is_numpys(shape, dtype):
    kernel, nodes = joined(shape, dtype)
    x = some(shape, dtype)
    (got,) = run(kernel, nodes, [x])
    e = np.exp(x - x.max(-1, keepdims=True))
    np.testing.assert_allclose(got, e / e.sum(-1, keepdims=True), rtol=4e-6)


@SHAPES
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_bits_are_those_of_each_kernel_alone(shape, outputs):
    kernel, nodes = joined(shape, dt.float32, outputs)
    x = some(shape, dt.float32)
    held = {i: x for i, node in enumerate(nodes) if node.op is ops.LEAF}
    for part in kernel.parts:
        for wire, buffer in zip(part.wires, part.kernel.buffers, strict=True):
            held.setdefault(wire, np.zeros(buffer.size, buffer.dtype.numpy))
        arrays = [held[wire] for wire in part.wires]
        assert run_kernel(lower(part.kernel, host()), arrays) == (0, 0)
    alone = [held[i].reshape(node.shape) for i, node in enumerate(nodes) if node.op is not ops.LEAF]
    assert same(run(kernel, nodes, [x]), alone)


@SHAPES
def test_any_width_and_any_split_of_the_tiles_gives_the_same_bits(shape):
    kernel, nodes = joined(shape, dt.float32, 3)
    x = some(shape, dt.float32)
    first = run(kernel, nodes, [x])
    for target in widths():
        for seed in range(3):
            splits = random_splits(tiles_of(kernel, target), seed)
            assert same(run(kernel, nodes, [x], target, splits), first)


# -- columns ----------------------------------------------------------------------------------
def spread(shape, dims):
    """Return the one kernel of a sum and a sum of squares around it, and its pointers' nodes."""
    b = GraphBuilder()
    x = b.leaf(shape, dt.float32)
    total = b.sum(x, dims)
    apart = b.emit(ops.SUB, (x, b.emit(ops.EXPAND, (total,), (shape,))))
    trace = []
    compile(b.graph(total, b.sum(b.mul(apart, apart), dims)), host(), trace=trace, check=True)
    schedule = next(s.value for s in trace if s.name == "rows").schedule
    assert [k.kind for k in schedule.kernels] == ["rows"], schedule.labels
    return schedule.kernels[0], schedule.values[0]


@pytest.mark.parametrize(
    ("shape", "dims"),
    [((60, 7, 800), (0,)), ((300, 5000), (0,)), ((70, 33), (0,)), ((9, 40, 33), (0, 2)),
     ((6, 19, 50, 70), (0, 2, 3)), ((2000, 17), (0,)), ((20, 100, 40), (1,))],
)  # fmt: skip
def test_two_reductions_over_the_same_columns_have_the_bits_of_each_alone(shape, dims):
    kernel, nodes = spread(shape, dims)
    x = some(shape, dt.float32)
    held = {i: x for i, node in enumerate(nodes) if node.op is ops.LEAF}
    for part in kernel.parts:
        for wire, buffer in zip(part.wires, part.kernel.buffers, strict=True):
            held.setdefault(wire, np.zeros(buffer.size, buffer.dtype.numpy))
        assert run_kernel(lower(part.kernel, host()), [held[w] for w in part.wires]) == (0, 0)
    alone = [held[i].reshape(node.shape) for i, node in enumerate(nodes) if node.op is not ops.LEAF]
    assert same(run(kernel, nodes, [x]), alone)
    for target in widths():
        for seed in range(3):
            splits = random_splits(tiles_of(kernel, target), seed)
            assert same(run(kernel, nodes, [x], target, splits), alone)
