"""What running sums, sorting and the tape's identities are tried on."""

from __future__ import annotations

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.ops.differential import (
    EXACT,
    HALF,
    Case,
    Leaf,
    Sample,
    Tolerance,
    numbers,
    repeated,
    small,
)

SHAPES = ((0,), (1,), (5,), (33,), (1000,), (7, 13), (1, 40), (40, 1), (3, 0, 2), (4, 6, 5))


def along(op, draw):
    """Return samples along every dim, both ways."""

    def of(dtype):
        for shape in SHAPES:
            for dim in range(len(shape)):
                for flag in (False, True):
                    leaf = Leaf(shape, dtype, draw)

                    def build(b, x, dim=dim, flag=flag):
                        return b.emit(op, (x,), (dim, flag))

                    yield Sample(f"{shape} along {dim} {flag}", (leaf,), build)

    return of


def selections(dtype):
    """Return samples of the first few: of short lines, and of lines much longer than the notes."""
    shapes = ((1,), (33,), (3000,), (7, 13), (3, 0, 2), (2, 2100, 3), (3, 1500), (2, 4000))
    for shape in shapes:
        for dim, n in enumerate(shape):
            for k in sorted({1, min(n, 3), n // 4, min(n, 300)} - {0}) if n else ():
                for flag in (False, True):
                    leaf = Leaf(shape, dtype, repeated)

                    def build(b, x, attrs=(dim, k, flag)):
                        return b.emit(ops.TOPK, (x,), attrs)

                    yield Sample(f"{k} of {shape} along {dim} {flag}", (leaf,), build)


def identities(op, attrs=(), others=0):
    """Return samples of an op that gives its first operand."""

    def of(dtype):
        for shape in ((), (0,), (33,), (7, 13)):
            leaves = (Leaf(shape, dtype, numbers),) * (1 + others)
            yield Sample(f"{shape}", leaves, lambda b, *xs: b.emit(op, xs, attrs))

    return of


CASES = {
    # The oracle adds in float64.
    "cumsum": Case(dt.ALL, along(ops.CUMSUM, small), Tolerance(HALF, scaled=6.0)),
    "argsort": Case(dt.ALL, along(ops.ARGSORT, repeated), EXACT),
    "topk": Case(dt.ALL, selections, EXACT),
    "detach": Case(dt.ALL, identities(ops.DETACH)),
    "variable": Case(dt.ALL, identities(ops.VARIABLE)),
    "function": Case(dt.ALL, identities(ops.FUNCTION, (0,), others=2)),
    "barrier": Case(dt.ALL, identities(ops.BARRIER)),
}
