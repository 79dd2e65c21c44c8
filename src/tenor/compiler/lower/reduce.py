"""Reduce kernels: some dims of the domain are summed (or the like) away.

The order of a reduction is fixed by the domain alone, never by layout, threads, fusion or the
target's vectors:

* *inner*: the last dim is reduced. 32 accumulators (16 for 8-byte elements) take its elements in
  turn, other reduced dims are walked outside in row-major order, and at the end accumulators i
  and i + 16 are joined, then i and i + 8, and so on down to one.
* *outer*: the last dim is kept, or the whole reduction has at most 16 elements. The reduced dims
  are walked in row-major order with one accumulator; vectors run along a kept dim.

A float sum of more than STRETCH elements to an accumulator is a sum of sums: each stretch, and
each long walk over inner dims, begins at 0 and is then added on. A million elements lose no more
than a few hundred do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.accumulator import Loops, keep, kept
from tenor.compiler.lower.columns import Columns
from tenor.compiler.lower.evaluate import Axis
from tenor.compiler.lower.frame import GRAIN, begin, over_rows
from tenor.compiler.lower.index import simplify
from tenor.ir.loops import Value, lanes, vector
from tenor.ir.node import size
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.compiler.lower.accumulator import Accumulator
    from tenor.ir.kernel import Expr, Kernel
    from tenor.ir.loops import Function
    from tenor.ir.target import Target

__all__ = ["lower_reduce"]

SHORT: Final = 16
"""Elements up to which one accumulator takes them all."""
ACCUMULATORS: Final = 32
"""Accumulators of an element of 4 bytes."""
FEW: Final = 4
"""Rows of a tile from which on their accumulators are joined side by side."""
BYTES: Final = 8
"""Bytes there is room for in each of their lanes meanwhile."""


def lower_reduce(kernel: Kernel, target: Target) -> Lowered:
    """Lower a reduce kernel."""
    domain, dims = kernel.domain, kernel.reduce_dims
    count = size(domain[d] for d in dims)
    kept = [n for d, n in enumerate(domain) if d not in dims and n > 1]
    real = [d for d, n in enumerate(domain) if n > 1]
    last_reduced = bool(real) and real[-1] in dims
    inner = last_reduced and count > SHORT
    kernel = simplify(kernel)
    e, low, high = begin(kernel, target)
    if size(kept) == 0:
        return Lowered(e.f, 0)
    write = _Inner(kernel, e, target) if inner else Columns(kernel, e, target)
    tiles = write.run(low, high)
    work = size(kept) * count * write.weight()
    cost = work // (2 * target.lanes(32)) + 8 * size(kept)
    return Lowered(e.f, tiles, write.scratch, cost, write.span)


class _Inner(Loops):
    """Lanes run along the last dim, which is reduced."""

    def run(self, low: Value, high: Value) -> int:
        """Write the function; return the number of tiles."""
        e, f, kernel = self.e, self.e.f, self.kernel
        wide = any(x.dtype.itemsize == 8 for _, x in kernel.reductions)
        self.total = ACCUMULATORS // 2 if wide else ACCUMULATORS
        e.width = min(self.target.lanes(64 if wide else 32), self.total)
        self.parts = self.total // e.width
        self.last = self.reduced[-1]
        e.vector_dim = self.last
        extents = [kernel.domain[d] for d in self.kept]
        rows = size(extents)
        per_row = size(kernel.domain[d] for d in self.reduced)
        per_tile = max(1, GRAIN // max(per_row, 1))
        together = self._rows_together(per_tile)
        if together > 1:
            self._groups(f.mul(low, per_tile), f.op("smin", f.mul(high, per_tile), rows), together)
        else:
            over_rows(e, low, high, self.kept or [-2], extents or [1], per_tile, rows, self._row)
        self.span = per_tile * per_row
        return -(-rows // per_tile)

    def _rows_together(self, per_tile: int) -> int:
        """Return of how many rows the accumulators are joined side by side."""
        if len(self.kept) != 1 or free(per_tile) or per_tile < FEW:
            return 1
        return min(self.e.width, 1 << (per_tile.bit_length() - 1))

    def _groups(self, first: Value, past: Value, count: int) -> None:
        """Take rows `count` at a time: what each has left in a vector is joined for all at once."""
        e, f, width = self.e, self.e.f, self.e.width
        kinds = [v.type for a in self.accumulators for v in a.first(width)]
        room = width * BYTES
        self.scratch = count * len(kinds) * room

        def place(row: Value | int, which: int) -> Value:
            at = row if isinstance(row, Value) else f.const(row, "i64")
            return f.gep(e.scratch, f.add(f.mul(at, len(kinds) * room), which * room), "i8")

        def group(u: Value, _: object) -> None:
            there = f.op("smin", f.sub(past, u), count)

            def row(r: Value, _: object) -> None:
                e.axes[self.kept[0]] = Axis(f.add(u, r), 1)
                e.enter(1)
                for which, x in enumerate(self._left()):
                    keep(f, x, place(r, which), 0)

            f.loop(0, there, 1, row)
            # Rows that are not there are joined as well: what stands in their place goes nowhere.
            left = [[kept(f, k, place(r, i), 0) for i, k in enumerate(kinds)] for r in range(count)]
            held = self._joined(left, width)
            e.axes[self.kept[0]], e.vector_dim, e.width = Axis(u, 1), self.kept[0], count

            def write(mask: Value | None) -> None:
                e.mask = mask
                e.enter(1)
                self.finish(held)

            lane = f.iota(vector("i64", count))
            f.if_(f.compare("eq", there, count), lambda: write(None),
                  lambda: write(f.compare("slt", lane, f.splat(there, count))))  # fmt: skip
            e.mask, e.vector_dim, e.width = None, self.last, width

        f.loop(first, past, count, group)

    def _row(self, _unit: Value) -> None:
        """Take one row."""
        e = self.e
        left, saved = self._left(), e.width
        e.width, e.vector_dim = 1, -1
        e.enter(2)
        self.finish(self._joined([left], saved))
        e.width, e.vector_dim = saved, self.last

    def _left(self) -> list[Value]:
        """Return a row's accumulators, joined until each value is one vector."""
        self.layout = [a for a in self.accumulators for _ in range(self.parts)]
        self.taking = -(-self.kernel.domain[self.last] // self.total)
        start = [v for a in self.layout for v in a.first(self.e.width)]
        held = self.walk(self.reduced[:-1], 2, start, self._line)
        left: list[Value] = []
        at = 0
        for a in self.accumulators:
            n = 2 if a.indexed else 1
            parts = [held[at + k * n : at + k * n + n] for k in range(self.parts)]
            at += n * self.parts
            while len(parts) > 1:
                half = len(parts) // 2
                parts = [a.join(self.e, parts[k], parts[k + half]) for k in range(half)]
            left += parts[0]
        return left

    def _line(self, level: int, held: list[Value]) -> list[Value]:
        """Take the last dim's elements: whole blocks of accumulators, then a masked one."""
        e, n = self.e, self.kernel.domain[self.last]
        whole = n - n % self.total

        def block(i: Value, carried: list[Value]) -> list[Value]:
            e.axes[self.last] = Axis(i, level)
            e.enter(level)
            return self._block(carried, None)

        if whole:
            held = self.over(whole, self.total, 1, block, held)
        if n % self.total:
            e.axes[self.last] = Axis(Value("i64", const=whole), level)
            e.enter(level)
            held = self._block(held, n % self.total)
        return held

    def _block(self, held: list[Value], valid: int | None) -> list[Value]:
        """Take one element for each accumulator; `valid` of them where the dim ends."""
        e, f = self.e, self.e.f
        flat = list(held)
        for part in range(self.parts):
            left = self.total if valid is None else valid - part * e.width
            if left <= 0:
                break
            e.shift = part * e.width
            e.refresh()
            if left < e.width:
                lane = f.iota(vector("i64", e.width))
                e.mask = f.compare("slt", lane, f.const(left, lane.type))
            at = 0
            for accumulator, (_, x) in zip(self.accumulators, self.kernel.reductions, strict=True):
                n = 2 if accumulator.indexed else 1
                slot = at + part * n
                flat[slot : slot + n] = self._taken(accumulator, flat[slot : slot + n], x)
                at += n * self.parts
            e.mask = None
        e.shift = 0
        return flat

    def _taken(self, accumulator: Accumulator, held: list[Value], x: Expr) -> list[Value]:
        e, f = self.e, self.e.f
        value = e.value(x)
        if lanes(value.type) < e.width:
            value = f.splat(value, e.width)
        where = None
        if accumulator.indexed:
            first = accumulator.where(e, f.add(self.position(), e.shift), e.width)
            where = f.add(first, f.iota(first.type))
        new = accumulator.take(e, held, value, where)
        if e.mask is None:
            return new
        return [f.select(e.mask, a, b) for a, b in zip(new, held, strict=True)]

    def _joined(self, rows: list[list[Value]], width: int) -> list[Value]:
        """Join accumulators i and i + half, halving until each row has one left.

        Two vectors become one of their low halves and one of their high ones: a join is of two
        rows, then of four, and the last one gives a vector of a lane for each row.
        """
        f, held = self.e.f, [self.split(row) for row in rows]
        while width > 1:
            width //= 2
            pairs = [held[k : k + 2] for k in range(0, len(held), 2)]
            held = [
                [
                    a.join(
                        self.e,
                        *(_halves(f, [row[i] for row in pair], width, at) for at in (0, width)),
                    )
                    for i, a in enumerate(self.accumulators)
                ]
                for pair in pairs
            ]
        return [v for values in held[0] for v in values]


def _halves(f: Function, rows: list[list[Value]], width: int, at: int) -> list[Value]:
    """Return `width` lanes from `at` on of each 2 * width lanes, of one vector or of two."""
    made = []
    for x, y in zip(rows[0], rows[-1], strict=True):
        count = len(rows) * lanes(x.type)
        made.append(
            f.shuffle(x, y, [i for i in range(count) if i % (2 * width) // width * width == at])
        )
    return made
