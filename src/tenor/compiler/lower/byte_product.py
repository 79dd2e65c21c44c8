"""Products of bytes: c[i, j] = sum over k of a[i, k] b[j, k], exactly, in 32 bits.

Sums of integers are exact in any order, so k runs across the lanes of a vector: nothing is packed
or transposed, each operand is read where it lies, and the lanes are added up at the end.

Where the machine multiplies unsigned bytes with signed ones and both are signed, b is shifted by
128 to be unsigned, and 128 times the sum of a's row is taken off.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import parted, tiles_for
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.microkernel import Extent, stretch, sweep
from tenor.compiler.lower.storage import entry
from tenor.compiler.lower.ways import chosen
from tenor.ir import dtype as dt
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
PARAMS: Final = (("a", "ptr"), ("b", "ptr"), ("c", "ptr"))


def matmul_int8(kernel: Kernel, target: Target) -> Lowered:
    """Lower a product of bytes.

    Params: m, n, k.
    Buffers: a [m, k] uint8 or int8, b [n, k] int8, c [m, n] int32; contiguous.
    """
    p = kernel.params
    f, (a, b, c), begin, end, _ = entry(kernel)
    if 0 in (p["m"], p["n"]):
        return Lowered(f, 0)
    signed = kernel.buffers[0].dtype is dt.int8
    plan = _Plan(f, p["m"], p["n"], p["k"], target, signed=signed)
    plan.write(begin, end, a, b, c)
    return Lowered(f, plan.tiles, 0, plan.work * 8 // (plan.step * 25) + 1)


class _Plan:
    """A product being written: its tiles, and the loops over them."""

    def __init__(
        self, f: Function, m: int, n: int, k: int, target: Target, *, signed: bool
    ) -> None:
        self.f, self.m, self.n, self.k, self.target = f, m, n, k, target
        self.signed = signed
        self.step = _step(target, signed=signed)
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
            extents = (height, width, self.k, self.n)
            self.kernels[height, width] = chosen(
                f"dots{height}x{width}", PARAMS, self.target,
                lambda name, way: _Micro(name, *extents, way, signed=self.signed).write(),
            )  # fmt: skip
        return self.kernels[height, width]


def _step(target: Target, *, signed: bool) -> int:
    """Return how many numbers of k a vector holds."""
    return target.lanes(32) * (4 if _whole(target, signed=signed) else 2)


def _whole(target: Target, *, signed: bool) -> bool:
    """Tell whether one instruction multiplies four bytes of a and of b."""
    return target.dots == "vnni" or (target.dots in ("sdot", "smlad") and signed)


class _Micro:
    """The innermost loop: some rows of a and some of b, every pair of them a vector of sums."""

    def __init__(
        self, name: str, height: int, width: int, k: int, c_row: int, target: Target,
        *, signed: bool,
    ) -> None:  # fmt: skip
        self.f = Function(name, PARAMS)
        self.height, self.width, self.k, self.c_row = height, width, k, c_row
        self.step, self.whole = _step(target, signed=signed), _whole(target, signed=signed)
        self.target = target
        self.signed = signed
        self.shifts = signed and target.dots == "vnni"
        self.lanes = target.lanes(32)
        self.a, self.b, self.c = self.f.params

    def write(self) -> Function:
        """Return the function (a, b, c)."""
        f, k, step = self.f, self.k, self.step
        zero = f.const(0, vector("i32", self.lanes))
        held = [zero] * (self.height * (self.width + self.shifts))
        full = k // step * step
        if full:
            held = f.loop(0, full, step, lambda at, held: self._added(at, held, None), held)
        if k > full:
            held = self._added(f.const(full, "i64"), held, first_lanes(f, k - full, step))
        for i in range(self.height):
            row = held[i * self.width : (i + 1) * self.width]
            if self.shifts:
                row = [f.sub(x, held[self.height * self.width + i]) for x in row]
            for j in range(0, self.width, GROUP):
                self._deliver(row[j : j + GROUP], i * self.c_row + j)
        return f

    def _added(self, at: Value, held: list[Value], mask: Value | None) -> list[Value]:
        """Return the sums with the products at k = at, at + 1, ... added."""
        columns = [self._operand(self.b, j, at, mask, "sext") for j in range(self.width)]
        shift = self.f.const(-128, columns[0].type)  # of unsigned bytes 128
        if self.shifts:
            columns = [self.f.op("xor", y, shift) for y in columns]
        sums, more = [], []
        for i in range(self.height):
            x = self._operand(self.a, i, at, mask, "sext" if self.signed else "zext")
            for j, y in enumerate(columns):
                a, b = (y, x) if self.shifts else (x, y)
                sums.append(self._dots(a, b, held[i * self.width + j]))
            if self.shifts:
                more.append(self._dots(shift, x, held[self.height * self.width + i]))
        return sums + more

    def _operand(self, base: Value, row: int, at: Value, mask: Value | None, wider: str) -> Value:
        f = self.f
        where = f.add(at, row * self.k)
        if self.whole and self.lanes == 1 and mask is None:
            word = f.load("i32", f.gep(base, where, "i8"), align=1)
            return f.convert("bitcast", word, vector("i8", self.step))
        x = f.load(vector("i8", self.step), base, where, mask=mask)
        return x if self.whole else f.convert(wider, x, vector("i16", self.step))

    def _dots(self, x: Value, y: Value, total: Value) -> Value:
        """Return the sums with products added: of neighbours, or of halves of a vector."""
        f = self.f
        if self.whole:
            return f.byte_dots(x, y, total)
        if self.target.dots in ("vnni", "pairs"):
            return f.pair_dots(x, y, total)
        for half in range(2):
            parts = [self._half(v, half) for v in (x, y)]
            total = f.add(total, f.mul(*parts))
        return total

    def _half(self, x: Value, half: int) -> Value:
        """Return one half of a vector's lanes, widened."""
        f, n = self.f, self.lanes
        part = f.extract(x, half) if n == 1 else f.shuffle(x, x, range(half * n, half * n + n))
        return f.convert("sext", part, vector("i32", n))

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
