"""The innermost loops for few rows of A and a B whose k is contiguous.

Each square block of B is transposed in registers and used at once: for so few rows packing it
would cost more. All blocks of k are done in one go, so that B is read from end to end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import depth_of
from tenor.compiler.lower.lane import transposed
from tenor.compiler.lower.microkernel import multiply_add, write_sums
from tenor.compiler.lower.storage import compute_type, load_element, memory_type, plus
from tenor.ir import dtype as dt
from tenor.ir.loops import Function, Value, vector

if TYPE_CHECKING:
    from tenor.compiler.lower.microkernel import Micro

__all__ = ["turned_kernel"]

AHEAD: Final = 128 * 1024
"""Bytes of a group of columns up to which the next one is asked for ahead of its use."""


def turned_kernel(name: str, spec: Micro, column: int, k: int) -> Function:
    """Return the function (a, b, c) that sums over all k.

    Args:
        name: Of the function.
        spec: The tile; `b_step` is 1, and `more` means nothing.
        column: Elements from one column of B to the next.
        k: Length of the sums.
    """
    f = Function(name, [("a", "ptr"), ("b", "ptr"), ("c", "ptr")])
    assert spec.c_row is not None, "it is told when the function is made"
    c_row = f.const(spec.c_row, "i64")
    write_sums(f, spec, _Turned(f, spec, column).totals(k), f.params[2], None, c_row)
    return f


class _Turned:
    """One such function being written."""

    def __init__(self, f: Function, spec: Micro, column: int) -> None:
        self.f, self.spec, self.column = f, spec, column
        self.a, self.b, _ = f.params
        self.kind = vector(compute_type(spec.a), spec.width)
        self.count = len(spec.rows) * spec.vectors
        self.there = [spec.width] * (spec.vectors - 1) + [spec.last]
        self.line = max(spec.width, 64 // spec.b.itemsize)
        self.memory = memory_type(spec.b)
        # Runs that end soon are over before the machine has noticed them.
        group = spec.vectors * spec.width * column
        self.ahead = group if group * spec.b.itemsize <= AHEAD else 0

    def totals(self, k: int) -> list[Value]:
        """Return the sums: the blocks of k, added in order."""
        f, depth = self.f, depth_of(k)
        if k <= depth:
            return self._block(f.const(0, "i64"), k)
        # Adding to minus zero leaves every first sum as it is, zeros of both signs too.
        nothing = f.const(-0.0 if self.spec.a.kind == "float" else 0, self.kind)
        whole = k // depth * depth
        totals = f.loop(0, whole, depth, lambda q, held: self._added(held, q, depth),
                        [nothing] * self.count)  # fmt: skip
        return self._added(totals, f.const(whole, "i64"), k - whole) if k > whole else totals

    def _added(self, totals: list[Value], start: Value, length: int) -> list[Value]:
        parts = self._block(start, length)
        return [plus(self.f, self.spec.a, t, x) for t, x in zip(totals, parts, strict=True)]

    def _block(self, start: Value, length: int) -> list[Value]:
        """Return the sums over one block of k."""
        f, line = self.f, self.line
        whole = f.add(start, length // line * line)
        held = [f.const(0, self.kind)] * self.count
        if length >= line:
            held = f.loop(start, whole, line, self._square, held)
        if length % line:
            held = f.loop(whole, f.add(start, length), 1, self._single, held)
        return held

    def _square(self, k: Value, held: list[Value]) -> list[Value]:
        """Take a line of each column, transposed in registers."""
        held = list(held)
        rows = self._pairs if self.spec.b is dt.bfloat16 else self._rows
        step = self.spec.width * (2 if self.spec.b is dt.bfloat16 else 1)
        for j, count in enumerate(self.there):
            for part in range(0, self.line, step):
                found = rows(k, j, count, part)
                self._ask(k, j, count, part)
                for d, y in enumerate(found):
                    self._take(held, self.f.add(k, part + d), j, y)
        return held

    def _ask(self, k: Value, j: int, count: int, part: int) -> None:
        """Ask for the same places of the next columns."""
        for d in range(count if self.ahead else 0):
            place = self.f.add(self._place(k, j, d, part), self.ahead)
            self.f.prefetch(self.b, place, self.memory)

    def _rows(self, k: Value, j: int, count: int, part: int) -> list[Value]:
        """Return as many rows of B as a vector has lanes."""
        f, spec, width = self.f, self.spec, self.spec.width
        zero = f.const(0, self.kind)
        columns = [
            load_element(f, spec.b, self.b, self._place(k, j, d, part), width)
            if d < count else zero
            for d in range(width)
        ]  # fmt: skip
        return transposed(f, columns)

    def _pairs(self, k: Value, j: int, count: int, part: int) -> list[Value]:
        """Return twice as many rows of a bfloat16 B: two of its elements move as one."""
        f, width = self.f, self.spec.width
        words = vector("i32", width)
        columns = [
            f.load(words, f.gep(self.b, self._place(k, j, d, part), "i16"), align=2)
            if d < count else f.const(0, words)
            for d in range(width)
        ]  # fmt: skip
        rows = []
        for x in transposed(f, columns):
            rows += [f.op("shl", x, 16), f.op("and", x, -0x10000)]
        return [f.convert("bitcast", x, self.kind) for x in rows]

    def _single(self, k: Value, held: list[Value]) -> list[Value]:
        """Take one element of each column."""
        f, spec = self.f, self.spec
        held = list(held)
        for j, count in enumerate(self.there):
            y = f.const(0, self.kind)
            for d in range(count):
                y = f.insert(y, d, load_element(f, spec.b, self.b, self._place(k, j, d, 0)))
            self._take(held, k, j, y)
        return held

    def _place(self, k: Value, j: int, d: int, part: int) -> Value:
        return self.f.add(k, (j * self.spec.width + d) * self.column + part)

    def _take(self, held: list[Value], k: Value, j: int, y: Value) -> None:
        """Add the products of one row of B and each row of A."""
        f, spec = self.f, self.spec
        at = f.mul(k, spec.a_step or 0)
        for i, row in enumerate(spec.rows):
            x = f.splat(load_element(f, spec.a, self.a, f.add(at, row)), spec.width)
            slot = i * spec.vectors + j
            held[slot] = multiply_add(f, spec.a.compute, x, y, held[slot])
