"""What the primitives without tensor operands are tried on."""

from __future__ import annotations

import math

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.ops.differential import Case, Leaf, Sample, numbers, small

SHAPES = ((), (0,), (1,), (5,), (33,), (1000,), (7, 13), (3, 0, 2))


def leaves(dtype):
    """Return samples that give back what they are given: once, twice, unused."""
    for shape in SHAPES:
        leaf = Leaf(shape, dtype, numbers)
        yield Sample(f"{shape}", (leaf,), lambda b, x: x)
        yield Sample(
            f"{shape} twice", (leaf, leaf), lambda b, x, y: (y, y), modes=("plain", "apart")
        )
        yield Sample(f"{shape} beside another", (leaf, leaf), lambda b, x, y: (y, x))


def values(dtype):
    """Return numbers of a dtype."""
    if dtype.kind == "float":
        return (
            0.0,
            -0.0,
            1.0,
            0.1,
            -1 / 3,
            math.inf,
            -math.inf,
            math.nan,
            1e-45,
            3e38,
            65519.9,
            1e300,
        )
    if dtype.kind == "bool":
        return (False, True)
    info = np.iinfo(dtype.numpy)
    return (0, 1, 7, info.min, info.max)


def constants(dtype):
    """Return samples of literals, alone and spread."""
    for value in values(dtype):
        yield Sample(f"{value}", (), lambda b, v=value: b.const(v, dtype), modes=("plain", "fed"))
        yield Sample(
            f"{value} (5,)", (), lambda b, v=value: b.full((5,), v, dtype), modes=("plain", "fed")
        )
    every = values(dtype)
    yield Sample("all at once", (), lambda b: tuple(b.full((3,), v, dtype) for v in every))
    yield Sample(
        "joined",
        (),
        lambda b: b.concat([b.full((2,), v, dtype) for v in every], 0),
        modes=("plain", "apart"),
    )


def scalars(dtype):
    """Return samples of run-time numbers, alone, spread, and meeting a tensor."""
    for value in values(dtype):
        if dtype is dt.uint64 and value >= 2**63:
            value = value - 2**64  # a slot holds 64 bits; the sign is the dtype's business
        given = ((dtype, value),)
        modes = ("plain", "apart", "fed")
        yield Sample(f"{value}", (), lambda b, s: s, given, modes)
        yield Sample(f"{value} (5,)", (), lambda b, s: b.expand(s, (5,)), given, modes)
    both = ((dtype, values(dtype)[1]), (dtype, values(dtype)[0]))
    leaf = Leaf((33,), dtype, small)

    def chosen(b, x, s, t):
        return b.where(b.eq(x, s), t, x), b.where(b.eq(x, t), s, x)

    yield Sample("two of them", (leaf,), chosen, both, ("plain", "apart", "fed", "strided"))


def iotas(dtype):
    """Return samples of counting: alone, along a dim, and through movement."""
    for length in (0, 1, 5, 33, 100):
        yield Sample(
            f"{length}", (), lambda b, n=length: b.iota(n, dtype), modes=("plain", "apart", "fed")
        )

    def grid(b):
        return b.expand(b.reshape(b.iota(40, dtype), (40, 1)), (40, 7))

    def backwards(b):
        return b.slice(b.iota(70, dtype), (69,), (35,), (-2,))

    for name, build in (("a column", grid), ("backwards", backwards)):
        yield Sample(name, (), build, modes=("plain", "apart", "fed"))


def random_bits(_dtype):
    """Return samples of random words: seeds and offsets of any size."""
    numbers_ = ((0, 0), (1, 2**32 - 1), (-1, 5), (2**63 - 1, -(2**63)), (12345, -1))
    for shape in SHAPES:
        for seed, offset in numbers_:
            given = ((dt.int64, seed), (dt.int64, offset))

            def build(b, s, o, shape=shape):
                return b.emit(ops.RANDOM_BITS, (s, o), (shape,))

            yield Sample(f"{shape} {seed} {offset}", (), build, given, ("plain", "apart"))

    def moved(b, s, o):
        bits = b.emit(ops.RANDOM_BITS, (s, o), ((6, 7),))
        return b.permute(bits, (1, 0)), bits

    yield Sample("transposed", (), moved, ((dt.int64, 3), (dt.int64, 4)), ("plain", "apart", "fed"))


CASES = {
    "leaf": Case(dt.ALL, leaves),
    "const": Case(dt.ALL, constants),
    "scalar": Case(dt.ALL, scalars),
    "iota": Case((dt.float32, dt.float64, dt.int32, dt.int64, dt.uint8, dt.float16), iotas),
    "random_bits": Case((dt.uint32,), random_bits),
}
