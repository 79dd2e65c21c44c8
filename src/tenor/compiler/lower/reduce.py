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

import math
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.element import ELEMENT, register_type, rounded
from tenor.compiler.lower.evaluate import Axis, Evaluator, expr_cost
from tenor.compiler.lower.frame import GRAIN, begin, over_rows, over_vectors
from tenor.compiler.lower.index import simplify
from tenor.ir.loops import Value, lanes, vector
from tenor.ir.node import size
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Expr, Kernel
    from tenor.ir.loops import Function
    from tenor.ir.target import Target

__all__ = ["lower_reduce"]

SHORT: Final = 16
ACCUMULATORS: Final = 32
STRETCH: Final = 256
WORTH_A_JOIN: Final = 16
WRITTEN: Final = 96
"""Instructions up to which columns are taken side by side."""
SPELT: Final = 48
"""Instructions up to which it is."""
UNROLLED: Final = 16
"""Elements up to which a walk over reduced dims is written out."""


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
    write = _Inner(kernel, e, target) if inner else _Outer(kernel, e, target)
    tiles = write.run(low, high)
    work = size(kept) * count * write.weight()
    cost = work // (2 * target.lanes(32)) + 8 * size(kept)
    return Lowered(e.f, tiles, 0, cost, write.span)


# -- accumulators ---------------------------------------------------------------------------------
class Accumulator:
    """One reduction's running values.

    Attributes:
        op: "sum", "prod", "max", "min", "argmax" or "argmin".
        dtype: The dtype of the elements.
        place: The type of a position.
    """

    def __init__(self, op: str, dtype: DType, count: int) -> None:
        self.op = op
        self.dtype = dtype
        self.place = "i32" if count < 1 << 31 else "i64"
        self.indexed = op.startswith("arg")
        self.drifts = op == "sum" and dtype.kind == "float"

    def first(self, count: int) -> list[Value]:
        """Return the values before the first element."""
        kind = register_type(self.dtype, count)
        start = Value(kind, const=self._identity())
        # -1: every element so far is the identity itself.
        return [start, Value(vector(self.place, count), const=-1)] if self.indexed else [start]

    def _identity(self) -> float:
        if self.op in ("sum", "prod"):
            return 0 if self.op == "sum" else 1
        top = self.op in ("min", "argmin")
        if self.dtype.kind == "float":
            return math.inf if top else -math.inf
        if self.dtype.kind == "bool":
            return int(top)
        bits = 8 * self.dtype.itemsize
        if self.dtype.kind == "uint":
            return (1 << bits) - 1 if top else 0
        return (1 << (bits - 1)) - 1 if top else -(1 << (bits - 1))

    def take(self, e: Evaluator, held: list[Value], x: Value, at: Value | None) -> list[Value]:
        """Return the values after one more element."""
        f = e.f
        if not self.indexed:
            name = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}[self.op]
            return [ELEMENT[name](f, [held[0], x], self.dtype.compute)]
        assert at is not None
        better = self._beats(e, x, held[0])  # among equals the earlier one was there before
        return [f.select(better, x, held[0]), f.select(better, at, held[1])]

    def join(self, e: Evaluator, a: list[Value], b: list[Value]) -> list[Value]:
        """Return two runs of values as one; the earlier position wins among equals."""
        f = e.f
        if not self.indexed:
            return self.take(e, a, b[0], None)
        better = self._beats(e, b[0], a[0])
        equal = f.op("and", f.op("xor", better, 1), f.op("xor", self._beats(e, a[0], b[0]), 1))
        # -1, as an unsigned number, is the last.
        earlier = f.op("and", equal, f.compare("ult", b[1], a[1]))
        chosen = f.op("or", better, earlier)
        return [f.select(chosen, b[0], a[0]), f.select(chosen, b[1], a[1])]

    def _beats(self, e: Evaluator, a: Value, b: Value) -> Value:
        """Tell whether a is strictly better than b; NaN beats everything but NaN."""
        f, kind = e.f, self.dtype.kind
        names = {
            "argmax": {"float": "ugt", "int": "sgt", "uint": "ugt", "bool": "ugt"},
            "argmin": {"float": "ult", "int": "slt", "uint": "ult", "bool": "ult"},
        }
        test = f.compare(names[self.op][kind], a, b)
        if kind != "float":
            return test
        # The test is true as well where either is NaN.
        return f.op("and", test, f.op("xor", f.compare("uno", b, b), 1))

    def where(self, e: Evaluator, position: Value, width: int) -> Value:
        """Return a position, known to be in range, for each lane."""
        return e.f.splat(e.f.convert("trunc_int", position, self.place), width)

    def result(self, f: Function, held: list[Value]) -> Value:
        """Return what the reduction gives; the first of elements that are all the identity."""
        if not self.indexed:
            return held[-1]
        count = lanes(held[-1].type)
        found = f.select(f.compare("eq", held[-1], -1), f.const(0, held[-1].type), held[-1])
        return f.convert("zext", found, vector("i64", count))


class _Loops:
    """What both orders share: the walk over reduced dims, and the epilogue."""

    def __init__(self, kernel: Kernel, e: Evaluator, target: Target) -> None:
        self.kernel = kernel
        self.e = e
        self.target = target
        count = size(kernel.domain[d] for d in kernel.reduce_dims)
        self.accumulators = [Accumulator(op, x.dtype, count) for op, x in kernel.reductions]
        dims = set(kernel.reduce_dims)
        self.kept = [d for d in range(len(kernel.domain)) if d not in dims]
        self.reduced = list(kernel.reduce_dims)
        self.layout: list[Accumulator] = []
        self.taking = 1
        self.span = 0

    # -- long sums ----------------------------------------------------------------------------
    def over(
        self, n: int, step: int, taking: int, body: Callable[[Value, list[Value]], list[Value]],
        held: list[Value],
    ) -> list[Value]:  # fmt: skip
        """Run `body(i, held)` for i in range(0, n, step), long sums in stretches of their own.

        Args:
            n: The end of the range.
            step: Its step.
            taking: How many elements an accumulator takes at each call.
            body: Takes the elements at i.
            held: The accumulators' values, in the order of `layout`.
        """
        f, count = self.e.f, -(-n // step)
        if count * taking <= STRETCH or not any(a.drifts for a in self.layout):
            return f.loop(0, n, step, body, held)

        def alone(i: Value, before: list[Value]) -> list[Value]:
            return self._together(before, body(i, self._afresh(before)))

        once = alone if taking >= WORTH_A_JOIN else body

        def run(low: Value | int, high: Value | int, most: int, held: list[Value]) -> list[Value]:
            if most <= STRETCH:
                return f.loop(low, high, step, once, held)
            part = STRETCH
            while part * STRETCH < most:
                part *= STRETCH

            def stretch(i: Value, before: list[Value]) -> list[Value]:
                end = f.op("smin", f.add(i, part * step), high)
                return self._together(before, run(i, end, part, self._afresh(before)))

            return f.loop(low, high, part * step, stretch, held)

        return run(0, n, count, held)

    def _afresh(self, held: list[Value]) -> list[Value]:
        """Return the values before the first element for sums, those held for the rest."""
        made: list[Value] = []
        for accumulator, values in self._laid_out(held):
            start = accumulator.first(lanes(values[0].type)) if accumulator.drifts else values
            made += start
        return made

    def _together(self, before: list[Value], part: list[Value]) -> list[Value]:
        """Return what was held with the sums of a part added on."""
        made: list[Value] = []
        for (accumulator, old), (_, new) in zip(
            self._laid_out(before), self._laid_out(part), strict=True
        ):
            made += accumulator.join(self.e, old, new) if accumulator.drifts else new
        return made

    def _laid_out(self, flat: list[Value]) -> list[tuple[Accumulator, list[Value]]]:
        groups, at = [], 0
        for accumulator in self.layout:
            n = 2 if accumulator.indexed else 1
            groups.append((accumulator, flat[at : at + n]))
            at += n
        return groups

    # -- walks --------------------------------------------------------------------------------
    def weight(self) -> int:
        """Return roughly how many instructions one element takes."""
        seen: set[Expr] = set()
        return sum(expr_cost(x, seen) + 2 for _, x in self.kernel.reductions)

    def walk(
        self, dims: Sequence[int], level: int, held: list[Value],
        body: Callable[[int, list[Value]], list[Value]],
    ) -> list[Value]:  # fmt: skip
        """Run `body(level, held)` over reduced dims in row-major order, carrying values."""
        e = self.e
        if not dims:
            return body(level, held)
        n = self.kernel.domain[dims[0]]

        def step(i: Value, carried: list[Value]) -> list[Value]:
            e.axes[dims[0]] = Axis(i, level)
            e.enter(level)
            return self.walk(dims[1:], level + 1, carried, body)

        count = size(self.kernel.domain[d] for d in dims)
        if count <= UNROLLED:
            if free(n) or count * self.weight() > SPELT:
                return e.f.loop(0, n, 1, step, held)
            for i in range(n):
                held = step(Value("i64", const=i), held)
            return held

        inside = size(self.kernel.domain[d] for d in dims[1:])
        return self.over(n, 1, inside * self.taking, step, held)

    def position(self) -> Value:
        """Return the row-major number of the element being taken, its last dim as a scalar."""
        f, total = self.e.f, Value("i64", const=0)
        for d in self.reduced:
            total = f.add(f.mul(total, self.kernel.domain[d]), self.e.axes[d].index)
        return total

    def split(self, flat: list[Value]) -> list[list[Value]]:
        """Group flat carried values by reduction."""
        groups, at = [], 0
        for accumulator in self.accumulators:
            n = 2 if accumulator.indexed else 1
            groups.append(flat[at : at + n])
            at += n
        return groups

    def finish(self, held: list[Value]) -> None:
        """Write the results at the kept dims' index."""
        e = self.e
        results = []
        for accumulator, values, (_, x) in zip(
            self.accumulators, self.split(held), self.kernel.reductions, strict=True
        ):
            made = accumulator.result(e.f, values)
            results.append(made if accumulator.indexed else rounded(e.f, made, x.dtype))
        e.reduced = results
        for d in self.reduced:
            e.axes[d] = Axis(Value("i64", const=0), 0)
        for store in self.kernel.stores:
            e.store(store.buffer, store.affine, store.expr)


class _Inner(_Loops):
    """Lanes run along the last dim, which is reduced."""

    def run(self, low: Value, high: Value) -> int:
        """Write the function; return the number of tiles."""
        e, kernel = self.e, self.kernel
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
        over_rows(e, low, high, self.kept or [-2], extents or [1], per_tile, rows, self._row)
        if max(self.kept, default=-1) < min(self.reduced):
            self.span = per_tile * per_row
        return -(-rows // per_tile)

    def _row(self, _unit: Value) -> None:
        e = self.e
        self.layout = [a for a in self.accumulators for _ in range(self.parts)]
        self.taking = -(-self.kernel.domain[self.last] // self.total)
        start = [v for a in self.layout for v in a.first(e.width)]
        held = self.walk(self.reduced[:-1], 2, start, self._line)
        e.width, saved = 1, e.width
        e.vector_dim = -1
        e.enter(2)
        self.finish(self._joined(held, saved))
        e.width, e.vector_dim = saved, self.last

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

    def _joined(self, held: list[Value], width: int) -> list[Value]:
        """Join accumulators i and i + half, halving until one is left."""
        e, f = self.e, self.e.f
        results: list[Value] = []
        at = 0
        for accumulator in self.accumulators:
            n = 2 if accumulator.indexed else 1
            parts = [held[at + k * n : at + k * n + n] for k in range(self.parts)]
            at += n * self.parts
            while len(parts) > 1:
                half = len(parts) // 2
                parts = [accumulator.join(e, parts[k], parts[k + half]) for k in range(half)]
            values, count = parts[0], width
            while count > 1:
                count //= 2
                low = [_half(f, v, 0, count) for v in values]
                high = [_half(f, v, count, count) for v in values]
                values = accumulator.join(e, low, high)
            results += values
        return results


def _half(f: Function, v: Value, first: int, count: int) -> Value:
    """Return `count` lanes from `first` on; one lane as a scalar."""
    return f.extract(v, first) if count == 1 else f.shuffle(v, v, range(first, first + count))


class _Outer(_Loops):
    """Lanes run along the last kept dim; the reduced dims are walked in order."""

    def run(self, low: Value, high: Value) -> int:
        """Write the function; return the number of tiles."""
        e, kernel = self.e, self.kernel
        e.width = self.target.lanes(32)
        if not self.kept:
            e.width = 1
            over_rows(e, low, high, [-2], [1], 1, 1, lambda _u: self._element(2))
            return 1
        last = self.kept[-1]
        n = kernel.domain[last]
        if n < e.width:
            e.width = max(1, 1 << (n - 1).bit_length())
        dims, extents = self.kept[:-1], [kernel.domain[d] for d in self.kept[:-1]]
        per_row = size(kernel.domain[d] for d in self.reduced)
        unroll = self._abreast(n)
        wide = max(e.width * unroll, min(n, GRAIN // max(per_row, 1) // e.width * e.width))
        cuts = -(-n // wide)
        rows = size(extents) * cuts
        per_tile = max(1, GRAIN // max(1, min(n, wide) * per_row))
        if cuts > 1 or not dims:
            dims, extents = [*dims, -1], [*extents, cuts]
        f = e.f

        def row(_unit: Value) -> None:
            start: Value = Value("i64", const=0)
            end: Value = Value("i64", const=n)
            if cuts > 1:
                start = f.mul(e.axes.pop(-1).index, wide)
                end = f.op("smin", f.add(start, wide), n)
            self._columns(last, start, end, unroll)

        over_rows(e, low, high, dims, extents, per_tile, rows, row)
        return -(-rows // per_tile)

    def _abreast(self, n: int) -> int:
        """Return how many vectors of columns go side by side down the reduced dims.

        Few and narrow columns of a large array would be read page by page.
        """
        if size(self.kernel.domain[d] for d in self.reduced) <= UNROLLED:
            return 1
        code = self.weight()
        each = sum(2 if a.indexed else 1 for a in self.accumulators)
        count = 16
        while count > 1 and (
            count * code > WRITTEN or count * each > self.target.registers // 2
            or n < count * self.e.width
        ):  # fmt: skip
            count //= 2
        return count

    def _columns(self, last: int, start: Value, end: Value, unroll: int) -> None:
        """Take columns: `unroll` vectors side by side while they fit, then one by one."""
        e, f = self.e, self.e.f
        if unroll > 1:
            step = e.width * unroll
            count = f.sub(end, start)
            whole = f.add(start, f.sub(count, f.op("srem", count, step)))
            e.vector_dim = last

            def several(i: Value, _: object) -> None:
                e.axes[last] = Axis(i, 2)
                e.mask = None
                e.enter(2)
                self._element(3, unroll)

            f.loop(start, whole, step, several)
            start = whole
        over_vectors(e, last, start, end, 1, 2, lambda: self._element(3))

    def _element(self, level: int, unroll: int = 1) -> None:
        """Reduce at one kept index (a vector of them, or several)."""
        e = self.e
        mask, vector_dim = e.mask, e.vector_dim
        each = sum(2 if a.indexed else 1 for a in self.accumulators)
        self.layout = [a for _ in range(unroll) for a in self.accumulators]
        start = [v for a in self.layout for v in a.first(e.width)]

        def body(_level: int, held: list[Value]) -> list[Value]:
            taken: list[Value] = []
            for u in range(unroll):
                e.shift = u * e.width
                e.refresh()
                taken += self._taken(held[u * each : u * each + each])
            e.shift = 0
            return taken

        held = self.walk(self.reduced, level, start, body)
        for u in range(unroll):
            e.shift = u * e.width
            e.mask, e.vector_dim = mask, vector_dim
            e.enter(level)
            self.finish(held[u * each : u * each + each])
        e.shift = 0

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
