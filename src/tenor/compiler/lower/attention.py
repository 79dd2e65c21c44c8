"""Attention: softmax(scale q k^T) v for some rows of q at a time, their scores kept in scratch.

The scores of a block of rows with every key they look at are one product, each row becomes its
weights where it lies, and a second product takes the values. Nothing larger than a block of rows
is ever stored, and keys no row of a block looks at are left out.

What may show in the bits follows from the shape alone: a score is one chain of fused steps, the
sum over a row goes through a fixed number of accumulators, and a result sums blocks of keys in
order. How many rows a block has does not show in the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.lower.blocking import Shape, lanes_of, register_tile
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.storage import Scratch, entry, memory_type
from tenor.compiler.lower.weights import Weights
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free, known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["DEPTH", "Heads", "Matrix", "attention"]

DEPTH: Final = 512
"""Keys summed through one accumulator before the sum is added on."""
SCORES: Final = 128 * 1024
"""Scores of a block of rows, about."""
ROWS: Final = (16, 64)
"""Rows of a block at the least and at the most."""
TILES: Final = 8
"""Tiles there are at least, where there are rows enough."""


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory: where it begins, and elements from row to row and column to column."""

    at: Value
    row: int
    column: int = 1


class Heads:
    """The heads of an attention being written: what one needs, and the products in it.

    Attributes:
        f: The function.
        p: The kernel's params: batch, heads, t, s, d, e, strides and offsets of each operand,
            the mask's strides (0 where it is the same), causal, scale.
        mask: The mask of the head being written.
        rows: Rows of q in a block.
        pitch: Elements from one row of scores to the next.
    """

    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.f, self.buffers, self.begin, self.end, scratch = entry(kernel)
        self.space = Scratch(self.f, scratch)
        self.p: dict[str, Any] = kernel.params
        self.dtype: DType = kernel.buffers[0].dtype
        self.kind = memory_type(self.dtype)
        self.target, self.width = target, lanes_of(self.dtype, target)
        p, (least, most) = self.p, ROWS
        self.count = p["batch"] * p["heads"]
        self.rows = known(max(least, min(most, SCORES // p["s"] // least * least)))
        self.tile = register_tile(self.rows, p["s"], self.width, target)
        # Rows a power of two apart would share few sets of the cache.
        self.pitch = ceil(p["s"] / 64) * 64 + 16
        self.weights = Weights(self.f, self.dtype, p["scale"], causal=p["causal"])
        self.mask: Value | None = None
        self.kernels: dict[Any, Function] = {}

    # -- memory ---------------------------------------------------------------------------
    def room(self, count: int) -> Value:
        """Return scratch for so many elements."""
        return self.space.take(count * self.dtype.itemsize)

    def shape_of(self, columns: int) -> Shape:
        """Return the register tile of a product with so many columns."""
        return register_tile(self.rows, columns, self.width, self.target)

    def padded(self, columns: int) -> int:
        """Return elements of the packed rows of a matrix of so many columns."""
        tile = self.shape_of(columns)
        return ceil(columns / tile.columns) * tile.columns

    def operand(self, number: int, head: Value) -> Matrix:
        """Return the matrix of a head of an operand laid out [N, H, T, D]."""
        n, h, row, _ = self.p["strides"][number]
        return Matrix(self._base(number, head, n, h), row)

    def cotangent(self, number: int, head: Value) -> Matrix:
        """Return the matrix of a head of an operand laid out [N, T, H, E]."""
        n, row, h, _ = self.p["strides"][number]
        return Matrix(self._base(number, head, n, h), row)

    def _base(self, number: int, head: Value, n: int, h: int) -> Value:
        f, heads = self.f, self.p["heads"]
        at = f.add(f.mul(f.op("udiv", head, heads), n), f.mul(f.op("urem", head, heads), h))
        at = f.add(at, self.p["offsets"][number])
        return f.gep(self.buffers[number], at, self.kind)

    def mask_of(self, t: Value) -> Value | None:
        """Return row t of the head's mask, if there is one."""
        if self.mask is None:
            return None
        return self.f.gep(self.mask, self.f.mul(t, self.p["mask"][2]), self.kind)

    def begin_head(self, head: Value) -> None:
        """Find the head's mask."""
        if self.p["mask"] is not None:
            n, h, *_ = self.p["mask"]
            self.mask = self._base(len(self.p["strides"]) - 1, head, n, h)

    def result(self, head: Value, start: int, length: int, features: int) -> Matrix:
        """Return the matrix of a head of a result [N, length, H, features] at `start`."""
        f, heads = self.f, self.p["heads"]
        row = heads * features
        at = f.add(f.mul(f.op("udiv", head, heads), length * row),
                   f.mul(f.op("urem", head, heads), features))  # fmt: skip
        return Matrix(f.gep(self.buffers[-1], f.add(at, start), self.kind), row)

    # -- packing --------------------------------------------------------------------------
    def packed(self, m: Matrix, rows: int, columns: int, to: Value) -> None:
        """Pack a matrix into panels of columns; its rows are contiguous, or its columns."""
        f, tile = self.f, self.shape_of(columns)

        def panel(j: Value, size: int) -> None:
            padded = known(ceil(size / tile.width)) * tile.width
            name = f"pack{m.row}.{m.column}.{size}.{tile.columns}"
            move = mover(name, Layout(self.dtype, m.row, m.column),
                         Layout(self.dtype, tile.columns, 1), size, tile.width,
                         padded=padded)  # fmt: skip
            from_ = f.gep(m.at, f.mul(j, m.column), self.kind)
            f.call(move, [from_, f.gep(to, f.mul(j, rows), self.kind), f.const(rows, "i64")])

        sweep(f, self.whole(columns, tile.columns), panel)

    def whole(self, count: int, piece: int) -> Extent:
        """Return an extent of a known length."""
        return Extent(self.f.const(count, "i64"), piece, count % piece)

    def pieces(self, count: int, piece: int) -> Extent:
        """Return rows of a product, which may be taken in pieces of any size."""
        return replace(self.whole(count, piece), halving=free(count % piece))

    # -- products -------------------------------------------------------------------------
    def multiply(
        self, rows: Extent, columns: tuple[Extent, Shape], depth: Value, a: Matrix, b: Matrix,
        c: Matrix, *, panels: int = 0, add: bool = False, room: bool = False,
    ) -> None:  # fmt: skip
        """Write c (+)= a b.

        Args:
            rows: Rows of c, in pieces of the tile's rows.
            columns: Columns of c, in pieces of the tile's columns; and the tile.
            depth: Columns of a.
            a, b, c: The operands; b's rows, and c's, are contiguous.
            panels: The rows each panel of a packed b has; 0: b lies where it is.
            add: Whether c is added to.
            room: Whether c may be written up to its last column's vector's end.
        """
        f, (extent, tile) = self.f, columns

        def right(j: Value, size: int) -> None:
            at = f.mul(j, panels) if panels else j
            b_j = f.gep(b.at, at, self.kind)

            def down(i: Value, height: int) -> None:
                micro = self._micro(height, size, tile, a, b, c, panels > 0, add, room)
                more = [f.const(1, "i64")] if add else []
                c_ij = f.gep(c.at, f.add(f.mul(i, c.row), j), self.kind)
                f.call(micro, [depth, f.gep(a.at, f.mul(i, a.row), self.kind), b_j, c_ij, *more])

            sweep(f, rows, down)

        sweep(f, extent, right)

    def summed(
        self, rows: Extent, columns: tuple[Extent, Shape], depth: Value, a: Matrix, b: Matrix,
        c: Matrix, panels: int,
    ) -> None:  # fmt: skip
        """Write c = a b, blocks of the sums added in order."""
        f = self.f
        first = f.op("smin", depth, f.const(DEPTH, "i64"))
        self.multiply(rows, columns, first, a, b, c, panels=panels)
        if self.p["s"] <= DEPTH:
            return

        def block(q: Value, _: list[Value]) -> None:
            length = f.op("smin", f.sub(depth, q), f.const(DEPTH, "i64"))
            a_q = Matrix(f.gep(a.at, f.mul(q, a.column), self.kind), a.row, a.column)
            b_q = Matrix(f.gep(b.at, f.mul(q, b.row), self.kind), b.row)
            self.multiply(rows, columns, length, a_q, b_q, c, panels=panels, add=True)

        f.loop(DEPTH, depth, DEPTH, block)

    def _micro(
        self, height: int, size: int, tile: Shape, a: Matrix, b: Matrix, c: Matrix, packed: bool,
        add: bool, room: bool,
    ) -> Function:  # fmt: skip
        key = (height, size, tile, a.row, a.column, b.row, c.row, packed, add, room)
        if key not in self.kernels:
            vectors = known(ceil(size / tile.width))
            spec = Micro(
                a=self.dtype, b=self.dtype, c=self.dtype,
                rows=tuple(i * a.row for i in range(height)), a_step=a.column, b_step=b.row,
                vectors=vectors, width=tile.width, last=size - (vectors - 1) * tile.width,
                c_row=c.row, more=add, padded_b=packed, padded_c=room,
                align=tile.width * self.dtype.itemsize if packed else 0,
            )  # fmt: skip
            self.kernels[key] = micro_kernel(f"multiply{len(self.kernels)}", spec)
        return self.kernels[key]

    # -- blocks of rows -------------------------------------------------------------------
    def looked_at(self, first: Value, rows: int) -> Extent:
        """Return the keys that rows from `first` on look at, in whole panels or all."""
        f, s, piece = self.f, self.p["s"], self.tile.columns
        if not self.p["causal"] or s <= piece:
            return self.whole(s, piece)
        seen = f.add(f.mul(f.op("udiv", f.add(first, rows - 1), piece), piece), piece)
        return Extent(f.op("smin", seen, s), piece, s % piece)

    def over_blocks(self, low: Value, high: Value, body: Callable[[Value, int], None]) -> None:
        """Run `body(first row, rows)` for the blocks [low, high); the last one may be short."""
        f, t = self.f, self.p["t"]
        whole, rest = divmod(t, self.rows)

        def block(i: Value, _: list[Value]) -> None:
            body(f.mul(i, self.rows), self.rows)

        if whole:
            f.loop(low, f.op("smin", high, f.const(whole, "i64")), 1, block)
        if rest:
            last = f.compare("sgt", high, whole)
            f.if_(last, lambda: body(f.const(whole * self.rows, "i64"), rest))

    def cost(self, products: int) -> int:
        """Return rough nanoseconds of it all."""
        p = self.p
        work = self.count * p["t"] * p["s"] * (products * max(p["d"], p["e"]) + 32)
        each: int = 4 if p["causal"] else 8
        return work * each // (self.width * 25) + 1  # type: ignore[no-any-return]


def attention(kernel: Kernel, target: Target) -> Lowered:
    """Lower attention.

    Params: batch, heads, t, s, d, e; strides and offsets of q, k, v and the mask as [N, H, T, D];
    mask, its strides or None; causal; scale. Buffers: q, k, v, a mask, and the result
    [N, T, H, E]; one dtype.

    A tile is some blocks of rows of a head: it packs the head's keys and values first.
    """
    h = Heads(kernel, target)
    p, f = h.p, h.f
    blocks = ceil(p["t"] / h.rows)
    parts = min(blocks, ceil(TILES / max(1, h.count)))
    each = ceil(blocks / max(1, parts))
    parts = ceil(blocks / each) if each else 0
    if not h.count or not blocks:
        return Lowered(f, 0)
    keys = h.room(h.padded(p["s"]) * p["d"])
    values = h.room(h.padded(p["e"]) * p["s"])
    scores = h.room(h.rows * h.pitch)
    shares = h.room(h.rows)

    def tile(t: Value, _: list[Value]) -> None:
        part = f.op("urem", t, parts) if parts > 1 else f.const(0, "i64")
        head = f.op("udiv", t, parts)
        h.begin_head(head)
        q, k, v = (h.operand(i, head) for i in range(3))
        out = h.result(head, 0, p["t"], p["e"])
        low = f.mul(part, each)
        high = f.op("smin", f.add(low, each), blocks)
        h.packed(Matrix(k.at, 1, k.row), p["d"], p["s"], keys)
        h.packed(v, p["s"], p["e"], values)

        def block(first: Value, rows: int) -> None:
            _forward(h, first, rows, (q, out), (keys, values, scores, shares))

        h.over_blocks(low, high, block)

    f.loop(h.begin, h.end, 1, tile)
    return Lowered(f, h.count * parts, h.space.used + 64, h.cost(2))


def _forward(
    h: Heads, first: Value, rows: int, outer: tuple[Matrix, Matrix], inner: Sequence[Value]
) -> None:
    """Write a block of rows: scores, weights, results."""
    f, p = h.f, h.p
    (q, out), (keys, values, scores, shares) = outer, inner
    seen, tile, across = h.looked_at(first, rows), h.tile, h.shape_of(p["e"])
    q_at, to = (Matrix(f.gep(m.at, f.mul(first, m.row), h.kind), m.row) for m in (q, out))
    block = Matrix(scores, h.pitch)
    h.multiply(h.pieces(rows, tile.rows), (seen, tile), f.const(p["d"], "i64"), q_at,
               Matrix(keys, tile.columns), block, panels=p["d"], room=True)  # fmt: skip

    def row(r: Value, _: list[Value]) -> None:
        at = f.gep(scores, f.mul(r, h.pitch), h.kind)
        t = f.add(first, r)
        mask = h.mask_of(t)
        (total,) = h.weights.exponentials(at, t, p["s"], seen.count, mask)
        f.store(h.weights.share(total, mask), shares, r)

    f.loop(0, rows, 1, row)
    h.summed(h.pieces(rows, across.rows), (h.whole(p["e"], across.columns), across), seen.count,
             block, Matrix(values, across.columns), to, p["s"])  # fmt: skip
    f.loop(0, rows, 1, lambda r, _: _scale(h, f.gep(to.at, f.mul(r, to.row), h.kind),
                                           f.load(h.kind, shares, r)))  # fmt: skip


def _scale(h: Heads, row: Value, share: Value) -> None:
    """Multiply a row of results by a number."""
    f, width = h.f, h.width
    for j in range(0, h.p["e"], width):
        mask = first_lanes(f, min(width, h.p["e"] - j), width)
        x = f.load(vector(h.kind, width), row, j, mask=mask)
        f.store(f.mul(x, f.splat(share, width)), row, j, mask=mask)
