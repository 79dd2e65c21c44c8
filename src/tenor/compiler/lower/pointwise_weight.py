"""The weight gradient of a convolution whose window is one place.

w[o, c] = sum over images and places p of g[n, o, p] x[n, c, p]. Places lie side by side in both
operands, so one is turned: the one of fewer channels, which then lie side by side in vectors. The
other's rows are read where they are. A block of k is some places, or some whole images, whose runs
follow each other in the accumulators.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import DEPTH, lanes_of, parted, register_tile, tiles_for
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, stretch, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.storage import Scratch, compute_type, entry, memory_type, plus
from tenor.compiler.lower.window import unflat
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["PointwiseWeight", "suits_pointwise"]

COLUMNS: Final = 256
"""Channels that are turned at a time."""
NEAR: Final = 192
"""Rows that every panel meets before the next ones."""
LEAST: Final = 32
"""Places of an image that are worth a run."""
ROWS: Final = 256
"""Channels of a tile of rows at the least, beyond the first two tiles."""


def suits_pointwise(kernel: Kernel, places: int) -> bool:
    """Tell whether runs of an image's places are long enough, and channels many enough."""
    p = kernel.params
    channels = min(p["channels_in"], p["channels_out"]) // p["groups"]
    return p["n"] > 0 and places >= LEAST and channels >= LEAST // 2


class PointwiseWeight:
    """A weight gradient being written.

    Args:
        kernel, target: What it is, and for what; its buffers are x, g and w.
        places: Of an image.
    """

    def __init__(self, kernel: Kernel, target: Target, places: int) -> None:
        p = kernel.params
        self.kernel, self.dtype = kernel, kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        self.n, self.groups, self.places = p["n"], p["groups"], places
        ci, co = p["channels_in"] // self.groups, p["channels_out"] // self.groups
        self.x_turned = ci <= co
        self.wide, self.high = (ci, co) if self.x_turned else (co, ci)
        # A block of k, by the shape alone.
        chunk = min(places, DEPTH)
        self.chunk = ceil(places / ceil(places / chunk))
        whole = self.chunk == places
        self.images = max(1, min(self.n, DEPTH // places)) if whole else 1
        self.more = self.n > self.images or not whole
        self._cut(target)
        self.micros: dict[tuple[int, int, int], Function] = {}

    def _cut(self, target: Target) -> None:
        """Cut the channels of both sides into tiles."""
        work = self.n * self.groups * self.wide * self.high * self.places
        wanted = ceil(tiles_for(work) / self.groups)
        most = min(self.wide, COLUMNS)
        self.tile = register_tile(self.high, most, self.width, target)
        self.columns = parted(self.wide, self.tile.columns, COLUMNS)
        self.across = ceil(self.wide / self.columns)
        # Every tile of rows turns the columns once more; one of columns would read the rows again.
        down = min(ceil(wanted / self.across), max(2, self.high // ROWS))
        self.rows = parted(self.high, self.tile.rows, self.high, down)
        self.down = ceil(self.high / self.rows)
        self.near = ceil(NEAR / self.tile.rows) * self.tile.rows
        self.tiles = self.groups * self.across * self.down
        self.cost = work * 8 // (self.width * 25) + self.tiles * 200

    # -- writing ------------------------------------------------------------------------------
    def write(self) -> Lowered:
        """Write the function."""
        size, tile = self.compute.itemsize, self.tile
        f, (x, g, self.w), begin, end, scratch = entry(self.kernel)
        self.f = f
        self.turned, self.plain = (x, g) if self.x_turned else (g, x)
        sizes = {
            "panels": self.images * self.chunk * self.columns,
            "sums": self.rows * self.columns,
            "more": tile.rows * tile.columns,
        }
        space = Scratch(f, scratch)
        self.at = {name: space.take(count * size) for name, count in sizes.items()}
        f.loop(begin, end, 1, self._tile)
        return Lowered(f, self.tiles, space.used, self.cost)

    def _tile(self, t: Value, _: list[Value]) -> None:
        f = self.f
        group, across, down = unflat(f, t, (self.groups, self.across, self.down))
        self.j = f.add(f.mul(group, self.wide), f.mul(across, self.columns))
        self.i = f.add(f.mul(group, self.high), f.mul(down, self.rows))
        self.along = stretch(
            f, f.mul(across, self.columns), self.wide, self.columns, self.tile.columns
        )
        self.upright = stretch(f, f.mul(down, self.rows), self.high, self.rows, self.tile.rows)

        def block(q: Value, _: list[Value]) -> None:
            count: Value = f.const(self.images, "i64")
            if self.n % self.images:
                count = f.op("smin", count, f.sub(f.const(self.n, "i64"), q))

            def run(r: Value, _: list[Value]) -> None:
                depth: Value = f.const(self.chunk, "i64")
                if self.places % self.chunk:
                    depth = f.op("smin", depth, f.sub(f.const(self.places, "i64"), r))
                self._block((q, count), (r, depth))

            f.loop(0, self.places, self.chunk, run)

        f.loop(0, self.n, self.images, block)
        self._deliver(across, down)

    def _block(self, images: tuple[Value, Value], run: tuple[Value, Value]) -> None:
        """Write the sums of one block of k, added to those before."""
        f, tile = self.f, self.tile
        (q, count), (r, depth) = images, run
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        first = f.compare("eq", f.add(q, r), 0)

        def source(side: Value, channels: int, image: Value, channel: Value) -> Value:
            at = f.add(f.mul(f.add(q, image), self.groups * channels), channel)
            return f.gep(side, f.add(f.mul(at, self.places), r), kind)

        def panel_at(j: Value) -> Value:
            return f.gep(self.at["panels"], f.mul(j, self.images * self.chunk), packed)

        def turn(j: Value, size: int) -> None:
            move = mover(f"turn{size}", Layout(self.dtype, 1, self.places),
                         Layout(self.compute, tile.columns, 1), size, tile.width,
                         padded=ceil(size / tile.width) * tile.width)  # fmt: skip

            def image(n: Value, _: list[Value]) -> None:
                from_ = source(self.turned, self.wide, n, f.add(self.j, j))
                to = f.gep(panel_at(j), f.mul(n, self.chunk * tile.columns), packed)
                f.call(move, [from_, to, depth])

            f.loop(0, count, 1, image)

        def piece(i: Value, height: int, j: Value, size: int) -> None:
            sums = f.gep(self.at["sums"], f.add(f.mul(i, self.columns), j), packed)
            vectors = ceil(size / tile.width)

            def images(c: Value, c_row: int) -> None:
                def image(n: Value, _: list[Value]) -> None:
                    a = source(self.plain, self.high, n, f.add(self.i, i))
                    b = f.gep(panel_at(j), f.mul(n, self.chunk * tile.columns), packed)
                    f.call(self._micro(height, vectors, c_row), [depth, a, b, c, n])

                f.loop(0, count, 1, image)

            def again() -> None:
                images(self.at["more"], tile.columns)
                f.call(self._add(height, vectors), [sums, self.at["more"]])

            if self.more:
                f.if_(first, lambda: images(sums, self.columns), again)
            else:
                images(sums, self.columns)

        def rows(start: Value, _: list[Value]) -> None:
            # These rows stay in the second-level cache while every panel meets them.
            left = f.op("smin", f.const(self.near, "i64"), f.sub(self.upright.count, start))
            near = Extent(left, tile.rows, self.upright.rest)

            def down(j: Value, size: int) -> None:
                sweep(f, near, lambda i, height: piece(f.add(start, i), height, j, size))

            sweep(f, self.along, down)

        sweep(f, self.along, turn)
        f.loop(0, self.upright.count, self.near, rows)

    def _micro(self, height: int, vectors: int, c_row: int) -> Function:
        tile, key = self.tile, (height, vectors, c_row)
        if key not in self.micros:
            spec = Micro(
                a=self.dtype, b=self.compute, c=self.compute,
                rows=tuple(i * self.places for i in range(height)), a_step=1, b_step=tile.columns,
                vectors=vectors, width=tile.width, last=tile.width, c_row=c_row,
                padded_b=True, padded_c=True, align=tile.width * self.compute.itemsize,
                resume=True,
            )  # fmt: skip
            self.micros[key] = micro_kernel(f"multiply{height}x{vectors}to{c_row}", spec)
        return self.micros[key]

    def _add(self, height: int, vectors: int) -> Function:
        """Return the function (sums, more) that adds a tile of another block's sums."""
        f = Function(f"add{height}x{vectors}", [("sums", "ptr"), ("more", "ptr")])
        sums, more = f.params
        kind = vector(compute_type(self.dtype), self.tile.width)
        for i in range(height):
            for j in range(0, vectors * self.tile.width, self.tile.width):
                old = f.load(kind, sums, i * self.columns + j)
                new = f.load(kind, more, i * self.tile.columns + j)
                f.store(plus(f, self.compute, old, new), sums, i * self.columns + j)
        return f

    def _deliver(self, across: Value, down: Value) -> None:
        """Write the sums of a tile to the weight: turned back where g was."""
        f, kind = self.f, memory_type(self.dtype)
        one, many = (1, self.wide) if self.x_turned else (self.high, 1)
        at = f.add(f.mul(f.mul(across, self.columns), one), f.mul(f.mul(down, self.rows), many))
        group = f.op("udiv", self.j, self.wide)
        at = f.add(at, f.mul(group, self.wide * self.high))

        def columns(j: Value, size: int) -> None:
            move = mover(f"deliver{size}", Layout(self.compute, self.columns, 1),
                         Layout(self.dtype, many, one), size, self.tile.width)  # fmt: skip
            to = f.gep(self.w, f.add(at, f.mul(j, one)), kind)
            from_ = f.gep(self.at["sums"], j, compute_type(self.dtype))
            f.call(move, [from_, to, self.upright.count])

        sweep(f, self.along, columns)
