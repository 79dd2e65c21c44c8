"""What the primitives that read and write at indices are tried on."""

from __future__ import annotations

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.ops.differential import HALF, Case, Leaf, Sample, Tolerance, between, numbers, small

TAKES = (
    ((10,), 0, ()), ((10,), 0, (1,)), ((10,), 0, (7,)), ((10,), 0, (2, 3)), ((10,), 0, (0,)),
    ((40, 33), 0, (20,)), ((33, 40), 1, (20,)), ((4, 6, 5), 1, (3, 2)), ((4, 6, 5), 2, ()),
    ((4, 6, 5), 0, (50,)), ((1, 1), 0, (3,)), ((3, 0), 0, (2,)), ((1000,), 0, (100,)),
)  # fmt: skip
ALONG = (
    ((10,), 0, (10,)), ((10,), 0, (33,)), ((10,), 0, (0,)), ((7, 13), 0, (20, 13)),
    ((7, 13), 1, (7, 1)), ((7, 13), 1, (5, 40)), ((4, 6, 5), 1, (4, 9, 3)),
    ((4, 6, 5), 2, (1, 2, 3)), ((1, 1), 0, (4, 1)), ((3, 40), 0, (1, 40)),
)  # fmt: skip


def reads(op, rows):
    """Return samples that read."""

    def of(dtype):
        for shape, dim, index in rows:
            leaves = (Leaf(shape, dtype, numbers), Leaf(index, dt.int64, between(0, shape[dim])))

            def build(b, x, i, dim=dim):
                return b.emit(op, (x, i), (dim,))

            yield Sample(f"{shape} dim {dim} at {index}", leaves, build)

    return of


def writes(op, rows, source_shape):
    """Return samples that write, with indices that occur several times."""

    def of(dtype):
        for shape, dim, index in rows:
            for mode in ("set", "add"):
                draw = numbers if mode == "set" else small
                source = Leaf(source_shape(shape, dim, index), dtype, draw)
                leaves = (
                    Leaf(shape, dtype, draw),
                    Leaf(index, dt.int64, between(0, shape[dim])),
                    source,
                )

                def build(b, x, i, v, dim=dim, mode=mode):
                    return b.emit(op, (x, i, v), (dim, mode))

                yield Sample(f"{mode} {shape} dim {dim} at {index}", leaves, build)

                def filled(b, i, v, dim=dim, mode=mode, shape=shape):
                    x = b.full(shape, 1, v.dtype)
                    return b.emit(op, (x, i, v), (dim, mode))

                label = f"{mode} into ones {shape} dim {dim} at {index}"
                yield Sample(label, leaves[1:], filled, modes=("plain", "apart"))

    return of


def of_put(shape, dim, index):
    return (*shape[:dim], *index, *shape[dim + 1 :])


def of_put_along(shape, dim, index):
    return index


# The oracle adds in float64.
ADDED = Tolerance(HALF, scaled=4.0)
CASES = {
    "take": Case(dt.ALL, reads(ops.TAKE, TAKES)),
    "take_along": Case(dt.ALL, reads(ops.TAKE_ALONG, ALONG)),
    "put": Case(dt.ALL, writes(ops.PUT, TAKES, of_put), ADDED),
    "put_along": Case(dt.ALL, writes(ops.PUT_ALONG, ALONG, of_put_along), ADDED),
}
