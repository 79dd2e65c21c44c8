"""What the elementwise primitives are tried on."""

from __future__ import annotations

import math

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.ops.differential import (
    EXACT,
    HALF,
    Case,
    Leaf,
    Sample,
    Tolerance,
    between,
    numbers,
    small,
    stated_ulps,
)

# Empty, none, one, odd, a vector's multiples, and what lies between.
FLAT = ((), (0,), (1,), (5,), (16,), (33,), (64,), (1000,), (3, 0, 2), (7, 13), (2, 3, 4, 5))
IN_EVERY_MODE = ((33,), (7, 13))
STRIDED = ((0,), (1,), (37,), (7, 13), (40, 3), (3, 1, 20))
SIGNED = tuple(d for d in dt.ALL if d.kind in ("float", "int"))
NUMBERS = tuple(d for d in dt.ALL if d.kind != "bool")
BITS = (*dt.INTS, dt.bool_)
INTEGERS = dt.INTS
QUICK = ("plain", "apart", "fed")


def emitted(op, *attrs):
    """Return a build of one op."""
    return lambda b, *xs: b.emit(op, xs, attrs)


def samples(op, draws, attrs=()):
    """Return samples of an op whose operands have the same dtype."""

    def of(dtype):
        dtypes = [dtype] * len(draws)
        if op is ops.WHERE:
            dtypes[0] = dt.bool_
        build = emitted(op, *attrs)
        for shape in FLAT:
            leaves = tuple(Leaf(shape, d, draw) for d, draw in zip(dtypes, draws, strict=True))
            modes = QUICK if shape in IN_EVERY_MODE else ("plain",)
            yield Sample(f"{shape}", leaves, build, modes=modes)
        for shape in STRIDED:
            leaves = tuple(Leaf(shape, d, draw) for d, draw in zip(dtypes, draws, strict=True))
            yield Sample(f"{shape}", leaves, build, modes=("strided",))
        yield from _literals(dtypes, build)
        yield from _scalars(dtypes, draws, build)
        yield from _expanded(dtypes, draws, build)

    return of


def _literals(dtypes, build):
    """Yield samples whose operands are all known while recording, extremes of integers included."""
    rows = {
        "float": ((1.5, 2.0, -0.25), (-3.0, -0.0, 4.0)),
        "bool": ((True, False, True), (False, True, True)),
        "int": ((7, 2, 3), (100, 3, 1)),
        "uint": ((7, 2, 3), (200, 3, 1)),
    }
    for row in rows[dtypes[-1].kind]:

        def known(b, row=row):
            made = build(b, *(b.const(v, d) for v, d in zip(row, dtypes, strict=False)))
            return b.expand(made, (3,)), made

        yield Sample(f"literals {row}", (), known, modes=("plain", "apart"))


def _scalars(dtypes, draws, build):
    """Yield samples where some operand has shape () and meets every element."""
    if len(draws) == 1:
        return
    for at in range(len(draws)):
        leaves = tuple(
            Leaf(() if i == at else (6, 21), d, draw)
            for i, (d, draw) in enumerate(zip(dtypes, draws, strict=True))
        )
        yield Sample(f"operand {at} of shape ()", leaves, build, modes=("plain", "fed"))


def _expanded(dtypes, draws, build):
    """Yield samples whose operands are broadcast: a column, a row, one element."""
    for shape in ((9, 1), (1, 35), (1, 1), (35,)):
        leaves = tuple(
            Leaf(shape if i == len(draws) - 1 else (9, 35), d, draw)
            for i, (d, draw) in enumerate(zip(dtypes, draws, strict=True))
        )

        def spread(b, *xs, build=build):
            return build(b, *(b.expand(x, (9, 35)) for x in xs))

        yield Sample(f"{shape} expanded", leaves, spread, modes=("plain", "strided"))


def unary(op, dtypes, draw=numbers, tolerance=EXACT):
    """Return the row of an op with one operand."""
    return Case(dtypes, samples(op, (draw,)), tolerance)


def binary(op, dtypes, a=numbers, b=numbers, tolerance=EXACT):
    """Return the row of an op with two operands."""
    return Case(dtypes, samples(op, (a, b)), tolerance)


def bounded(name):
    """Return the tolerance docs/numerics.md states; the oracle is off by some ulps too."""
    f32, f64 = stated_ulps()[name]
    return Tolerance({"float32": math.ceil(f32), "float64": math.ceil(f64) + 3, **HALF})


def shift_counts(rng, shape, dtype):
    """Draw shifts below the width."""
    return rng.integers(0, 8 * dtype.itemsize, shape)


# -- cast and wrap_index: attributes, and values in range -------------------------------------
def castable(target):
    """Return a draw whose values the target dtype can hold after truncation."""

    def draw(rng, shape, dtype):
        if dtype.kind != "float" or target.kind in ("float", "bool"):
            return numbers(rng, shape, dtype)
        bits = 8 * target.itemsize
        top = 2.0 ** min(bits - 1, 15 if dtype is dt.float16 else 62)
        low = 0.0 if target.kind == "uint" else -top
        return rng.uniform(low, top * 0.99, shape) * rng.choice([1.0, 1e-2, 1e-4], shape)

    return draw


def casts(dtype):
    """Return samples that cast one dtype to every other."""
    for target in dt.ALL:
        for shape in ((), (0,), (33,), (7, 13)):
            leaf = Leaf(shape, dtype, castable(target))
            yield Sample(f"to {target.name} {shape}", (leaf,), emitted(ops.CAST, target))


def wraps(dtype):
    """Return samples of indices in [-size, size)."""
    for shape in ((), (0,), (1,), (33,), (7, 13)):
        both = Leaf(shape, dtype, between(-100, 100))
        yield Sample(f"{shape}", (both,), emitted(ops.WRAP_INDEX, 100, "index"))
        for what in ("row", "label"):
            up = Leaf(shape, dtype, between(0, 100))
            yield Sample(f"{what} {shape}", (up,), emitted(ops.WRAP_INDEX, 100, what), modes=QUICK)


def halves(rng, shape, dtype):
    """Draw numbers around bytes, many of them halfway between two."""
    drawn = rng.integers(-700, 700, shape) / 2
    return np.where(rng.random(shape) < 0.2, numbers(rng, shape, dtype), drawn)


def rounds(dtype):
    """Return samples of numbers brought into bytes, with zero points and bounds."""
    for attrs in ((0, -128, 127), (-7, -7, 127), (127, -128, 127), (-128, -100, 3), (5, 2, 2)):
        for shape in ((), (0,), (1,), (33,), (7, 130)):
            leaf = Leaf(shape, dtype, halves)
            yield Sample(f"{attrs} {shape}", (leaf,), emitted(ops.QUANTIZE, *attrs))


def exponents(rng, shape, dtype):
    """Draw exponents: for integers small ones of both signs, for floats anything."""
    if dtype.kind == "float":
        return numbers(rng, shape, dtype)
    return rng.integers(0 if dtype.kind == "uint" else -3, 12, shape)


def powers(dtype):
    """Return samples of powers, of which some exponents are written in the program."""
    yield from samples(ops.POW, (numbers, exponents))(dtype)
    whole = (0, 1, 2, 3, 5) if dtype.kind == "uint" else (-2, -1, 0, 1, 2, 3, 5)
    for k in (*whole, 0.5, -0.5, 1.5) if dtype.kind == "float" else whole:

        def build(b, x, k=k):
            return b.pow(x, b.expand(b.const(k, dtype), (40,))), b.pow(x, b.const(k, dtype))

        yield Sample(f"to the {k}", (Leaf((40,), dtype, numbers),), build, modes=("plain", "fed"))


FLOATS = dt.FLOATS
CASES = {
    "neg": unary(ops.NEG, NUMBERS),
    "abs": unary(ops.ABS, NUMBERS),
    "sign": unary(ops.SIGN, NUMBERS, tolerance=Tolerance(zero_sign=False)),
    **{
        name: unary(ops.OPS[name], FLOATS, tolerance=bounded(name))
        for name in [
            "exp",
            "expm1",
            "log",
            "log1p",
            "rsqrt",
            "sin",
            "cos",
            "tanh",
            "erf",
            "sigmoid",
        ]
    },
    **{name: unary(ops.OPS[name], FLOATS) for name in ["sqrt", "floor", "ceil", "trunc", "round"]},
    "not": unary(ops.NOT, BITS),
    "cast": Case(dt.ALL, casts),
    "quantize": Case((dt.float32,), rounds),
    "wrap_index": Case((dt.int64,), wraps),
    "add": binary(ops.ADD, dt.ALL),
    "sub": binary(ops.SUB, NUMBERS),
    "mul": binary(ops.MUL, dt.ALL),
    "div": binary(ops.DIV, FLOATS),
    "floordiv": binary(ops.FLOORDIV, NUMBERS, tolerance=Tolerance(zero_sign=False)),
    "mod": binary(ops.MOD, NUMBERS, tolerance=Tolerance(zero_sign=False)),
    "pow": Case(NUMBERS, powers, bounded("pow")),
    "maximum": binary(ops.MAXIMUM, dt.ALL, tolerance=Tolerance(zero_sign=False)),
    "minimum": binary(ops.MINIMUM, dt.ALL, tolerance=Tolerance(zero_sign=False)),
    **{name: binary(ops.OPS[name], dt.ALL) for name in ["eq", "ne", "lt", "le"]},
    **{name: binary(ops.OPS[name], BITS) for name in ["and", "or", "xor"]},
    "shl": binary(ops.SHL, INTEGERS, b=shift_counts),
    "shr": binary(ops.SHR, INTEGERS, b=shift_counts),
    "where": Case(dt.ALL, samples(ops.WHERE, (small, numbers, numbers))),
}
