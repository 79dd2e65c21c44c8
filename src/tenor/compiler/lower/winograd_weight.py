"""The weight gradient of a convolution with 3x3 taps, by the transpose of Winograd's F(2x2, 3x3).

The result of a convolution is, tile by tile, A^T [(G w G^T) * (B^T x B)] A, so its derivative by w
is G^T [sum over tiles of (A g A^T) * (B^T x B)] G: tiles of x are transformed as they are for the
convolution, tiles of g by sums and differences, each of the 16 points is a matrix product over
all tiles of all images, and what comes out is transformed into taps, once.

A block of k is some rows of tiles of an image, or some whole images; blocks are added in order.
"""

from __future__ import annotations

from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.blocking import lanes_of, parted, register_tile, tiles_for
from tenor.compiler.lower.microkernel import Micro, micro_kernel, stretch, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.storage import Scratch, compute_type, entry
from tenor.compiler.lower.window import Padded, padded_copy, unflat
from tenor.compiler.lower.winograd_tiles import POINTS, both, pays, pitch_of, transform_tiles
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["WinogradWeight", "suits_weight"]

DEPTH: Final = 128
"""Tiles of a block of k, about."""
PART: Final = 128
"""Channels of either side done at a time."""
LEAST: Final = 64 * 64
"""Products of channels that are worth a tile of their own, beyond the first two."""


def suits_weight(kernel: Kernel) -> bool:
    """Tell whether a weight gradient is done so: by its shape."""
    p = kernel.params
    near = p["n"] > 0 and p["stride"] == p["dilation"] == (1, 1)
    ci, co = p["channels_in"] // p["groups"], p["channels_out"] // p["groups"]
    return near and pays(kernel.buffers[0].dtype, p["kernel"], ci, co, p["spatial_out"])


class WinogradWeight:
    """A weight gradient being written."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        p = kernel.params
        self.kernel, self.dtype = kernel, kernel.buffers[0].dtype
        self.kind = compute_type(self.dtype)
        self.width = lanes_of(self.dtype, target)
        self.n, self.groups = p["n"], p["groups"]
        self.ci, self.co = p["channels_in"] // self.groups, p["channels_out"] // self.groups
        self.image, self.out = p["spatial_in"], p["spatial_out"]
        self.low = tuple(before for before, _ in p["padding"])
        self._blocks()
        self._cut(target)
        self.micros: dict[tuple[int, int], Function] = {}

    def _blocks(self) -> None:
        """Choose a block of k, by the shape alone."""
        self.high, self.across = (ceil(n / 2) for n in self.out)
        down = min(self.high, max(1, DEPTH // self.across))
        self.down = ceil(self.high / ceil(self.high / down))
        whole = self.down == self.high
        self.each = self.down * self.across
        self.images = max(1, min(self.n, DEPTH // self.each)) if whole else 1
        self.count = self.images * self.each
        self.places = min(self.out[0], 2 * self.down) * self.out[1]

    def _cut(self, target: Target) -> None:
        """Cut the channels of both sides into tiles."""
        ci, co = self.ci, self.co
        work = self.n * self.groups * ci * co * POINTS * self.high * self.across
        wanted = min(tiles_for(work), max(2, ci * co // LEAST))
        self.tile = register_tile(min(ci, PART), min(co, PART), self.width, target)
        self.oc = parted(co, self.tile.columns, PART)
        self.wide_parts = ceil(co / self.oc)
        each = ceil(wanted / (self.groups * self.wide_parts))
        self.cc = parted(ci, self.tile.rows, PART, max(1, each))
        self.parts = ceil(ci / self.cc)
        self.tiles = self.groups * self.wide_parts * self.parts
        self.cost = work * 8 // (self.width * 25) + self.tiles * 200
        extents = (self.down + 1, self.across + 1)
        self.shape = Padded(self.image, (2, 2), (2, 2), extents, self.low)
        self.lanes = min(self.width, 1 << (self.across - 1).bit_length())
        self.pitch = pitch_of(self.count + -self.across % self.lanes, self.width)
        # A point's planes lie no power of two apart.
        self.plane = self.cc * self.pitch + self.width
        self.leaf = self.count * self.oc + self.width
        self.sheet = self.cc * self.oc + self.width

    # -- writing ------------------------------------------------------------------------------
    def write(self) -> Lowered:
        """Write the function."""
        size = self.dtype.itemsize
        f, (self.x, self.g, self.w), begin, end, scratch = entry(self.kernel)
        self.f = f
        sizes = {
            "copy": self.cc * self.shape.channel + 3 * self.width,
            "points": POINTS * self.plane,
            "packed": self.images * self.places * self.oc,
            "turned": POINTS * self.leaf,
            "sums": POINTS * self.sheet,
            "taps": 9 * self.cc * self.oc,
        }
        space = Scratch(f, scratch)
        self.at = {name: space.take(count * size) for name, count in sizes.items()}
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        self.forward = transform_tiles(self.kind, self.lanes, self.shape, (self.down, self.across),
                                       self.pitch, self.plane)  # fmt: skip
        self.turns: dict[int, Function] = {}
        f.loop(begin, end, 1, self._tile)
        return Lowered(f, self.tiles, space.used, self.cost)

    def _tile(self, t: Value, _: list[Value]) -> None:
        f = self.f
        group, across, part = unflat(f, t, (self.groups, self.wide_parts, self.parts))
        self.o = f.add(f.mul(group, self.co), f.mul(across, self.oc))
        self.c = f.add(f.mul(group, self.ci), f.mul(part, self.cc))
        self.wide = stretch(f, f.mul(across, self.oc), self.co, self.oc, self.tile.columns)
        self.rows = stretch(f, f.mul(part, self.cc), self.ci, self.cc, self.tile.rows)
        chunks = ceil(self.high / self.down)

        def block(q: Value, _: list[Value]) -> None:
            first = f.mul(q, self.images)
            images: Value = f.const(self.images, "i64")
            if self.n % self.images:
                images = f.op("smin", images, f.sub(f.const(self.n, "i64"), first))

            def lines(r: Value, _: list[Value]) -> None:
                top = f.mul(r, self.down)
                f.loop(0, images, 1, lambda i, _: self._fill(f.add(first, i), i, top))
                down: Value = f.const(self.down, "i64")
                if self.high % self.down:
                    down = f.op("smin", down, f.sub(f.const(self.high, "i64"), top))
                depth = f.mul(f.mul(images, down), self.across)
                self._products(depth, f.add(f.mul(q, chunks), r))

            f.loop(0, chunks, 1, lines)

        f.loop(0, ceil(self.n / self.images), 1, block)
        f.call(self._taps(), [self.at["sums"], self.at["taps"], self.rows.count])
        self._deliver(part)

    def _fill(self, image: Value, i: Value, top: Value) -> None:
        """Transform the tiles of some rows of an image, of x and of g."""
        f = self.f
        x = f.add(f.mul(image, self.groups * self.ci), self.c)
        source = f.gep(self.x, f.mul(x, prod(self.image)), self.kind)
        f.call(self.copier, [source, self.at["copy"], top, self.rows.count])
        to = f.gep(self.at["points"], f.mul(i, self.each), self.kind)
        f.call(self.forward, [self.at["copy"], to, self.rows.count])
        high, line = self.out
        first = f.mul(top, 2)
        rows: Value = f.const(min(high, 2 * self.down), "i64")
        if high % (2 * self.down):
            rows = f.op("smin", rows, f.sub(f.const(high, "i64"), first))
        depth = self.images * self.places

        def panel(j: Value, size: int) -> None:
            o = f.add(f.mul(image, self.groups * self.co), f.add(self.o, j))
            at = f.add(f.mul(o, high * line), f.mul(first, line))
            columns = self.tile.columns
            move = mover(f"pack{size}", Layout(self.dtype, 1, high * line),
                         Layout(self.dtype, columns, 1), size, self.tile.width,
                         padded=ceil(size / self.tile.width) * self.tile.width)  # fmt: skip
            packed = f.add(f.mul(j, depth), f.mul(i, self.places * columns))
            packed = f.gep(self.at["packed"], packed, self.kind)
            f.call(move, [f.gep(self.g, at, self.kind), packed, f.mul(rows, line)])
            vectors = ceil(size / self.tile.width)
            if vectors not in self.turns:
                self.turns[vectors] = self._turn(vectors)
            to = f.add(f.mul(j, self.count), f.mul(i, self.each * columns))
            f.call(self.turns[vectors], [packed, f.gep(self.at["turned"], to, self.kind), rows])

        sweep(f, self.wide, panel)

    def _turn(self, vectors: int) -> Function:
        """Return the function (g, points, rows) that transforms tiles of two by two of g."""
        f = Function(f"turn{vectors}", [("from", "ptr"), ("to", "ptr"), ("rows", "i64")])
        from_, to, rows = f.params
        tile, line = self.tile, self.out[1]
        kind = vector(self.kind, tile.width)

        def along(v: Sequence[Value]) -> list[Value]:
            if len(v) == 1:  # the other place is beyond the edge, and zero
                return [v[0], v[0], v[0], f.const(0, kind)]
            return [v[0], f.add(v[0], v[1]), f.sub(v[0], v[1]), f.unary("fneg", v[1])]

        def places(i: Value, j: Value, down: int, across: int) -> None:
            place = f.add(f.mul(i, 2 * line), f.mul(j, 2))
            number = f.add(f.mul(i, self.across), j)
            for v in range(0, vectors * tile.width, tile.width):
                met = [
                    [f.load(kind, from_, f.add(f.mul(f.add(place, r * line + s), tile.columns), v))
                     for r in range(down)]
                    for s in range(across)
                ]  # fmt: skip
                columns = [along(column) for column in met]
                points = [x for row in zip(*columns, strict=True) for x in along(row)]
                for p, x in enumerate(points):
                    there = f.add(f.mul(number, tile.columns), p * self.leaf + v)
                    f.store(x, to, there)

        def row(i: Value, down: int) -> None:
            f.loop(0, line // 2, 1, lambda j, _: places(i, j, down, 2))
            if line % 2:
                places(i, f.const(line // 2, "i64"), down, 1)

        f.loop(0, f.op("udiv", rows, 2), 1, lambda i, _: row(i, 2))
        if self.out[0] % 2:
            odd = f.compare("ne", f.op("urem", rows, 2), 0)
            f.if_(odd, lambda: row(f.op("udiv", rows, 2), 1))
        return f

    def _products(self, depth: Value, number: Value) -> None:
        """Write the 16 products of one block of k."""
        f, tile = self.f, self.tile

        def point(p: Value, _: list[Value]) -> None:
            def right(j: Value, size: int) -> None:
                at = f.add(f.mul(p, self.leaf), f.mul(j, self.count))
                b = f.gep(self.at["turned"], at, self.kind)

                def down(c: Value, height: int) -> None:
                    at = f.add(f.mul(p, self.plane), f.mul(c, self.pitch))
                    a = f.gep(self.at["points"], at, self.kind)
                    to = f.add(f.add(f.mul(p, self.sheet), f.mul(c, self.oc)), j)
                    micro = self._micro(height, ceil(size / tile.width))
                    f.call(micro, [depth, a, b, f.gep(self.at["sums"], to, self.kind), number])

                sweep(f, self.rows, down)

            sweep(f, self.wide, right)

        f.loop(0, POINTS, 1, point)

    def _micro(self, height: int, vectors: int) -> Function:
        tile = self.tile
        if (height, vectors) not in self.micros:
            spec = Micro(
                a=self.dtype, b=self.dtype, c=self.dtype,
                rows=tuple(i * self.pitch for i in range(height)), a_step=1, b_step=tile.columns,
                vectors=vectors, width=tile.width, last=tile.width, c_row=self.oc, more=True,
                padded_b=True, padded_c=True, align=tile.width * self.dtype.itemsize,
            )  # fmt: skip
            self.micros[height, vectors] = micro_kernel(f"multiply{height}x{vectors}", spec)
        return self.micros[height, vectors]

    def _taps(self) -> Function:
        """Return the function (sums, taps, channels) that transforms the points' sums into taps."""
        f = Function("taps", [("from", "ptr"), ("to", "ptr"), ("channels", "i64")])
        from_, to, channels = f.params
        width = self.tile.width
        kind = vector(self.kind, width)
        half = f.const(0.5, kind)

        def along(v: Sequence[Value]) -> list[Value]:
            inner = f.mul(f.add(v[1], v[2]), half)
            return [f.add(v[0], inner), f.mul(f.sub(v[1], v[2]), half), f.add(inner, v[3])]

        def channel(c: Value, _: list[Value]) -> None:
            def vectors(o: Value, _: list[Value]) -> None:
                at = f.add(f.mul(c, self.oc), o)
                points = {
                    (r, s): f.load(kind, from_, f.add(at, (4 * r + s) * self.sheet))
                    for r, s in product(range(4), repeat=2)
                }
                for t, x in enumerate(both(points, 4, along)):
                    f.store(x, to, f.add(f.mul(f.add(f.mul(c, 9), t), self.oc), o))

            f.loop(0, self.oc, width, vectors)

        f.loop(0, channels, 1, channel)
        return f

    def _deliver(self, part: Value) -> None:
        """Write the taps of a tile to the weight."""
        f = self.f

        def right(j: Value, size: int) -> None:
            move = mover(f"deliver{size}", Layout(self.dtype, self.oc, 1),
                         Layout(self.dtype, 1, self.ci * 9), size, self.tile.width)  # fmt: skip
            channel = f.add(f.mul(f.add(self.o, j), self.ci), f.mul(part, self.cc))
            to = f.gep(self.w, f.mul(channel, 9), self.kind)
            from_ = f.gep(self.at["taps"], j, self.kind)
            f.call(move, [from_, to, f.mul(self.rows.count, 9)])

        sweep(f, self.wide, right)
