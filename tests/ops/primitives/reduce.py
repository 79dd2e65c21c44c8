"""What the reductions are tried on."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.ops.differential import EXACT, HALF, Case, Leaf, Sample, Tolerance, numbers, repeated

SHAPES = ((1,), (5,), (16,), (33,), (100,), (7, 13), (3, 50), (64, 40), (17, 1), (4, 1, 9),
          (3, 5, 34), (2, 3, 4, 5))  # fmt: skip
EMPTY = ((0,), (3, 0, 2), (0, 4))
LONG = ((40_000,), (3, 40_000), (40_000, 3), (1100, 70))
EVERY_MODE = ((33,), (3, 50), (64, 40), (2, 3, 4, 5))


def finite(rng, shape, dtype):
    """Draw what can be summed: floats around 1, integers of full range."""
    return rng.normal(size=shape) if dtype.kind == "float" else numbers(rng, shape, dtype)


def near_one(rng, shape, dtype):
    """Draw factors whose product neither overflows nor underflows."""
    if dtype.kind == "float":
        return rng.choice([-1.0, 1.0], shape) * np.exp(rng.normal(size=shape) / 8)
    return numbers(rng, shape, dtype)


def modes(shape):
    """Return the modes for a shape: all of them for some."""
    return ("plain", "apart", "fed", "strided") if shape in EVERY_MODE else ("plain",)


def over_dims(op, draw, *attrs, empty):
    """Return samples of a reduction over every set of dims."""

    def of(dtype):
        shapes = SHAPES + (EMPTY if empty else ())
        every = [
            (s, dims)
            for s in shapes
            for k in range(1, len(s) + 1)
            for dims in combinations(range(len(s)), k)
        ]
        for shape, dims in every + [(s, tuple(range(len(s)))) for s in LONG] + [((1100, 70), (0,))]:
            leaf = Leaf(shape, dtype, draw)
            label = f"{shape} over {dims}"

            def build(b, x, dims=dims):
                return b.emit(op, (x,), (dims, *attrs))

            yield Sample(label, (leaf,), build, modes=modes(shape))

    return of


def over_one(op):
    """Return samples of a reduction over one dim."""

    def of(dtype):
        for shape in (*SHAPES, *LONG):
            for dim in range(len(shape)):
                leaf = Leaf(shape, dtype, repeated)

                def build(b, x, dim=dim):
                    return b.emit(op, (x,), (dim,))

                yield Sample(f"{shape} over {dim}", (leaf,), build, modes=modes(shape))

    return of


# The oracle adds in float64; a kernel in 32 (or 16) interleaved partial sums of the dtype.
SUM = Tolerance(HALF, scaled=4.0)
# Each factor may add half an ulp; the errors are random and grow with the root of their number.
PROD = Tolerance(HALF, scaled=150.0)
UNSIGNED_ZERO = Tolerance(zero_sign=False)
CASES = {
    "sum": Case(dt.ALL, over_dims(ops.SUM, finite, empty=True), SUM),
    "prod": Case(dt.ALL, over_dims(ops.PROD, near_one, empty=True), PROD),
    "max": Case(dt.ALL, over_dims(ops.MAX, repeated, "even", empty=False), UNSIGNED_ZERO),
    "min": Case(dt.ALL, over_dims(ops.MIN, repeated, "first", empty=False), UNSIGNED_ZERO),
    "argmax": Case(dt.ALL, over_one(ops.ARGMAX), EXACT),
    "argmin": Case(dt.ALL, over_one(ops.ARGMIN), EXACT),
}
