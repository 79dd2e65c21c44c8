"""Reduce kernels: some dims of the domain are summed (or the like) away.

The order is fixed by what is reduced alone, so a row of a batch has the same bits whatever else is
in it. One invocation goes over the reduced elements in row-major order where they are few. Where
they are many, the 64 invocations of a workgroup
take every 64th each, and their results are joined in a tree: i with i + 32, i with i + 16, down
to one. A float sum begins at 0 every 32 elements, and these sums are added up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from tenor.compiler.emit.wgsl.body import THREADS, grid
from tenor.compiler.emit.wgsl.element import ELEMENT, literal, register, rounded
from tenor.compiler.emit.wgsl.expression import Evaluator, axes_of, unravelled
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.compiler.emit.wgsl.body import Body
    from tenor.compiler.emit.wgsl.expression import Axis
    from tenor.ir.dtype import DType

__all__ = ["write_reduce"]

FEW: Final = 256
"""Reduced elements up to which one invocation takes them all."""
STRETCH: Final = 32
ROOM: Final = 48
"""Values an invocation may put into shared memory: 64 times as many take 12 of 16 KB."""


def write_reduce(body: Body) -> tuple[int, tuple[int, int, int]]:
    """Write a reduce kernel; return the threads of a workgroup, and how many workgroups."""
    axes = axes_of(body.kernel)
    kept = [a for a in axes if not a.reduced]
    count = size(a.extent for a in kept)
    gone = size(body.kernel.domain[d] for d in body.kernel.reduce_dims)
    held = [Accumulator(body, op, expr.dtype) for op, expr in body.kernel.reductions]
    together = gone > FEW and sum(len(a.kinds) for a in held) <= ROOM
    if not together:
        index = unravelled(body, body.index(count), kept)
        _walk(body, held, [a for a in axes if a.reduced], index, "0", 1, gone)
        _finish(body, held, index)
        return THREADS, grid(-(-count // THREADS))
    body.line(f"let i = i32(group.x) + i32(group.y) * {grid(count)[0]};")
    # Workgroups past the end do the work of the last one, for all have to meet at the barriers.
    index = unravelled(body, body.let(f"min(i, {count - 1})"), kept)
    _walk(body, held, [a for a in axes if a.reduced], index, "i32(thread)", THREADS, gone)
    _join(body, held)
    with body.block(f"if ((thread == 0u) & (i < {count}))"):
        _finish(body, held, index)
    return THREADS, grid(count)


class Accumulator:
    """One reduction's running values.

    Attributes:
        op: "sum", "prod", "max", "min", "argmax" or "argmin".
        dtype: The dtype of the elements.
        kinds: The types of its values: the value, and of a position that too.
        names: Their names.
    """

    def __init__(self, body: Body, op: str, dtype: DType) -> None:
        self.body, self.op, self.dtype = body, op, dtype
        self.indexed = op.startswith("arg")
        self.kinds = [register(dtype), "i32"] if self.indexed else [register(dtype)]
        self.names = [body.var(self.kinds[0], self._identity())]
        if self.indexed:
            self.names.append(body.var("i32", "-1"))
        self.drifts = op == "sum" and dtype.kind == "float"
        self.part = body.var("f32", "0.0") if self.drifts else ""

    def _identity(self) -> str:
        dtype = self.dtype
        if self.op in ("sum", "prod"):
            return literal(0 if self.op == "sum" else 1, dtype)
        top = self.op in ("min", "argmin")
        if dtype.kind == "float":
            return literal(math.inf if top else -math.inf, dtype)
        if dtype.kind == "bool":
            return literal(top, dtype)
        bits = min(8 * dtype.itemsize, 32)
        if dtype.kind == "uint":
            return literal((1 << bits) - 1 if top else 0, dtype)
        return literal((1 << (bits - 1)) - 1 if top else -(1 << (bits - 1)), dtype)

    def take(self, x: str, at: str) -> None:
        """Take one more element."""
        if self.drifts:
            self.body.line(f"{self.part} += {x};")
        else:
            self._merge([x, at][: len(self.names)], first=True)

    def result(self) -> str:
        """Return the name of what it came to: the position, where that is asked."""
        if self.indexed or self.dtype.compute is self.dtype:
            return self.names[-1]
        return self.body.let(rounded(self.names[0], self.dtype))

    def settle(self) -> None:
        """Add what a stretch came to."""
        if self.drifts:
            self.body.line(f"{self.names[0]} += {self.part};")
            self.body.line(f"{self.part} = 0.0;")

    def _merge(self, other: Sequence[str], *, first: bool) -> None:
        body, mine = self.body, self.names
        if not self.indexed:
            op = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}[self.op]
            made = ELEMENT[op]([mine[0], other[0]], self.dtype)
            body.line(f"{mine[0]} = {body.use(made)};")
            return
        test = f"(({mine[1]} < 0) | {self._beats(other[0], mine[0])})"
        if not first:  # those of another invocation may stand before mine
            same = f"(!{self._beats(mine[0], other[0])} & ({other[1]} < {mine[1]}))"
            test = f"({other[1]} >= 0) & ({test} | {same})"
        with body.block(f"if ({test})"):
            body.line(f"{mine[0]} = {other[0]};")
            body.line(f"{mine[1]} = {other[1]};")

    def _beats(self, a: str, b: str) -> str:
        """Return whether a is to be preferred, wherever it stands; NaN is to all numbers."""
        if self.dtype.kind == "bool":
            return f"({a} & !{b})" if self.op == "argmax" else f"(!{a} & {b})"
        test = f"{a} > {b}" if self.op == "argmax" else f"{b} > {a}"
        if self.dtype.kind != "float":
            return f"({test})"
        self.body.calls.add("is_nan")
        return f"(!is_nan({b}) & (is_nan({a}) | ({test})))"

    def join(self, others: Sequence[str]) -> None:
        """Join another invocation's values."""
        self._merge(others, first=False)


def _walk(
    body: Body, held: Sequence[Accumulator], axes: Sequence[Axis], index: dict[int, str],
    start: str, step: int, count: int,
) -> None:  # fmt: skip
    """Go over the reduced elements, from one on and in steps."""
    drifts = any(a.drifts for a in held)
    seen = body.var("i32", "0") if drifts and count > STRETCH else ""
    with body.block(body.loop("r", count, start, str(step))):
        at = index | unravelled(body, "r", axes) if axes else index
        e = Evaluator(body, at)
        for accumulator, (_, expr) in zip(held, body.kernel.reductions, strict=True):
            accumulator.take(e.value(expr), "r")
        if seen:
            body.line(f"{seen} += 1;")
            with body.block(f"if (({seen} & {STRETCH - 1}) == 0)"):
                _settle(held)
    _settle(held)


def _settle(held: Sequence[Accumulator]) -> None:
    for accumulator in held:
        accumulator.settle()


def _join(body: Body, held: Sequence[Accumulator]) -> None:
    """Join the values of a workgroup in a tree."""
    rooms = [[body.shared(kind, THREADS) for kind in a.kinds] for a in held]

    def put() -> None:
        for accumulator, room in zip(held, rooms, strict=True):
            for name, place in zip(accumulator.names, room, strict=True):
                body.line(f"{place}[thread] = {name};")

    put()
    body.line("workgroupBarrier();")
    with body.block("for (var half = 32u; half > 0u; half = half >> 1u)"):
        with body.block("if (thread < half)"):
            for accumulator, room in zip(held, rooms, strict=True):
                accumulator.join([body.let(f"{place}[thread + half]") for place in room])
            put()
        body.line("workgroupBarrier();")


def _finish(body: Body, held: Sequence[Accumulator], index: dict[int, str]) -> None:
    """Store what depends on the results."""
    e = Evaluator(body, index, [a.result() for a in held])
    values = [e.value(store.expr) for store in body.kernel.stores]
    for store, value in zip(body.kernel.stores, values, strict=True):
        body.store(store.buffer, e.affine(store.affine), value)
