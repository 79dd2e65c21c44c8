"""Kernels as the scheduler makes them, lowered for any width and run in any split of tiles."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from tenor.compiler import PASSES
from tenor.compiler.lower import lower
from tenor.ir.build import GraphBuilder
from tenor.ir.node import size
from tests.jit import host, run_kernel


def widths():
    """Return the host as targets of each vector width it can run."""
    here = host()
    return [replace(here, vector_bits=bits) for bits in (128, 256, 512) if bits <= here.vector_bits]


def only_kernel(build, *leaves):
    """Return the one kernel of a graph over leaves (shape, dtype), and its pointers' nodes."""
    b = GraphBuilder()
    made = build(b, *(b.leaf(shape, dtype) for shape, dtype in leaves))
    value = b.graph(*(made if isinstance(made, tuple) else (made,)))
    for step in PASSES[: [step.name for step in PASSES].index("fuse") + 1]:
        if step.name != "split-reduce":  # long sums are lowered whole here
            value = step.run(value, host())
    schedule = value.schedule
    assert len(schedule.kernels) == 1, schedule.labels
    return schedule.kernels[0], schedule.values[0]


def memory(nodes, arrays):
    """Return arrays for a kernel's pointers: given ones for leaves, 0xAA bytes for the rest."""
    given = iter(arrays)
    found = []
    for node in nodes:
        if node.op.name == "leaf":
            found.append(np.ascontiguousarray(next(given)))
        else:
            raw = np.full(size(node.shape) * node.dtype.itemsize + 64, 0xAA, np.uint8)
            found.append(raw)
    return found


def results(nodes, held):
    """Return what a kernel wrote; the bytes behind each output must be untouched."""
    found = []
    for node, raw in zip(nodes, held, strict=True):
        if node.op.name == "leaf":
            continue
        count = size(node.shape) * node.dtype.itemsize
        assert (raw[count:] == 0xAA).all(), "written beyond the end"
        found.append(raw[:count].view(node.dtype.numpy).reshape(node.shape))
    return found


def run(kernel, nodes, arrays, target=None, splits=None):
    """Run a kernel; `splits` are ranges of tiles in the order to run them."""
    target = target or host()
    low = lower(kernel, target)
    held = memory(nodes, arrays)
    starts = [buffer.start * buffer.dtype.itemsize for buffer in kernel.buffers]
    for begin, end in splits or [(0, low.tiles)]:
        assert run_kernel(low, held, begin, end, target, starts) == (0, 0)
    return results(nodes, held)


def random_splits(tiles, seed, pieces=7):
    """Return ranges that cover [0, tiles) once, in random order."""
    rng = np.random.default_rng(seed)
    cuts = np.unique(np.concatenate([[0, tiles], rng.integers(0, tiles + 1, pieces)]))
    ranges = [(int(a), int(b)) for a, b in pairwise(cuts)]
    return [ranges[k] for k in rng.permutation(len(ranges))]


def tiles_of(kernel, target=None):
    """Return into how many tiles a kernel is cut."""
    return lower(kernel, target or host()).tiles


def same(a, b):
    """Tell whether lists of arrays are equal bit for bit."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def innermost(function):
    """Return the instructions of the innermost loops of a function."""
    found = []

    def walk(block):
        inner = False
        for instr in block.instrs:
            for child in instr.blocks:
                inner |= walk(child)
        loops = [i for i in block.instrs if i.op in ("for", "while")]
        if not loops:
            found.append(block.instrs)
        return True

    for instr in function.body.instrs:
        for child in instr.blocks:
            walk(child)
    return found
