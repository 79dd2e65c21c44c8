"""The gradients of attention: for some rows of q at a time, with their scores kept in scratch.

The weights of a block of rows are computed again as the forward pass did. With p the weights, g the
cotangent and w = g v^T, a score's gradient is ds = scale p (w - sum p w); v gets p^T g, k gets
ds^T q and q gets ds k. What k and v get is added up block by block, so the number of rows of a
block shows in the bits; it follows from the number of keys alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.lower.attention import Heads, Matrix
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.microkernel import sweep
from tenor.ir.loops import vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.compiler.lower.microkernel import Extent
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Value
    from tenor.ir.target import Target

__all__ = ["attention_gradient"]


def attention_gradient(kernel: Kernel, target: Target) -> Lowered:
    """Lower the gradients of attention.

    Params: attention's. Buffers: q, k, v, g [N, T, H, E], a mask, and the result, 1-d: the gradient
    of q [N, T, H, D], of k [N, S, H, D] and of v [N, S, H, E]; one dtype.

    A tile is a head.
    """
    h = _Gradient(kernel, target)
    if h.count:
        h.f.loop(h.begin, h.end, 1, h.tile_of)
    return Lowered(h.f, h.count, h.space.used + 64, h.cost(5))


class _Gradient(Heads):
    """The heads of an attention's gradient being written."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        super().__init__(kernel, target)
        p = self.p
        self.turned_keys = self.room(self.padded(p["s"]) * p["d"])
        self.turned_values = self.room(self.padded(p["s"]) * p["e"])
        self.keys = self.room(self.padded(p["d"]) * p["s"])
        self.to_keys = self.room(self._row(p["d"]) * p["s"])
        self.to_values = self.room(self._row(p["e"]) * p["s"])
        self.scores = self.room(self.rows * self.pitch)
        self.changes = self.room(self.rows * self.pitch)

    def _row(self, features: int) -> int:
        """Return elements of a row of sums, whole vectors."""
        return -(-features // self.width) * self.width

    def tile_of(self, head: Value, _: list[Value]) -> None:
        """Write a head."""
        f, p = self.f, self.p
        t, s, d, e = p["t"], p["s"], p["d"], p["e"]
        self.begin_head(head)
        self.q, k, v = (self.operand(i, head) for i in range(3))
        self.g = self.cotangent(3, head)
        self.to_q = self.result(head, 0, t, d)
        self.packed(Matrix(k.at, 1, k.row), d, s, self.turned_keys)
        self.packed(Matrix(v.at, 1, v.row), e, s, self.turned_values)
        self.packed(k, s, d, self.keys)
        for to, features in ((self.to_keys, d), (self.to_values, e)):
            self._clear(to, s * self._row(features))
        blocks = -(-t // self.rows)
        self.over_blocks(f.const(0, "i64"), f.const(blocks, "i64"), self._block)
        every = p["batch"] * p["heads"]
        self._deliver(self.to_keys, d, self.result(head, every * t * d, s, d))
        self._deliver(self.to_values, e, self.result(head, every * (t + s) * d, s, e))

    def _clear(self, to: Value, count: int) -> None:
        f = self.f
        zero = f.const(0.0, vector(self.kind, self.width))
        f.loop(0, count, self.width, lambda i, _: f.store(zero, to, i))

    def _deliver(self, sums: Value, features: int, to: Matrix) -> None:
        """Copy sums of keys to where the result has them."""
        f, row = self.f, self._row(features)
        kind = vector(self.kind, self.width)

        def copy(i: Value, _: list[Value]) -> None:
            at = f.mul(i, to.row)
            for j in range(0, features, self.width):
                mask = first_lanes(f, min(self.width, features - j), self.width)
                f.store(f.load(kind, sums, f.add(f.mul(i, row), j)), to.at, f.add(at, j), mask=mask)

        f.loop(0, self.p["s"], 1, copy)

    def _block(self, first: Value, rows: int) -> None:
        """Write a block of rows of q."""
        f, p = self.f, self.p
        seen, tile = self.looked_at(first, rows), self.tile
        q, g, to_q = (
            Matrix(f.gep(m.at, f.mul(first, m.row), self.kind), m.row)
            for m in (self.q, self.g, self.to_q)
        )
        over, scores, changes = self.pieces(rows, tile.rows), self.scores, self.changes
        weights, to_scores = Matrix(scores, self.pitch), Matrix(changes, self.pitch)
        for a, b, c, depth in ((q, self.turned_keys, weights, p["d"]),
                               (g, self.turned_values, to_scores, p["e"])):  # fmt: skip
            self.multiply(over, (seen, tile), f.const(depth, "i64"), a, Matrix(b, tile.columns), c,
                          panels=depth, room=True)  # fmt: skip
        f.loop(0, rows, 1, lambda r, _: self._row_of(r, f.add(first, r), seen.count))
        self._add(seen, rows, weights, g, self.to_values, p["e"])
        self._add(seen, rows, to_scores, q, self.to_keys, p["d"])
        across = self.shape_of(p["d"])
        self.summed(self.pieces(rows, across.rows), (self.whole(p["d"], across.columns), across),
                    seen.count, to_scores, Matrix(self.keys, across.columns), to_q,
                    p["s"])  # fmt: skip

    def _row_of(self, r: Value, t: Value, end: Value) -> None:
        """Turn a row of scores into weights, and what weights get into what scores get."""
        f = self.f
        at = f.mul(r, self.pitch)
        row, change = (f.gep(x, at, self.kind) for x in (self.scores, self.changes))
        mask = self.mask_of(t)
        total, met = self.weights.exponentials(row, t, self.p["s"], end, mask, change)
        share = self.weights.share(total, mask)
        self.weights.finish(row, change, share, f.mul(met, share), end)

    def _add(self, seen: Extent, rows: int, a: Matrix, b: Matrix, to: Value, features: int) -> None:
        """Add the transpose of rows of weights times rows of features to the sums of keys."""
        f, tile, row = self.f, self.shape_of(features), self._row(features)
        columns = (self.whole(features, tile.columns), tile)

        def panel(j: Value, size: int) -> None:
            turned = Matrix(f.gep(a.at, j, self.kind), 1, a.row)
            sums = Matrix(f.gep(to, f.mul(j, row), self.kind), row)
            keys = self.pieces(size, tile.rows)
            self.multiply(keys, columns, f.const(rows, "i64"), turned, b, sums, add=True,
                          room=True)  # fmt: skip

        sweep(f, seen, panel)
