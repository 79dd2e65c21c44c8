"""Reductions whose vectors run along a dim that is kept: the columns of a matrix, say.

Rows that have many elements are read as they lie: a few of them at a time meet the accumulators of
all columns of a panel, which wait in memory, near. To go down one vector of columns after the other
would be to read a large array page by page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.accumulator import UNROLLED, Loops, keep, kept
from tenor.compiler.lower.evaluate import Axis
from tenor.compiler.lower.frame import GRAIN, is_large, over_rows, over_vectors
from tenor.ir.loops import Value, lanes
from tenor.ir.node import size
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.compiler.lower.evaluate import Evaluator
    from tenor.ir.kernel import Affine, Kernel
    from tenor.ir.target import Target

__all__ = ["Columns"]

LINE: Final = 16
"""Columns that are a cache line, or several."""
SHARE: Final = 64
"""Columns of a tile, where there are many."""
SHARES: Final = 8
"""Tiles there are to be at the least, where that leaves each a line."""
PANEL: Final = 4096
"""Values of accumulators that are near, all of them together."""
ABREAST: Final = 8
"""Rows that are taken at a time."""
WRITTEN: Final = 96
"""Instructions up to which they are."""
BYTES: Final = 8
"""Bytes there is room for in each place of an accumulator."""


class Columns(Loops):
    """The reduction being written: a tile is a share of the columns, or several short rows."""

    def __init__(self, kernel: Kernel, e: Evaluator, target: Target) -> None:
        super().__init__(kernel, e, target)
        self.layout = self.accumulators
        self.drift = [a.drifts for a in self.accumulators for _ in a.first(1)]
        self.depth = self.deepest = 0
        self.abreast = ABREAST

    def run(self, low: Value, high: Value) -> int:
        """Write the function; return the number of tiles."""
        e, f, domain = self.e, self.e.f, self.kernel.domain
        if not self.kept:
            e.width = 1
            over_rows(e, low, high, [-2], [1], 1, 1, lambda _u: self._element(2))
            return 1
        self.last = last = self.kept[-1]
        n = domain[last]
        e.width = self.target.lanes(32)
        if n < e.width:
            e.width = max(1, 1 << (n - 1).bit_length())
        dims = self.kept[:-1] or [-2]
        extents = [domain[d] for d in self.kept[:-1]] or [1]
        per_row, rows = size(domain[d] for d in self.reduced), size(extents)
        few = per_row <= UNROLLED or n <= e.width  # one vector stays in registers
        columns = self._few if few else self._panels
        if not few:
            most = PANEL // len(self.drift)
            self.room = most if free(n) else -(-min(n, most) // SHARE) * SHARE
            while self.abreast > 1 and self.abreast * self.weight() > WRITTEN:
                self.abreast //= 2
        share = self._share(n, per_row, rows)
        if n <= share:
            per_tile = max(1, GRAIN // max(1, n * per_row))
            whole = Value("i64", const=0), Value("i64", const=n)
            over_rows(e, low, high, dims, extents, per_tile, rows, lambda _u: columns(*whole))
            self.span = per_tile * n * per_row
            return -(-rows // per_tile)
        cuts = -(-n // share)
        self.span = share * per_row if rows == 1 or n % share == 0 else 0

        # The columns of tiles that follow one another are one run.
        def row(u: Value) -> None:
            first, past = low, high
            if self.kept[:-1]:
                before = f.mul(u, cuts)
                first = f.op("smax", f.sub(low, before), 0)
                past = f.op("smin", f.sub(high, before), cuts)
            columns(f.mul(first, share), f.op("smin", f.mul(past, share), n))

        begin, end = f.const(0, "i64"), f.const(1, "i64")
        if self.kept[:-1]:
            begin = f.op("sdiv", low, cuts)
            end = f.op("sdiv", f.add(high, cuts - 1), cuts)
        over_rows(e, begin, end, dims, extents, 1, rows, row)
        return rows * cuts

    def _share(self, n: int, per_row: int, rows: int) -> int:
        """Return how many columns a tile has."""
        if not free(rows) and rows >= 2 * SHARES:
            return n
        fair = SHARE if free(n) else max(LINE, min(SHARE, n // SHARES // LINE * LINE))
        return fair if free(per_row) else max(fair, GRAIN // max(1, per_row) // LINE * LINE)

    # -- in registers ---------------------------------------------------------------------------
    def _few(self, start: Value, end: Value) -> None:
        """Take columns vector by vector, with their accumulators in registers."""
        over_vectors(self.e, self.last, start, end, 1, 2, lambda: self._element(3))

    def _element(self, level: int) -> None:
        """Reduce at one kept index, or a vector of them."""
        e = self.e
        mask, vector_dim = e.mask, e.vector_dim
        start = [v for a in self.accumulators for v in a.first(e.width)]
        held = self.walk(self.reduced, level, start, lambda _level, held: self._taken(held))
        e.mask, e.vector_dim = mask, vector_dim
        e.enter(level)
        self.finish(held)

    def _taken(self, held: list[Value]) -> list[Value]:
        e, f = self.e, self.e.f
        taken: list[Value] = []
        for accumulator, values, (_, x) in zip(
            self.accumulators, self.split(held), self.kernel.reductions, strict=True
        ):
            value = e.value(x)
            if lanes(value.type) < e.width:
                value = f.splat(value, e.width)
            where = None
            if accumulator.indexed:
                where = accumulator.where(e, self.position(), e.width)
            taken += accumulator.take(e, values, value, where)
        return taken

    # -- panels ---------------------------------------------------------------------------------
    def _panels(self, start: Value, end: Value) -> None:
        """Take columns panel by panel."""
        f = self.e.f

        def panel(first: Value, _: object) -> None:
            self.e.enter(2)
            self.first, self.past, self.level = first, f.op("smin", f.add(first, self.room), end), 3
            self._each(lambda: self._put(0, self._nothing()))
            self._down(self.reduced, 3)
            self._each(lambda: self.finish(self._got(self.depth)))

        f.loop(start, end, self.room, panel)
        self.scratch = (self.deepest + 1) * len(self.drift) * self.room * BYTES

    def _each(self, body: Callable[[], None]) -> None:
        """Run `body()` for every vector of the panel's columns."""
        over_vectors(self.e, self.last, self.first, self.past, 1, self.level, body)

    def _down(self, dims: Sequence[int], level: int) -> None:
        """Take the elements of some dims, in row-major order."""
        e, (d, *others) = self.e, dims
        n, inside = self.kernel.domain[d], size(self.kernel.domain[d] for d in others)
        self.level = level

        def step(i: Value, held: list[Value]) -> list[Value]:
            e.axes[d] = Axis(i, level)
            e.enter(level)
            self._down(others, level + 1)
            self.level = level
            return held

        def rows(low: Value | int, high: Value | int, *_: object) -> list[Value]:
            low, high = (v if isinstance(v, Value) else f.const(v, "i64") for v in (low, high))
            whole = f.add(low, f.op("and", f.sub(high, low), -self.abreast))
            f.loop(low, whole, self.abreast, lambda i, _: self._take(d, i, self.abreast))
            f.loop(whole, high, 1, lambda i, _: self._take(d, i, 1))
            return []

        f = e.f
        self.over(n, 1, inside, step, [], f.loop if others else rows)

    def _take(self, d: int, first: Value, count: int) -> None:
        """Take `count` rows of a dim, each of all columns; those after them are asked for."""
        e, level = self.e, self.level
        e.axes[d] = Axis(first, level)
        e.enter(level)
        rows = [Axis(e.f.add(first, k), level) for k in range(count)]
        known: list[dict[object, Value]] = [{} for _ in rows]

        def vector() -> None:
            held = self._got(self.depth)
            for row, memo in zip(rows, known, strict=True):
                e.axes[d], e.memo[level] = row, memo
                e.refresh()
                held = self._taken(held)
            self._put(self.depth, held)

        def next_rows(number: int, affine: Affine) -> int:
            return affine.strides[d] * count if is_large(self.kernel.buffers[number]) else 0

        usual, self.level = e.ahead, level + 1
        e.ahead = next_rows
        self._each(vector)
        e.ahead, self.level = usual, level

    # -- accumulators in memory -----------------------------------------------------------------
    def _afresh(self, held: list[Value]) -> list[Value]:
        """Begin the sums of a part, beside those so far."""
        if held:  # in registers
            return super()._afresh(held)
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        self._each(lambda: self._put(self.depth, self._nothing(), begun=True))
        return held

    def _together(self, before: list[Value], part: list[Value]) -> list[Value]:
        """Add the sums of a part to those before."""
        if part:
            return super()._together(before, part)
        self.depth -= 1

        def vector() -> None:
            old, new = self._got(self.depth), self._got(self.depth + 1)
            self._put(self.depth, super(Columns, self)._together(old, new), begun=True)

        self._each(vector)
        return before

    def _nothing(self) -> list[Value]:
        """Return the values before the first element."""
        return [v for a in self.accumulators for v in a.first(self.e.width)]

    def _got(self, depth: int) -> list[Value]:
        """Return the values of the columns' accumulators."""
        f, values = self.e.f, enumerate(self._nothing())
        return [kept(f, v.type, *self._place(depth, number)) for number, v in values]

    def _put(self, depth: int, values: list[Value], *, begun: bool = False) -> None:
        """Keep the values; where others have `begun` already, those of sums alone."""
        for number, x in enumerate(values):
            if self.drift[number] or not begun:
                keep(self.e.f, x, *self._place(depth, number))

    def _place(self, depth: int, number: int) -> tuple[Value, Value]:
        """Return where a value is kept: one that is of no sum is begun once."""
        e, f = self.e, self.e.f
        which = number + (depth * len(self.drift) if self.drift[number] else 0)
        at = f.add(f.sub(e.axes[self.last].index, self.first), e.shift)
        return f.gep(e.scratch, which * self.room * BYTES, "i8"), at
