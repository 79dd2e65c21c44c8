"""Products of bytes: c[i, j] = sum over k of a[i, k] b[j, k], exactly, in 32 bits.

Sums of integers are exact in any order, so k runs across the lanes of a vector: nothing is packed
or transposed, each operand is read where it lies, and the lanes are added up at the end.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import parted, tiles_for
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.microkernel import Extent, stretch, sweep
from tenor.compiler.lower.storage import entry
from tenor.ir.loops import Function, Value, lanes, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["matmul_int8"]

NEAR: Final = 256 * 1024
"""Bytes of b that stay in the second-level cache while rows of a pass by."""
FETCHED: Final = 4
"""How much longer a product takes where each byte of b is used once or twice."""
GROUP: Final = 4
"""Columns whose lanes are added up together."""


def matmul_int8(kernel: Kernel, target: Target) -> Lowered:
    """Lower a product of bytes.

    Params: m, n, k.
    Buffers: a [m, k] uint8, b [n, k] int8, c [m, n] int32; contiguous.
    """
    p = kernel.params
    f, (a, b, c), begin, end, _ = entry(kernel)
    if 0 in (p["m"], p["n"]):
        return Lowered(f, 0)
    plan = _Plan(f, p["m"], p["n"], p["k"], target)
    plan.write(begin, end, a, b, c)
    return Lowered(f, plan.tiles, 0, plan.work * 8 // (plan.step * 25) + 1)


class _Plan:
    """A product being written: its tiles, and the loops over them."""

    def __init__(self, f: Function, m: int, n: int, k: int, target: Target) -> None:
        self.f, self.m, self.n, self.k, self.target = f, m, n, k, target
        self.step = target.lanes(32) * (4 if target.byte_dots else 2)
        self.work = m * n * max(1, k) * (FETCHED if m <= 2 else 1)
        most = max(1, (target.registers - 1 - GROUP) // GROUP)
        self.rows = min(m, most)
        self.columns = GROUP * (2 if self.rows <= 2 and target.registers >= 32 else 1)
        each = tiles_for(self.work // 4)
        near = max(self.columns, NEAR // max(1, k))
        self.nc = parted(n, self.columns, near, min(each, ceil(n / self.columns)))
        self.mc = parted(m, self.rows, m, ceil(each / ceil(n / self.nc)))
        self.grid = (ceil(m / self.mc), ceil(n / self.nc))
        self.tiles = self.grid[0] * self.grid[1]
        self.kernels: dict[tuple[int, int], Function] = {}

    def write(self, begin: Value, end: Value, a: Value, b: Value, c: Value) -> None:
        """Write the loop over tiles."""
        f = self.f

        def tile(t: Value, _: list[Value]) -> None:
            i = f.mul(f.op("urem", t, self.grid[0]), self.mc)
            j = f.mul(f.op("udiv", t, self.grid[0]), self.nc)
            rows = stretch(f, i, self.m, self.mc, self.rows)
            columns = stretch(f, j, self.n, self.nc, self.columns)
            at_c = f.add(f.mul(i, self.n), j)
            self._tile(rows, columns, f.gep(a, f.mul(i, self.k), "i8"),
                       f.gep(b, f.mul(j, self.k), "i8"), f.gep(c, at_c, "i32"))  # fmt: skip

        f.loop(begin, end, 1, tile)

    def _tile(self, rows: Extent, columns: Extent, a: Value, b: Value, c: Value) -> None:
        """Write one tile: a few rows of a, near by, meet all columns."""
        f = self.f

        def down(i: Value, height: int) -> None:
            a_i = f.gep(a, f.mul(i, self.k), "i8")

            def right(j: Value, width: int) -> None:
                b_j = f.gep(b, f.mul(j, self.k), "i8")
                c_ij = f.gep(c, f.add(f.mul(i, self.n), j), "i32")
                f.call(self._micro(height, width), [a_i, b_j, c_ij])

            sweep(f, columns, right)

        sweep(f, rows, down)

    def _micro(self, height: int, width: int) -> Function:
        if (height, width) not in self.kernels:
            micro = _Micro(height, width, self.k, self.n, self.step, self.target)
            self.kernels[height, width] = micro.write()
        return self.kernels[height, width]


class _Micro:
    """The innermost loop: some rows of a and some of b, every pair of them a vector of sums."""

    def __init__(
        self, height: int, width: int, k: int, c_row: int, step: int, target: Target
    ) -> None:
        self.f = Function(f"dots{height}x{width}", [("a", "ptr"), ("b", "ptr"), ("c", "ptr")])
        self.height, self.width, self.k, self.c_row = height, width, k, c_row
        self.step, self.whole = step, target.byte_dots
        self.lanes = target.lanes(32)
        self.a, self.b, self.c = self.f.params

    def write(self) -> Function:
        """Return the function (a, b, c)."""
        f, k, step = self.f, self.k, self.step
        zero = f.const(0, vector("i32", self.lanes))
        held = [zero] * (self.height * self.width)
        full = k // step * step
        if full:
            held = f.loop(0, full, step, lambda at, held: self._added(at, held, None), held)
        if k > full:
            held = self._added(f.const(full, "i64"), held, first_lanes(f, k - full, step))
        for i in range(self.height):
            row = held[i * self.width : (i + 1) * self.width]
            for j in range(0, self.width, GROUP):
                self._deliver(row[j : j + GROUP], i * self.c_row + j)
        return f

    def _added(self, at: Value, held: list[Value], mask: Value | None) -> list[Value]:
        """Return the sums with the products at k = at, at + 1, ... added."""
        columns = [self._operand(self.b, j, at, mask, "sext") for j in range(self.width)]
        sums = []
        for i in range(self.height):
            x = self._operand(self.a, i, at, mask, "zext")
            for j, y in enumerate(columns):
                sums.append(self._dots(x, y, held[i * self.width + j]))
        return sums

    def _operand(self, base: Value, row: int, at: Value, mask: Value | None, wider: str) -> Value:
        f = self.f
        where = f.add(at, row * self.k)
        x = f.load(vector("i8", self.step), base, where, mask=mask)
        return x if self.whole else f.convert(wider, x, vector("i32", self.step))

    def _dots(self, x: Value, y: Value, total: Value) -> Value:
        """Return the sums with products of neighbours added.

        Without VNNI those are pairs, written so that LLVM finds x86's `pmaddwd`.
        """
        f = self.f
        if self.whole:
            return f.byte_dots(x, y, total)
        products = f.mul(x, y)
        even = f.shuffle(products, products, range(0, self.step, 2))
        odd = f.shuffle(products, products, range(1, self.step, 2))
        return f.add(f.add(even, odd), total)

    def _deliver(self, sums: list[Value], at: int) -> None:
        """Add up the lanes of up to four vectors, and store the totals."""
        f = self.f
        if self.lanes == 1:
            for j, total in enumerate(sums):
                f.store(total, self.c, at + j)
            return
        zero = f.const(0, sums[0].type)
        a, b, c, d = [*sums, *[zero] * (GROUP - len(sums))]
        total = self._paired(self._paired(a, b), self._paired(c, d))
        while lanes(total.type) > GROUP:
            half = lanes(total.type) // 2
            low = f.shuffle(total, total, range(half))
            total = f.add(low, f.shuffle(total, total, range(half, 2 * half)))
        if len(sums) == GROUP:
            f.store(total, self.c, at)
            return
        for j in range(len(sums)):
            f.store(f.extract(total, j), self.c, at + j)

    def _paired(self, a: Value, b: Value) -> Value:
        """Return, in each group of four lanes, the sums of two pairs of a and of two of b."""
        n = self.lanes
        places = [g + x for g in range(0, n, GROUP) for x in (0, 2, n, n + 2)]
        f = self.f
        return f.add(f.shuffle(a, b, places), f.shuffle(a, b, [p + 1 for p in places]))
