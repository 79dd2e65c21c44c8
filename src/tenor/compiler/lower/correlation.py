"""Correlations: matrix products whose right side is windows of an image, never written down.

Column p of row (c, t) is found in a padded copy of the image, at an offset that depends on (c, t)
alone. The windows of a tile are one run of that copy; what falls between rows is computed and
thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import depth_of, lanes_of, parted, register_tile
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, sweep
from tenor.compiler.lower.storage import compute_type, entry, memory_type, store_element
from tenor.compiler.lower.window import Padded, flat, nested, padded_copy, unflat
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["Correlation", "correlate"]

COPY: Final = 192 * 1024
"""Bytes of the padded copy, and of the sums, that a tile should stay below."""
GRAIN: Final = 1_000_000
"""Multiply-adds a tile does at the least, where there is a choice."""
TILES: Final = 8
"""Tiles a large product has at least."""


@dataclass(frozen=True)
class Correlation:
    """A product that reads windows of an image.

    Attributes:
        shape: The padded copy of the image.
        source: Channels of the image that are summed over, of a group.
        rows: Channels of the result, of a group.
        taps: Extents of the window.
        out: Extents of the result.
        steps: The result's places of one residue are so far apart; each residue is written apart.
        row: Elements of the weight from one channel of the result to the next.
        column: Elements of the weight from one channel of the image to the next.
        taps_of: Whether a tap meets the places of a residue, and its offset in a channel; of the
            function, the padded copy, the residue and the tap.
    """

    shape: Padded
    source: int
    rows: int
    taps: tuple[int, ...]
    out: tuple[int, ...]
    steps: tuple[int, ...]
    row: int
    column: int
    taps_of: Callable[[Function, Padded, list[Value], list[Value]], tuple[Value, Value]]


def correlate(kernel: Kernel, target: Target, description: Correlation) -> Lowered:
    """Lower a product whose buffers are the image, the weight and the result."""
    return _Writer(kernel, target, description).write()


class _Writer:
    """A product being written."""

    def __init__(self, kernel: Kernel, target: Target, g: Correlation) -> None:
        self.kernel, self.target, self.g = kernel, target, g
        p = kernel.params
        self.n, self.groups = p["n"], p["groups"]
        self.dtype: DType = kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        self.k = g.source * prod(g.taps)
        self.phases = prod(g.steps)
        self.depth = depth_of(self.k)
        self.more = self.k > self.depth
        self.windows = [ceil(n / s) for n, s in zip(g.out, g.steps, strict=True)]
        self.work = self.n * self.groups * g.rows * prod(g.out) * self.k // self.phases
        self._cut()
        self.micros: dict[tuple[int, int], Function] = {}

    def _cut(self) -> None:
        """Cut the result into tiles: rows of windows, and channels."""
        g, size = self.g, self.compute.itemsize
        halo = g.shape.extents[0] - self.windows[0]
        full = self.windows[0]
        line = prod(g.shape.phases) * prod(g.shape.extents[1:])
        most_copy = COPY // max(1, g.source * line * size) - halo
        most_sums = COPY // max(1, g.rows * g.shape.pitches[0] * size)
        fits = max(1, min(full, most_copy, most_sums))
        if len(self.windows) == 1:
            fits = min(full, max(fits, 4 * self.width))
        images = max(1, self.n * self.groups)
        wanted = min(TILES, max(1, self.work // GRAIN))
        parts = max(ceil(full / fits), min(ceil(wanted / images), ceil(full / 4)))
        self.chunk = ceil(full / parts)
        self.chunks = ceil(full / self.chunk)
        self.windows[0] = self.chunk
        self.shape = replace(g.shape, extents=(self.chunk + halo, *g.shape.extents[1:]))
        self.columns = self.shape.run(self.windows)
        self.tile = register_tile(g.rows, self.columns, self.width, self.target)
        self.mc = parted(g.rows, self.tile.rows, g.rows,
                         ceil(wanted / (images * self.chunks)))  # fmt: skip
        self.parts = ceil(g.rows / self.mc)
        self.tiles = self.n * self.groups * self.chunks * self.parts
        self.c_row = ceil(self.columns / self.tile.columns) * self.tile.columns

    def write(self) -> Lowered:
        """Write the function."""
        g, kernel = self.g, self.kernel
        if 0 in (self.n, g.rows, prod(g.out)):
            return Lowered(entry(kernel)[0], 0)
        f, (x, w, y), begin, end, scratch = entry(kernel)
        self.f, self.x, self.w, self.y = f, x, w, y
        size = self.compute.itemsize
        sizes = {
            "offsets": 4 * self.k, "weights": 4 * self.k, "starts": 8 * (self.phases + 1),
            "copy": (g.source * self.shape.channel + self.c_row - self.columns + 2 * self.width)
            * size,
            "sums": self.mc * self.c_row * size,
        }  # fmt: skip
        self.at, used = {}, 0
        for name, count in sizes.items():
            self.at[name] = f.gep(scratch, used, "i8")
            used += ceil(count / 64) * 64
        tables = self._tables()
        f.if_(f.compare("slt", begin, end), lambda: f.call(
            tables, [self.at[n] for n in ("offsets", "weights", "starts")]))  # fmt: skip
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        f.loop(begin, end, 1, self._tile)
        cost = self.work * 8 // (self.width * 25) + self.tiles * 200
        return Lowered(f, self.tiles, used, cost)

    def _tables(self) -> Function:
        """Return the function that writes the offsets of every (channel, tap) of each residue."""
        g = self.g
        f = Function("tables", [("offsets", "ptr"), ("weights", "ptr"), ("starts", "ptr")])
        offsets, weights, starts = f.params

        def over(
            extents: Sequence[int], body: Callable[[list[Value], Value], Value],
            index: list[Value], at: Value,
        ) -> Value:  # fmt: skip
            if len(index) == len(extents):
                return body(index, at)
            n = extents[len(index)]
            return f.loop(0, n, 1, lambda i, c: [over(extents, body, [*index, i], c[0])], [at])[0]

        def phase(index: list[Value], at: Value) -> Value:
            f.store(at, starts, flat(f, index, g.steps))

            def tap(place: list[Value], at: Value) -> Value:
                channel, *inner = place
                good, offset = g.taps_of(f, self.shape, index, inner)

                def take() -> list[Value]:
                    offset_ = f.add(f.mul(channel, self.shape.channel), offset)
                    weight = f.add(f.mul(channel, g.column), flat(f, inner, g.taps))
                    f.store(f.convert("trunc_int", offset_, "i32"), offsets, at)
                    f.store(f.convert("trunc_int", weight, "i32"), weights, at)
                    return [f.add(at, 1)]

                return f.if_(good, take, lambda: [at])[0]

            return over((g.source, *g.taps), tap, [], at)

        total = over(g.steps, phase, [], f.const(0, "i64"))
        f.store(total, starts, self.phases)
        return f

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, g = self.f, self.g
        part, chunk, group, image = reversed(
            unflat(f, t, (self.n, self.groups, self.chunks, self.parts))
        )
        kind = memory_type(self.dtype)
        first = f.mul(chunk, self.chunk)
        row = f.mul(part, self.mc)
        which = f.add(f.mul(image, self.groups), group)
        source = f.gep(self.x, f.mul(which, g.source * prod(g.shape.image)), kind)
        f.call(self.copier, [source, self.at["copy"], first, f.const(g.source, "i64")])
        weights = f.gep(self.w, f.add(f.mul(group, self._group()), f.mul(row, g.row)), kind)
        at = f.mul(f.add(f.mul(which, g.rows), row), prod(g.out))
        out = f.gep(self.y, at, kind)
        left: Value = f.const(self.mc, "i64")
        if g.rows % self.mc:
            left = f.op("smin", left, f.sub(f.const(g.rows, "i64"), row))
        rows = Extent(left, self.tile.rows, g.rows % self.tile.rows)

        deliver = self._deliver()

        def phase(r: Value, _: list[Value]) -> None:
            start = f.load("i64", self.at["starts"], r)
            stop = f.load("i64", self.at["starts"], f.add(r, 1))
            self._sums(rows, weights, start, stop)
            residue = unflat(f, r, g.steps)
            f.call(deliver, [self.at["sums"], out, left, *residue, first])

        f.loop(0, self.phases, 1, phase)

    def _group(self) -> int:
        """Elements of a group's weights."""
        return self.g.source * self.g.rows * prod(self.g.taps)

    def _sums(self, rows: Extent, weights: Value, start: Value, stop: Value) -> None:
        """Write the sums of one residue: blocks of k in order."""
        f, g = self.f, self.g
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        columns = Extent(f.const(self.columns, "i64"), self.tile.columns,
                         self.columns % self.tile.columns)  # fmt: skip

        def block(q: Value, _: list[Value]) -> None:
            depth = f.op("smin", f.const(self.depth, "i64"), f.sub(stop, q))
            offsets, places = (f.gep(self.at[n], q, "i32") for n in ("offsets", "weights"))

            def down(i: Value, height: int) -> None:
                a = f.gep(weights, f.mul(i, g.row), kind)

                def right(j: Value, size: int) -> None:
                    b = f.gep(self.at["copy"], j, packed)
                    c = f.gep(self.at["sums"], f.add(f.mul(i, self.c_row), j), packed)
                    more = [f.sub(q, start)] if self.more else []
                    f.call(self._micro(height, size), [depth, a, b, c, places, offsets, *more])

                sweep(f, columns, right)

            sweep(f, rows, down)

        # A residue that meets no tap is zero: it has one block, of depth 0.
        f.loop(start, f.op("smax", stop, f.add(start, 1)), self.depth, block)

    def _micro(self, height: int, size: int) -> Function:
        if (height, size) not in self.micros:
            g = self.g
            vectors = ceil(size / self.tile.width)
            spec = Micro(
                a=self.dtype, b=self.compute, c=self.compute,
                rows=tuple(i * g.row for i in range(height)), a_step=None, b_step=None,
                vectors=vectors, width=self.tile.width, last=self.tile.width, c_row=self.c_row,
                more=self.more, padded_b=True, padded_c=True,
            )  # fmt: skip
            self.micros[height, size] = micro_kernel(f"multiply{height}x{vectors}", spec)
        return self.micros[height, size]

    def _deliver(self) -> Function:
        """Return the function that writes the sums of one residue to their places."""
        g = self.g
        rank = len(g.out)
        phases = [(f"r{d}", "i64") for d in range(rank)]
        params = [("sums", "ptr"), ("out", "ptr"), ("rows", "i64"), *phases, ("first", "i64")]
        f = Function("deliver", params)
        sums, out, rows, *phase, first = f.params

        def channel(o: Value, _: list[Value]) -> None:
            def line(index: list[Value]) -> None:
                place = [f.add(f.mul(h, s), r) for h, s, r in
                         zip(index, g.steps, phase, strict=False)]  # fmt: skip
                start = phase[-1]
                if rank > 1:
                    place[0] = f.add(place[0], f.mul(first, g.steps[0]))
                else:
                    start = f.add(start, f.mul(first, g.steps[0]))
                good: Value = f.const(1, "i1")
                for at, n in zip(place, g.out, strict=False):
                    good = f.op("and", good, f.compare("slt", at, n))

                def write() -> None:
                    at = f.mul(o, self.c_row)
                    for h, pitch in zip(index, self.shape.pitches, strict=False):
                        at = f.add(at, f.mul(h, pitch))
                    where = f.mul(flat(f, [o, *place], (1, *g.out[:-1])), g.out[-1])
                    from_ = f.gep(sums, at, compute_type(self.dtype))
                    to = f.gep(out, f.add(where, start), memory_type(self.dtype))
                    self._row(f, from_, to, start)

                f.if_(good, write)

            nested(f, self.windows[:-1], line)

        f.loop(0, rows, 1, channel)
        return f

    def _row(self, f: Function, from_: Value, to: Value, start: Value) -> None:
        """Write one row of sums; `start` is the first place of the row."""
        step, extent, kind = self.g.steps[-1], self.g.out[-1], compute_type(self.dtype)
        left = f.sub(f.const(extent + step - 1, "i64"), start)
        count = f.op("smin", f.op("sdiv", left, step), self.windows[-1])
        width = self.width if step == 1 and self.dtype is self.compute else 1

        def part(i: Value, _: list[Value]) -> None:
            x = f.load(vector(kind, width), from_, i)
            if width == 1:
                store_element(f, self.dtype, x, to, f.mul(i, step))
                return
            lane = f.add(f.splat(i, width), f.iota(vector("i64", width)))
            mask = f.compare("slt", lane, f.splat(count, width))
            store_element(f, self.dtype, x, to, i, mask=mask)

        f.loop(0, count, width, part)
