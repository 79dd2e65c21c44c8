"""Compiles small graphs and compares what they compute with the reference interpreter."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tenor.compiler import PASSES, compile
from tenor.compiler.emit import reference
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.build import GraphBuilder
from tenor.runtime import allocator, cpu, executable

if TYPE_CHECKING:
    from collections.abc import Callable

AXES = "op x dtype x shape x mode"
OPTIONAL = tuple(step.name for step in PASSES if not step.required)
DOCS = Path(__file__).parents[2] / "docs"
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


class Leaf(NamedTuple):
    """A tensor a sample is given: its shape and dtype, and how its values are drawn."""

    shape: tuple[int, ...]
    dtype: dt.DType
    draw: Callable[..., Any]


class Sample(NamedTuple):
    """One use of an op.

    Attributes:
        label: What is special about it.
        leaves: What it is given.
        build: From a builder and the leaves to a node or a tuple of nodes.
        scalars: (dtype, value) of run-time numbers; their nodes follow the leaves'.
        modes: Which of MODES it is tried in.
    """

    label: str
    leaves: tuple[Leaf, ...]
    build: Callable[..., Any]
    scalars: tuple[tuple[dt.DType, Any], ...] = ()
    modes: tuple[str, ...] = ("plain", "apart", "fed", "strided")


class Tolerance(NamedTuple):
    """How far a float result may be from the oracle's; integers and bools are exact always.

    Attributes:
        ulps: Units in the last place, by dtype name; 0 where a dtype is not named.
        scaled: Multiples of eps times what the op gives for the operands' absolute values.
        largest: Multiples of eps times the result's largest element, where parts cancel.
        zero_sign: Whether -0 and 0 differ.
    """

    ulps: dict[str, float] = {}
    scaled: float = 0.0
    largest: float = 0.0
    zero_sign: bool = True


EXACT = Tolerance()
HALF = {"float16": 1.0, "bfloat16": 1.0}


class Case(NamedTuple):
    """A primitive's row: the dtypes it is tried in, its samples for one of them, the tolerance."""

    dtypes: tuple[dt.DType, ...]
    samples: Callable[[dt.DType], Any]
    tolerance: Tolerance = EXACT


# -- values -----------------------------------------------------------------------------------
def narrow(values, dtype):
    """Return values as a dtype is held in memory."""
    with np.errstate(all="ignore"):
        if dtype is dt.bfloat16:
            return np.asarray(to_bfloat16(np.asarray(values, np.float32)))
        return np.asarray(values).astype(dtype.numpy)


def wide(array, dtype):
    """Return what is held in memory as numbers."""
    return from_bfloat16(array) if dtype is dt.bfloat16 else array


SPECIAL = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1e-40, -1e-40,
           88.8, -104.0, 65504.0, 3e38, -3e38, 1e5, 7e-5, 1.5707964)  # fmt: skip


def numbers(rng, shape, dtype):
    """Draw anything: infinities, NaN, zeros of both signs, extremes."""
    if dtype.kind == "float":
        made = rng.normal(size=shape) * rng.choice([0.1, 1.0, 30.0], shape)
        return np.where(rng.random(shape) < 0.25, rng.choice(SPECIAL, shape), made)
    if dtype.kind == "bool":
        return rng.integers(0, 2, shape)
    info = np.iinfo(dtype.numpy)
    small = rng.integers(max(info.min, -9), 10, shape).astype(dtype.numpy)
    full = rng.integers(info.min, info.max, shape, dtype.numpy, endpoint=True)
    edge = rng.choice(np.array([info.min, info.max, 0, 1, info.max - 1], dtype.numpy), shape)
    return np.choose(rng.integers(0, 3, shape), [small, full, edge])


def small(rng, shape, dtype):
    """Draw moderate numbers: floats around 1, integers whose sums and products stay small."""
    if dtype.kind == "float":
        return rng.normal(size=shape)
    low, high = {"bool": (0, 2), "int": (-4, 5), "uint": (0, 6)}[dtype.kind]
    return rng.integers(low, high, shape)


def repeated(rng, shape, dtype):
    """Draw few different numbers, so that there are ties; among floats NaN now and then."""
    if dtype.kind == "float":
        return rng.choice(
            [-1.5, -0.0, 0.0, 2.0, 2.0, 7.0, math.nan],
            shape,
            p=[0.2, 0.1, 0.2, 0.2, 0.15, 0.1, 0.05],
        )
    return small(rng, shape, dtype)


def between(low, high):
    """Return a draw of integers (or floats) in [low, high)."""

    def draw(rng, shape, dtype):
        if dtype.kind == "float":
            return rng.uniform(low, high, shape)
        return rng.integers(low, high, shape)

    return draw


def seed_of(*parts):
    """Return a seed that depends on the names alone."""
    return zlib.crc32(" ".join(map(str, parts)).encode())


# -- modes ------------------------------------------------------------------------------------
def _as_is(b, leaf, node):
    return node


def _fed(b, leaf, x):
    """Pass an operand through two operations that cancel, so that it is computed in the kernel."""
    if x.dtype.kind == "bool":
        return b.logical_not(b.logical_not(x))
    return b.neg(b.neg(x))


def _strided(b, leaf, x):
    """Look at an operand through a permutation and a slice with negative steps."""
    if not leaf.shape:
        return x
    x = b.permute(x, tuple(reversed(range(len(leaf.shape)))))
    ones = (1,) * len(leaf.shape)
    starts = tuple(2 * n - 1 if n else 0 for n in leaf.shape)
    return b.slice(x, starts, leaf.shape, tuple(-2 * k for k in ones))


def _strided_shape(shape):
    return tuple(2 * n + 1 for n in reversed(shape))


MODES = {"plain": _as_is, "apart": _as_is, "fed": _fed, "strided": _strided}


def graph_of(sample, mode):
    """Return a sample's graph, and the shapes and draws of what it is given."""
    b = GraphBuilder()
    change = MODES[mode]
    leaves, nodes = [], []
    for leaf in sample.leaves:
        shape = _strided_shape(leaf.shape) if mode == "strided" and leaf.shape else leaf.shape
        nodes.append((leaf, b.leaf(shape, leaf.dtype)))
        leaves.append(Leaf(shape, leaf.dtype, leaf.draw))
    numbers_ = [b.scalar(d) for d, _ in sample.scalars]
    made = sample.build(b, *(change(b, leaf, x) for leaf, x in nodes), *numbers_)
    outputs = made if isinstance(made, tuple) else (made,)
    if mode == "fed":
        outputs = (*outputs, *(_fed(b, None, o) for o in outputs))
    return b.graph(*outputs), leaves


# -- running ----------------------------------------------------------------------------------
def drawn(leaves, seed):
    """Return values for leaves."""
    rng = np.random.default_rng(seed)
    return [narrow(leaf.draw(rng, leaf.shape, leaf.dtype), leaf.dtype) for leaf in leaves]


def compiled(graph, skip=()):
    """Return a graph made ready to run."""
    return executable.load(compile(graph, cpu.host_target(), skip=frozenset(skip), check=True))


def run(graph, ready, arrays, scalars=()):
    """Run a compiled graph; return its outputs as arrays and the status."""
    buffers, code, value = ready.run([allocator.copy_of(a) for a in arrays], list(scalars))
    outputs = [
        np.array(buffer.array(node.dtype.numpy, node.shape))
        for node, buffer in zip(graph.outputs, buffers, strict=True)
    ]
    return outputs, (code, value)


def magnitudes(graph, arrays, scalars):
    """Return the graph's outputs for the absolute values of its floats: what errors scale with."""
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    positive = [
        narrow(np.abs(wide(a, n.dtype)), n.dtype) if n.dtype.kind == "float" else a
        for n, a in zip(leaves, arrays, strict=True)
    ]
    outputs = reference.run(graph, positive, scalars)
    return [wide(o, n.dtype) for n, o in zip(graph.outputs, outputs, strict=True)]


# -- comparing --------------------------------------------------------------------------------
def ordinal(array, dtype):
    """Return floats' places among all floats of their dtype, as integers; -0 and 0 differ."""
    bits = array if dtype is dt.bfloat16 else array.view(f"u{dtype.itemsize}")
    signed = bits.astype(object if dtype.itemsize == 8 else np.int64)
    top = 1 << (8 * dtype.itemsize - 1)
    return np.where(signed >= top, top - 1 - signed, signed)


def differing(got, want, dtype, tolerance, scale=None):
    """Return a mask of the elements that are too far apart."""
    if dtype.kind != "float":
        return got != want
    a, b = np.asarray(wide(got, dtype)), np.asarray(wide(want, dtype))
    nan = np.isnan(a) & np.isnan(b)
    if not tolerance.zero_sign:
        nan |= (a == 0) & (b == 0)
    far = np.abs(ordinal(got, dtype) - ordinal(want, dtype)) > tolerance.ulps.get(dtype.name, 0)
    far = far.astype(bool)
    if scale is not None:
        with np.errstate(all="ignore"):
            room = tolerance.scaled * EPS[dtype.compute.name] * np.abs(scale.astype(np.float64))
            far &= ~(np.abs(a.astype(np.float64) - b.astype(np.float64)) <= room)
    if tolerance.largest and b.size:
        room = tolerance.largest * EPS[dtype.compute.name] * np.abs(b).max()
        far &= ~(np.abs(a - b) <= room)
    return far & ~nan


def complaint(sample, mode, tolerance=EXACT, seed=0):
    """Return what is wrong with a sample in a mode, or None."""
    graph, leaves = graph_of(sample, mode)
    arrays, scalars = drawn(leaves, seed), [value for _, value in sample.scalars]
    want = reference.run(graph, arrays, scalars)
    ready = compiled(graph, OPTIONAL if mode == "apart" else ())
    got, status = run(graph, ready, arrays, scalars)
    if status != (0, 0):
        return f"status {status}"
    scales = magnitudes(graph, arrays, scalars) if tolerance.scaled else [None] * len(got)
    for k, (node, x, y, scale) in enumerate(zip(graph.outputs, got, want, scales, strict=True)):
        bad = differing(x, y, node.dtype, tolerance, scale)
        if np.any(bad):
            first = tuple(int(i) for i in np.argwhere(bad)[0]) if bad.ndim else ()
            shown = f"{wide(x, node.dtype)[first]!r} for {wide(y, node.dtype)[first]!r}"
            return f"output {k}: {np.sum(bad)} of {bad.size} differ, at {first} {shown}"
    return None


def stated_ulps():
    """Return the bounds docs/numerics.md states: {function: (float32, float64)}."""
    rows = re.findall(
        r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|", (DOCS / "numerics.md").read_text(), re.M
    )
    return {name: (float(a), float(b)) for name, a, b in rows}
