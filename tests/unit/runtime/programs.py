"""Small programs that runtime tests run."""

from __future__ import annotations

import numpy as np

from tenor.compiler import compile
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.runtime import allocator, cpu, executable


def loaded(graph):
    """Return a graph made ready to run."""
    return executable.load(compile(graph, cpu.host_target()))


def buffers(*arrays):
    """Return copies of arrays as buffers."""
    return [allocator.copy_of(a) for a in arrays]


def values(graph, outputs):
    """Return buffers as arrays."""
    every = zip(graph.outputs, outputs, strict=True)
    return [np.array(b.array(n.dtype.numpy, n.shape)) for n, b in every]


def wide_sum(rows=400, columns=500):
    """Return a graph large enough to be shared among threads: row sums of exp."""
    b = GraphBuilder()
    x = b.leaf((rows, columns), dt.float32)
    return b.graph(b.sum(b.exp(x), (1,)), b.mul(x, x))


def checked_take(length=10, count=6):
    """Return a graph that checks indices, and one kernel that must not run when they are bad."""
    b = GraphBuilder()
    x, index = b.leaf((length,), dt.float32), b.leaf((count,), dt.int64)
    taken = b.take(x, b.emit(ops.WRAP_INDEX, (index,), (length, "index")), 0)
    ordered = b.cumsum(taken, 0)
    return b.graph(b.cumsum(ordered, 0, reverse=True))
