"""One row times a matrix whose rows are contiguous: the matrix is read once, in order.

A few rows of the matrix at a time meet all columns of the tile, whose sums wait in memory: they
are in the first-level cache, and a tall narrow strip of a large matrix would be read page by page.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import depth_of
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.microkernel import multiply_add, sweep
from tenor.compiler.lower.storage import compute_type, load_element, plus, store_element
from tenor.ir.loops import Function, Value, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.lower.microkernel import Extent
    from tenor.ir.dtype import DType
    from tenor.ir.target import Target

__all__ = ["Row", "strip_of"]

ROWS: Final = 8
"""Rows of the matrix taken at a time; their factors stay in registers."""
STRIP: Final = 4
"""Vectors of columns taken at a time."""
STACKED: Final = (4, 2)
"""Both, where a chain's loads all come before it: more of them would be put into memory."""


def strip_of(target: Target) -> int:
    """Return how many vectors of columns are taken at a time."""
    return STACKED[1] if target.stacked else STRIP


class Row:
    """The product being written, with the bits of any other matrix product.

    Args:
        f: The function it is written in.
        dtype: Of all three operands.
        width: Lanes of a vector.
        columns: The columns of the tile, in strips.
        k: Rows of the matrix.
        a_step, b_step: Elements from one k to the next.
        scratch: Where sums wait: two rows of the tile's columns, rounded up to strips.
        pitch: Elements of such a row.
        stacked: Whether it is for a stack machine.
    """

    def __init__(
        self, f: Function, dtype: DType, width: int, columns: Extent, k: int, a_step: int,
        b_step: int, scratch: Value, pitch: int, *, stacked: bool = False,
    ) -> None:  # fmt: skip
        self.most = STACKED[0] if stacked else ROWS
        self.f, self.dtype, self.width, self.columns, self.k = f, dtype, width, columns, k
        self.a_step, self.b_step = a_step, b_step
        self.kind = vector(compute_type(dtype), width)
        self.sums = scratch
        self.totals = f.gep(scratch, pitch, compute_type(dtype))

    def write(self, a: Value, b: Value, c: Value) -> None:
        """Write the loops over the rows of the matrix, and the result."""
        f, k, depth = self.f, self.k, depth_of(self.k)
        self.a, self.b = a, b
        out = self.totals if k > depth else self.sums
        # Adding to minus zero leaves every first sum as it is, zeros of both signs too.
        nothing = f.const(-0.0 if self.dtype.kind == "float" else 0, self.kind)
        if k > depth:
            self._strips(lambda at, _: f.store(nothing, self.totals, at))
            f.loop(0, k // depth * depth, depth, lambda q, _: self._block(q, depth))
        if k % depth or k <= depth:
            self._block(f.const(k // depth * depth if k > depth else 0, "i64"),
                        k % depth if k > depth else k)  # fmt: skip

        def deliver(at: Value, lanes: int) -> None:
            x = f.load(self.kind, out, at)
            if lanes == 1 < self.width:  # see `microkernel`: no mask of one lane
                store_element(f, self.dtype, f.extract(x, 0), c, at)
            else:
                mask = first_lanes(f, lanes, self.width)
                store_element(f, self.dtype, x, c, at, mask=mask)

        self._strips(deliver)

    def _strips(self, body: Callable[[Value, int], None]) -> None:
        """Run `body(column, lanes)` for each vector of columns."""

        def strip(j: Value, size: int) -> None:
            for first in range(0, size, self.width):
                body(self.f.add(j, first), min(self.width, size - first))

        sweep(self.f, self.columns, strip)

    def _block(self, q: Value, length: int) -> None:
        """Sum one block of k from zero, and add it to the totals if there are several."""
        f = self.f
        rows = max(1, min(self.most, length))
        whole = length // rows * rows
        self._rows(q, min(rows, length), fresh=True)
        f.loop(f.add(q, rows), f.add(q, whole), rows, lambda i, _: self._rows(i, rows))
        if length > whole:
            self._rows(f.add(q, whole), length - whole)

        def add(at: Value, _: int) -> None:
            total, part = (f.load(self.kind, x, at) for x in (self.totals, self.sums))
            f.store(plus(f, self.dtype, total, part), self.totals, at)

        if self.k > depth_of(self.k):
            self._strips(add)

    def _rows(self, i: Value, count: int, *, fresh: bool = False) -> None:
        """Add the products of a few rows to the sums of all columns, which begin at zero."""
        f, width = self.f, self.width
        factors = [
            f.splat(load_element(f, self.dtype, self.a, f.mul(f.add(i, u), self.a_step)), width)
            for u in range(count)
        ]

        def strip(j: Value, size: int) -> None:
            vectors = ceil(size / width)
            lanes = [width] * (vectors - 1) + [size - (vectors - 1) * width]
            places = [f.add(j, v * width) for v in range(vectors)]
            held = [f.const(0, self.kind) if fresh else f.load(self.kind, self.sums, at)
                    for at in places]  # fmt: skip
            for u, x in enumerate(factors):
                start = f.mul(f.add(i, u), self.b_step)
                for v, at in enumerate(places):
                    y = load_element(f, self.dtype, self.b, f.add(start, at), width,
                                     mask=first_lanes(f, lanes[v], width))  # fmt: skip
                    held[v] = multiply_add(f, self.dtype.compute, x, y, held[v])
            for at, total in zip(places, held, strict=True):
                f.store(total, self.sums, at)

        sweep(f, self.columns, strip)
