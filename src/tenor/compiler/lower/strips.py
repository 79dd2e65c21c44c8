"""A few rows times a matrix that was prepared: its columns lie in strips.

A strip holds the columns of a register tile, and its rows lie in line: the matrix is read once,
from end to end, while the sums stay in registers. A linear layer's weight has k contiguous, and
for a few rows transposing it as it is read takes longer than reading it; one that stays the same
is brought into strips once.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import (
    FEW,
    depth_of,
    lanes_of,
    parted,
    pieces_of,
    strip_tile,
)
from tenor.compiler.lower.matmul import product_of
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.panel import each_panel
from tenor.compiler.lower.storage import LINE, entry, memory_type, upper
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.compiler.lower.finish import Finish
    from tenor.compiler.lower.matmul import Product
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["in_strips", "strip_elements", "strips"]

NEAR: Final = 512 * 1024
"""Bytes of rows that strips are taken for at a time: they stay in the second-level cache."""
TURNS: Final = 32
"""Rows that they are at the least."""
READ: Final = 25
"""Bytes of a matrix that are read in a nanosecond, beyond the second-level cache."""


def strip_elements(kernel: Kernel, _target: Target) -> int:
    """Return the elements of a product's b in strips; 0 where it is read as it lies."""
    p, dtype = product_of(kernel.params).flattened(), kernel.buffers[1].dtype
    if free(p.n) or free(p.k) or dtype is not dtype.compute:
        return 0
    whole = p.b == (1, p.k) and p.c[1] == 1 and not (p.panel or p.offsets[1] or p.batch)
    few = free(p.m) or 0 < p.m <= FEW
    return p.k * p.n if whole and few and p.k > 1 and p.n > 1 else 0


def strips(kernel: Kernel, target: Target) -> Lowered:
    """Lower the kernel that brings a product's b into strips, one a tile.

    Params: the product's, and `of`, its kind. Buffers: b, and what is made of it.
    """
    p, dtype = product_of(kernel.params).flattened(), kernel.buffers[0].dtype
    width = lanes_of(dtype, target)
    columns = strip_tile(p.m, p.n, width, target).columns
    f, (from_, to), begin, end, _ = entry(kernel)
    kind = memory_type(dtype)

    def tile(t: Value, _: list[Value]) -> None:
        at = f.mul(t, columns * p.k)
        near, far = f.gep(from_, at, kind), f.gep(to, at, kind)

        def move(size: int) -> None:
            copy = mover(f"strip{size}", Layout(dtype, 1, p.k), Layout(dtype, size, 1), size, width)
            f.call(copy, [near, far, f.const(p.k, "i64")])

        each_panel(f, p.n, columns, t, move)

    f.loop(begin, end, 1, tile)
    return Lowered(f, ceil(p.n / columns), 0, p.k * p.n // 4)


def in_strips(kernel: Kernel, target: Target, finish: Finish | None = None) -> Lowered:
    """Lower a product whose b lies in strips, and the elementwise kernel that takes its tiles.

    Args:
        kernel: The product, as `matmul` takes it.
        target: The target.
        finish: What takes its tiles.
    """
    f, buffers, begin, end, scratch = entry(kernel)
    a, b, c = buffers[:3]  # where c is private, it is none of them
    made = _Strips(f, product_of(kernel.params).flattened(), kernel.buffers[0].dtype, target)
    if finish is not None:
        finish.prepare(f, buffers, scratch)
        made.finish, made.near = finish, f.gep(scratch, -(-finish.bytes // LINE) * LINE, "i8")
    made.write(begin, end, a, b, c)
    return Lowered(f, made.tiles, made.scratch_bytes(), made.cost)


class _Strips:
    """A product being written: a tile is a run of strips, and as many rows as stay near."""

    finish: Finish | None = None
    near: Value

    def __init__(self, f: Function, product: Product, dtype: DType, target: Target) -> None:
        self.f, self.p, self.dtype, self.kind = f, product, dtype, memory_type(dtype)
        m, n, k = product.m, product.n, product.k
        self.shape = strip_tile(m, n, lanes_of(dtype, target), target)
        self.depth = min(depth_of(k), k)
        near = max(TURNS, NEAR // (k * dtype.itemsize))
        self.most = parted(near, self.shape.rows, near) if free(m) else m
        self.far = (free(m) or m > self.shape.rows) and n * k * dtype.itemsize > 2 * NEAR
        arithmetic = m * n * k * 8 // (lanes_of(dtype, target) * 25)
        reading = n * k * dtype.itemsize // READ + 1
        self.cost = arithmetic + reading if free(m) else max(arithmetic, reading)
        self.count = ceil(n / self.shape.columns)
        self.each = pieces_of(reading if free(m) else self.cost, self.count)
        self.down = ceil(m / self.most) if free(m) else 1
        self.tiles = self.down * ceil(self.count / self.each)
        self.kernels: dict[tuple[int, int], Function] = {}

    def scratch_bytes(self) -> int:
        """Return the bytes of workspace: what a finish needs, and sums of a strip."""
        if self.finish is None:
            return 0
        strip = self.most * self.shape.columns * self.dtype.itemsize * self.finish.private
        return -(-self.finish.bytes // LINE) * LINE + strip

    def write(self, begin: Value, end: Value, a: Value, b: Value, c: Value) -> None:
        """Write the loop over tiles, and over the strips of one."""
        f, p, columns = self.f, self.p, self.shape.columns
        a = f.gep(a, p.offsets[0], self.kind)

        def tile(t: Value, _: list[Value]) -> None:
            i, rows = f.const(0, "i64"), Extent(f.const(p.m, "i64"), self.shape.rows, 0)
            if free(p.m):
                i, t = f.mul(f.op("urem", t, self.down), self.most), f.op("udiv", t, self.down)
                rows = replace(rows, count=f.op("smin", f.sub(p.m, i), self.most), halving=True)
            rows = replace(rows, rest=p.m % self.shape.rows)
            a_i = f.gep(a, f.mul(i, p.a[0]), self.kind)
            c_i = f.add(f.mul(i, p.c[0]), p.offsets[2])

            def strip(s: Value, _: list[Value]) -> None:
                j = f.mul(s, columns)
                b_j, at = f.gep(b, f.mul(j, p.k), self.kind), f.add(c_i, j)
                each_panel(f, p.n, columns, s, lambda n: self._strip(n, rows, a_i, b_j, c, at))

            first = f.mul(t, self.each)
            f.loop(first, upper(f, first, self.each, self.count), 1, strip)

        f.loop(begin, end, 1, tile)

    def _strip(self, size: int, rows: Extent, a: Value, b: Value, c: Value, at: Value) -> None:
        """Write the product of some rows with a strip, and what takes it."""
        private = self.finish is not None and self.finish.private
        to = self.near if private else self.f.gep(c, at, self.kind)
        pitch = self.shape.columns if private else self.p.c[0]
        self._blocks(size, rows, a, b, to, pitch)
        if self.finish is not None:
            length = self.f.const(size, "i64")
            self.finish.rows(rows.count, length, at, self.p.c[0], to, pitch)

    def _blocks(self, size: int, rows: Extent, a: Value, b: Value, c: Value, pitch: int) -> None:
        """Write the sums of a strip: its blocks of k in order, of all rows each."""
        f, p, kind = self.f, self.p, self.kind

        def block(q: Value, depth: Value) -> None:
            a_q, b_q = (f.gep(x, f.mul(q, step), kind) for x, step in ((a, p.a[1]), (b, size)))

            def down(i: Value, height: int) -> None:
                from_, to = f.gep(a_q, f.mul(i, p.a[0]), kind), f.gep(c, f.mul(i, pitch), kind)
                more = [q] if p.k > self.depth else []
                f.call(self._micro(height, size, pitch), [depth, from_, b_q, to, *more])

            sweep(f, rows, down)

        def some(q: Value, _: list[Value]) -> None:
            depth = f.const(self.depth, "i64")
            block(q, f.op("smin", depth, f.sub(p.k, q)) if p.k % self.depth else depth)

        if p.k > self.depth:
            f.loop(0, p.k, self.depth, some)
        else:
            block(f.const(0, "i64"), f.const(p.k, "i64"))

    def _micro(self, height: int, size: int, pitch: int) -> Function:
        """Return the innermost loop for some rows and columns.

        Where rows take turns with a large matrix, each asks for the next block: only the first of
        them reads what is not near yet, and would wait for all of it.
        """
        if (height, size) not in self.kernels:
            p, width, dtype = self.p, self.shape.width, self.dtype
            vectors = ceil(size / width)
            spec = Micro(
                a=dtype, b=dtype, c=dtype, rows=tuple(i * p.a[0] for i in range(height)),
                a_step=p.a[1], b_step=size, vectors=vectors, width=width,
                last=size - (vectors - 1) * width, c_row=pitch, more=p.k > self.depth,
                ahead=self.depth if self.far else 0,
            )  # fmt: skip
            self.kernels[height, size] = micro_kernel(f"multiply{height}x{size}", spec)
        return self.kernels[height, size]
