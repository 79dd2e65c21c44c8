"""Accumulators, and the walk of a reduction over its elements in the order `reduce` documents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.element import ELEMENT, register_type, rounded
from tenor.compiler.lower.evaluate import Axis, Evaluator, expr_cost
from tenor.ir.loops import Value, element, lanes, vector
from tenor.ir.node import size
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Expr, Kernel
    from tenor.ir.loops import Function
    from tenor.ir.target import Target

__all__ = ["UNROLLED", "Accumulator", "Loops", "keep", "kept"]

STRETCH: Final = 256
"""Elements an accumulator takes before a sum begins anew."""
WORTH_A_JOIN: Final = 16
"""Elements of an inner walk from which on it begins anew each time."""
SPELT: Final = 48
"""Instructions up to which a walk is written out."""
UNROLLED: Final = 16
"""Elements up to which it is."""


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


class Loops:
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
        self.scratch = 0
        self.span = 0

    # -- long sums ----------------------------------------------------------------------------
    def over(
        self, n: int, step: int, taking: int, body: Callable[[Value, list[Value]], list[Value]],
        held: list[Value], loop: Callable[..., list[Value]] | None = None,
    ) -> list[Value]:  # fmt: skip
        """Run `body(i, held)` for i in range(0, n, step), long sums in stretches of their own.

        Args:
            n: The end of the range.
            step: Its step.
            taking: How many elements an accumulator takes at each call.
            body: Takes the elements at i.
            held: The accumulators' values, in the order of `layout`.
            loop: Writes the innermost loop; `Function.loop` by default.
        """
        f, count = self.e.f, -(-n // step)
        loop = loop or f.loop
        if count * taking <= STRETCH or not any(a.drifts for a in self.layout):
            return loop(0, n, step, body, held)

        def alone(i: Value, before: list[Value]) -> list[Value]:
            return self._together(before, body(i, self._afresh(before)))

        once = alone if taking >= WORTH_A_JOIN else body

        def run(low: Value | int, high: Value | int, most: int, held: list[Value]) -> list[Value]:
            if most <= STRETCH:
                return loop(low, high, step, once, held)
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


# -- accumulators in memory -----------------------------------------------------------------------
def keep(f: Function, x: Value, pointer: Value, at: Value | int) -> None:
    """Store values of accumulators; a truth as a byte."""
    kind = _stored(x.type)
    f.store(x if kind == x.type else f.convert("zext", x, kind), pointer, at)


def kept(f: Function, type_: str, pointer: Value, at: Value | int) -> Value:
    """Load values of accumulators that `keep` has stored."""
    kind = _stored(type_)
    x = f.load(kind, pointer, at)
    return x if kind == type_ else f.compare("ne", x, 0)


def _stored(type_: str) -> str:
    return vector("i8", lanes(type_)) if element(type_) == "i1" else type_
