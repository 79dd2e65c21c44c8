"""What the movement primitives are tried on."""

from __future__ import annotations

import math

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.ops.differential import HALF, Case, Leaf, Sample, Tolerance, numbers, small

FULL = ("plain", "apart", "fed", "strided")


def moved(op, *rows):
    """Return samples of an op with one operand from rows (shape, *attrs)."""

    def of(dtype):
        for shape, *attrs in rows:

            def build(b, x, attrs=tuple(attrs)):
                return b.emit(op, (x,), attrs)

            yield Sample(f"{shape} {attrs}", (Leaf(shape, dtype, numbers),), build)

    return of


RESHAPE = moved(
    ops.RESHAPE,
    ((), (1, 1)), ((1,), ()), ((6, 4), (24,)), ((24,), (2, 3, 4)), ((2, 3, 4), (4, 6)),
    ((5,), (5, 1, 1)), ((1, 7, 1), (7,)), ((0, 3), (3, 0)), ((4, 0), (0,)), ((6, 35), (5, 42)),
    ((8, 9), (3, 4, 6)), ((2, 3, 4, 5), (3, 2, 20)), ((64, 32), (32, 64)), ((3, 1, 5), (1, 15)),
)  # fmt: skip
EXPAND = moved(
    ops.EXPAND,
    ((), (3,)), ((), (4, 5)), ((1,), (37,)), ((4, 1), (4, 6)), ((3,), (2, 3)), ((1,), (0,)),
    ((1, 3, 1), (2, 5, 3, 7)), ((0, 1), (0, 4)), ((1, 33), (5, 33)), ((33, 1), (33, 5)),
    ((2, 1, 4), (2, 3, 4)),
)  # fmt: skip
PERMUTE = moved(
    ops.PERMUTE,
    ((5,), (0,)), ((7, 13), (1, 0)), ((64, 32), (1, 0)), ((1, 9), (1, 0)), ((0, 3), (1, 0)),
    ((2, 3, 4), (2, 0, 1)), ((2, 3, 4), (0, 2, 1)), ((3, 4, 40), (1, 0, 2)),
    ((2, 3, 4, 5), (3, 1, 0, 2)), ((2, 1, 3, 17), (1, 3, 2, 0)),
)  # fmt: skip
SLICE = moved(
    ops.SLICE,
    ((10,), (0,), (10,), (1,)), ((10,), (3,), (4,), (1,)), ((10,), (9,), (10,), (-1,)),
    ((100,), (1,), (33,), (3,)), ((100,), (98,), (40,), (-2,)), ((10,), (5,), (0,), (1,)),
    ((0,), (0,), (0,), (1,)), ((7, 13), (1, 12), (3, 13), (2, -1)),
    ((7, 70), (6, 2), (7, 60), (-1, 1)),
    ((4, 5, 6), (0, 4, 1), (4, 5, 2), (1, -1, 3)), ((8, 8), (7, 0), (1, 8), (5, 1)),
    ((3, 40), (0, 0), (3, 0), (1, 1)),
)  # fmt: skip
UNFOLD = moved(
    ops.UNFOLD,
    ((10,), 0, 3, 1, 1), ((10,), 0, 10, 1, 1), ((10,), 0, 1, 3, 1), ((20,), 0, 3, 2, 4),
    ((3, 12), 1, 4, 4, 1), ((12, 3), 0, 4, 3, 2), ((2, 9, 5), 1, 2, 1, 3), ((4,), 0, 5, 1, 1),
    ((2, 50), 1, 33, 2, 1), ((0, 6), 1, 2, 2, 1),
)  # fmt: skip
FOLD = moved(
    ops.FOLD,
    ((8, 3), 0, 10, 1, 1), ((1, 10), 0, 10, 1, 1), ((4, 1), 0, 10, 3, 1), ((6, 3), 0, 20, 2, 4),
    ((3, 3, 4), 1, 12, 4, 1), ((2, 3, 4), 0, 12, 3, 2), ((2, 6, 5, 2), 1, 9, 1, 3),
    ((0, 5), 0, 4, 1, 1), ((2, 9, 33), 1, 50, 2, 1), ((4, 2), 0, 11, 3, 1),
)  # fmt: skip


def fills(dtype):
    """Return constants to pad with."""
    if dtype.kind == "float":
        return (0.0, -1.5, -math.inf, math.nan, -0.0)
    if dtype.kind == "bool":
        return (False, True)
    return (0, 7, 100)


def pads(dtype):
    """Return samples of padding on either side, with each constant."""
    rows = (
        ((5,), (2,), (3,)), ((33,), (1,), (0,)), ((33,), (0,), (40,)), ((0,), (2,), (1,)),
        ((0, 3), (1, 0), (0, 2)), ((7, 13), (1, 0), (0, 2)), ((7, 13), (0, 3), (2, 0)),
        ((2, 3, 4), (1, 1, 1), (2, 0, 1)), ((4, 64), (0, 0), (1, 0)), ((1, 1), (0, 5), (0, 30)),
    )  # fmt: skip
    for k, (shape, low, high) in enumerate(rows):
        fill = fills(dtype)[k % len(fills(dtype))]

        def build(b, x, low=low, high=high, fill=fill):
            return b.emit(ops.PAD, (x,), (low, high, fill))

        yield Sample(f"{shape} {low} {high} {fill}", (Leaf(shape, dtype, numbers),), build)


def concats(dtype):
    """Return samples of two and more tensors, empty ones among them."""
    rows = (
        (0, (3,), (4,)), (0, (3,), (0,), (40,)), (0, (0,), (0,)), (1, (7, 13), (7, 2)),
        (0, (7, 13), (2, 13)), (1, (2, 3, 4), (2, 1, 4), (2, 5, 4)), (2, (2, 3, 40), (2, 3, 1)),
        (1, (33, 1), (33, 1), (33, 1)), (0, (1, 0), (2, 0)),
    )  # fmt: skip
    for dim, *shapes in rows:
        leaves = tuple(Leaf(s, dtype, numbers) for s in shapes)

        def build(b, *xs, dim=dim):
            return b.emit(ops.CONCAT, xs, (dim,))

        yield Sample(f"{shapes} along {dim}", leaves, build)

    def twice(b, x):
        return b.emit(ops.CONCAT, (x, x, b.permute(x, (1, 0))), (0,))

    yield Sample("one tensor twice and transposed", (Leaf((5, 5), dtype, numbers),), twice)


def updates(dtype):
    """Return samples of writes into a tensor: whole, part, backwards, nothing, from itself."""
    rows = (
        ((10,), (10,), (0,), (1,)), ((10,), (4,), (3,), (1,)), ((10,), (10,), (9,), (-1,)),
        ((10,), (0,), (5,), (1,)), ((100,), (33,), (1,), (3,)),
        ((7, 13), (3, 13), (1, 12), (2, -1)),
        ((4, 5, 6), (4, 5, 2), (0, 4, 1), (1, -1, 3)), ((7, 70), (1, 70), (3, 0), (1, 1)),
        ((0, 3), (0, 1), (0, 2), (1, 1)),
    )  # fmt: skip
    for shape, part, starts, steps in rows:
        leaves = (Leaf(shape, dtype, numbers), Leaf(part, dtype, numbers))

        def build(b, x, v, starts=starts, steps=steps):
            return b.slice_update(x, v, starts, steps)

        yield Sample(f"{shape} {part} {starts} {steps}", leaves, build)

    def shifted(b, x):
        inner = b.slice(x, (0,), (39,), (1,))
        return b.slice_update(x, inner, (1,), (1,))

    yield Sample("a tensor's own elements, one further", (Leaf((40,), dtype, numbers),), shifted)


# The oracle adds in float64.
FOLDED = Tolerance(HALF, scaled=2.0)
CASES = {
    "reshape": Case(dt.ALL, RESHAPE),
    "expand": Case(dt.ALL, EXPAND),
    "permute": Case(dt.ALL, PERMUTE),
    "slice": Case(dt.ALL, SLICE),
    "pad": Case(dt.ALL, pads),
    "unfold": Case(dt.ALL, UNFOLD),
    "fold": Case(
        dt.ALL,
        lambda d: (s._replace(leaves=(s.leaves[0]._replace(draw=small),)) for s in FOLD(d)),
        FOLDED,
    ),
    "concat": Case(dt.ALL, concats),
    "slice_update": Case(dt.ALL, updates),
}
