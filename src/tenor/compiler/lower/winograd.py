"""Convolution with 3x3 taps by Winograd's F(2x2, 3x3): 16 products instead of 36 for four places.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016. A tile is four by
four places of the image, two apart. It is transformed by sums and differences, the weight by sums
and halves; then each of the 16 transformed points is a matrix product over the channels, in the
order of any other product; and what comes out is transformed into two by two places.

Every element is the same sum in the same order whatever is computed beside it, of what its own
window meets and of nothing else. Rounding errors are those of sums nine times shorter, and of the
transforms: where the values of a window are alike, together no more than a direct sum's. But they
go with the largest value of the window, under a weight of zero as well; and where a direct sum is
an infinity, or near the largest float, it may be NaN.
"""

from __future__ import annotations

from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.after import after_of
from tenor.compiler.lower.blocking import (
    halved,
    lanes_of,
    parted,
    register_tile,
    shared,
    tiles_for,
    usual,
)
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.panel import each_panel, pack_panel
from tenor.compiler.lower.storage import Scratch, compute_type, entry, repeat
from tenor.compiler.lower.window import Padded, Spread, flat, padded_copy, spread_out, unflat
from tenor.compiler.lower.winograd_tiles import POINTS, both, pays, pitch_of, transform_tiles
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.compiler.lower.correlation import Correlation
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["Winograd", "suits"]

DEPTH: Final = 96
"""Longest run of channels that goes through one accumulator: the transforms lose some bits."""
NEAR: Final = 768 * 1024
"""Bytes of the transformed tiles of a block, before and after the products."""
PART: Final = 128
"""Channels of the result done at a time."""
CHANNELS_EACH: Final = 64
"""Channels that are worth transforming the image for once more, with full vectors."""
TILES: Final = 256
"""Tiles after which transforming the weight once more costs nothing."""


def suits(g: Correlation, dtype: DType) -> bool:
    """Tell whether a correlation with neighbouring taps is done so: by its shape."""
    near = g.steps == g.shape.steps == (1, 1)
    return near and pays(dtype, g.taps, g.source, g.rows, g.out)


class Winograd:
    """A correlation being written.

    Args:
        kernel, target: What it is, and for what.
        g: The same as a correlation; its taps must be neighbours.
        flipped: Whether the last tap meets the first place.
    """

    def __init__(self, kernel: Kernel, target: Target, g: Correlation, *, flipped: bool) -> None:
        self.kernel, self.g, self.flipped = kernel, g, flipped
        self.n: int = kernel.params["n"]
        self.groups: int = kernel.params["groups"]
        self.weigh: dict[int, Function] = {}
        self.dtype = kernel.buffers[0].dtype
        self.kind = compute_type(self.dtype)
        self.width = lanes_of(self.dtype, target)
        self.ready = "prepared" in kernel.params
        self.after = after_of(kernel, target)
        pieces = ceil(g.source / DEPTH)
        self.depth = ceil(ceil(g.source / pieces) / 16) * 16
        self.micros: dict[tuple[int, int], Function] = {}
        self._cut(target)

    def _cut(self, target: Target) -> None:
        """Cut images into blocks of rows of tiles, and these and the channels among threads."""
        g, size = self.g, self.dtype.itemsize
        high, self.across = (ceil(n / 2) for n in g.out)
        often = usual(self.n)
        products = self.groups * g.rows * g.source * POINTS * high * self.across
        most = min(parted(g.rows, 4 * self.width, PART, 1), g.rows)
        # Weights that are far away are read again for every block: there it holds as much as they.
        near = max(NEAR, POINTS * size * g.source * most)
        rows = near // (POINTS * size * (g.source + most) * self.across)
        self.down = halved(high, ceil(high / max(1, min(high, rows))))
        self.images = max(1, min(often, rows // high))
        self.images = ceil(often / ceil(often / self.images))
        self.count = self.images * self.down * self.across
        self.lanes = min(self.width, 1 << (self.across - 1).bit_length())
        self.tile = register_tile(self.count, most, self.width, target)
        self.oc = shared(g.rows, self.tile.columns, self.tile.width, PART)
        self.span = self.oc if self.oc % self.tile.columns else g.rows
        self.c_row = ceil(min(self.oc, g.rows) / self.tile.width) * self.tile.width
        self.panels = ceil(self.oc / self.tile.columns) * self.tile.columns
        self.parts = ceil(g.rows / self.oc)
        self.chunks = ceil(high / self.down)
        self.blocks = ceil(self.n / self.images) * self.chunks
        self._share(often * products, ceil(often / self.images) * self.chunks)
        self.tiles = self.groups * self.runs * self.shares
        self.cost = self.n * products * 8 // (self.width * 25) + self.tiles * 200
        extents = (self.down + 1, self.across + 1)
        self.shape = Padded(g.shape.image, (2, 2), (2, 2), extents, g.shape.low)
        spill = -self.across % self.lanes if self.images > 1 else 0
        self.pitch = pitch_of(self.count + spill, self.width)
        self.plane = g.source * self.pitch + self.width
        self.every = ceil(g.rows / self.tile.width) * self.tile.width
        self.leaf = g.source * (self.every if self.ready else self.panels) + self.width
        self.sheet = self.count * self.c_row + self.width
        # Prepared weights stream from far away: while some channels meet all tiles, as many of
        # the next are asked for.
        self.ahead = ceil(self.tile.columns / ceil(self.count / self.tile.rows))

    def _share(self, products: int, blocks: int) -> None:
        """Share the blocks, as many as there usually are, and the parts of the channels."""
        each = ceil(tiles_for(products) / self.groups)
        self.run, most = 1, max(1, TILES // self.count)
        if self.ready:
            # Whoever does some of the channels transforms the image for them.
            self.share = 1
            least = ceil(CHANNELS_EACH * self.width / (self.lanes * self.oc))
            runs = min(ceil(each / blocks), max(1, self.parts // least))
            self.run = ceil(self.parts / runs)
        else:
            each = ceil(each / self.parts)
            self.share = parted(blocks, 1, most, min(each, blocks))
        self.runs = ceil(self.parts / self.run)
        self.shares = ceil(self.blocks / self.share)

    @property
    def packed(self) -> int:
        """Elements of the prepared weight."""
        return self.groups * POINTS * self.leaf

    def prepare(self, kernel: Kernel) -> Lowered:
        """Write the function that prepares the weight: a tile is a panel of a group."""
        g, columns = self.g, self.tile.columns
        f, (w, packed), begin, end, scratch = entry(kernel)
        self.f = f
        spans, panels = g.rows // self.span, ceil(self.span / columns)

        def tile(t: Value, _: list[Value]) -> None:
            group, span, panel = unflat(f, t, (self.groups, spans, panels))
            j = f.add(f.mul(span, self.span), f.mul(panel, columns))
            from_ = f.gep(w, f.add(f.mul(group, g.rows * g.k), f.mul(j, g.row)),
                          self.kind)  # fmt: skip
            to = f.add(f.mul(group, POINTS * self.leaf), f.mul(j, g.source))
            to = f.gep(packed, to, self.kind)
            each_panel(
                f, self.span, columns, panel, lambda size: self._weigh(from_, to, scratch, size)
            )

        f.loop(begin, end, 1, tile)
        used = g.k * columns * self.dtype.itemsize
        return Lowered(f, self.groups * spans * panels, used, 2 * self.packed // self.width)

    def _weigh(self, from_: Value, to: Value, panel: Value, size: int) -> None:
        """Transform the weight of one panel."""
        f, tile = self.f, self.tile
        pack_panel(f, self.g, self.dtype, tile, size, from_, panel, None)
        vectors = ceil(size / tile.width)
        if vectors not in self.weigh:
            self.weigh[vectors] = self._weights(vectors)
        f.call(self.weigh[vectors], [panel, to])

    def write(self) -> Lowered:
        """Write the function."""
        g, size = self.g, self.dtype.itemsize
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.x, self.w, self.y = self.buffers[:3]
        self.f = f
        places = 4 * self.count
        self.row = ceil(places / self.tile.width) * self.tile.width
        sizes = {
            "panel": 0 if self.ready else g.k * self.tile.columns,
            "weights": 0 if self.ready else POINTS * self.leaf,
            "copy": g.source * self.shape.channel + 3 * self.width,
            "points": POINTS * self.plane,
            "products": POINTS * self.sheet,
            "sums": self.row * self.c_row,
            "turned": self.row * self.c_row + 2 * self.width,
        }
        space = Scratch(f, scratch)
        self.at = {name: space.take(count * size) for name, count in sizes.items()}
        windows = (2 * self.down, 2 * self.across)
        spread = Spread(windows, (windows[1], 1), self.row, g.out, (1, 1))
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        self.deliver = spread_out("deliver", spread, self.dtype, self.width)
        self.turn = mover("turn", Layout(self.dtype, self.c_row, 1),
                          Layout(self.dtype, 1, self.row), self.c_row, self.tile.width)  # fmt: skip
        self.forward = transform_tiles(self.kind, self.lanes, self.shape, (self.down, self.across),
                                       self.pitch, self.plane)  # fmt: skip
        self.back = self._back()
        f.loop(begin, end, 1, self._tile)
        return Lowered(f, self.tiles, space.used, self.cost)

    def _tile(self, t: Value, _: list[Value]) -> None:
        f = self.f
        group, run, share = unflat(f, t, (self.groups, self.runs, self.shares))
        first = f.mul(share, self.share)
        last = f.op("smin", f.add(first, self.share), self.blocks)
        part = f.mul(run, self.run)
        if not self.ready:
            self._transform(group, part)

        def block(b: Value, _: list[Value]) -> None:
            batch, chunk = unflat(f, b, (ceil(self.n / self.images), self.chunks))
            first = f.mul(batch, self.images)
            count: Value = f.const(self.images, "i64")
            if self.n % self.images:
                count = f.op("smin", count, f.sub(f.const(self.n, "i64"), first))
            begin = f.mul(chunk, self.down)
            repeat(f, f.const(0, "i64"), count, 1, lambda i: self._take(
                i, self._which(group, f.add(first, i)), begin))  # fmt: skip

            def channels(q: Value, _: list[Value]) -> None:
                self._channels(group, q, first, count, begin)

            end = f.op("smin", f.add(part, self.run), self.parts)
            f.loop(part, end, 1, channels)

        f.loop(first, last, 1, block)

    def _which(self, group: Value, image: Value) -> Value:
        return self.f.add(self.f.mul(image, self.groups), group)

    def _columns(self, part: Value) -> tuple[Value, Extent]:
        """Return the first channel of a part, and how many there are."""
        f, g = self.f, self.g
        row = f.mul(part, self.oc)
        left: Value = f.const(min(self.oc, g.rows), "i64")
        if self.parts > 1 and g.rows % self.oc:
            left = f.op("smin", left, f.sub(f.const(g.rows, "i64"), row))
        return row, Extent(left, self.tile.columns, self.span % self.tile.columns)

    def _transform(self, group: Value, part: Value) -> None:
        """Transform the weight of a part."""
        f, g = self.f, self.g
        row, columns = self._columns(part)
        weights = f.add(f.mul(group, g.k * g.rows), f.mul(row, g.row))

        def panel(j: Value, size: int) -> None:
            from_ = f.gep(self.w, f.add(weights, f.mul(j, g.row)), self.kind)
            to = f.gep(self.at["weights"], f.mul(j, g.source), self.kind)
            self._weigh(from_, to, self.at["panel"], size)

        sweep(f, columns, panel)

    def _take(self, i: Value, which: Value, begin: Value) -> None:
        """Transform the tiles of an image."""
        f, g = self.f, self.g
        every = f.const(g.source, "i64")
        source = f.gep(self.x, f.mul(which, g.source * prod(g.shape.image)), self.kind)
        f.call(self.copier, [source, self.at["copy"], begin, every])
        to = f.gep(self.at["points"], f.mul(i, self.down * self.across), self.kind)
        f.call(self.forward, [self.at["copy"], to, every])

    def _channels(
        self, group: Value, part: Value, first: Value, count: Value, begin: Value
    ) -> None:
        """Write a part of the channels of a block's images."""
        f, g = self.f, self.g
        row, columns = self._columns(part)
        weights = self.at["weights"]
        if self.ready:
            at = f.add(f.mul(group, POINTS * self.leaf), f.mul(row, g.source))
            weights = f.gep(self.w, at, self.kind)
        self._products(columns, weights)
        f.call(self.back, [self.at["products"], self.at["sums"]])
        f.call(self.turn, [self.at["sums"], self.at["turned"], f.const(self.row, "i64")])
        zero, tiles = f.const(0, "i64"), self.down * self.across

        def give(i: Value) -> None:
            which = self._which(group, f.add(first, i))
            at = f.mul(f.add(f.mul(which, g.rows), row), prod(g.out))
            from_ = f.gep(self.at["turned"], f.mul(i, 4 * tiles), self.kind)
            f.call(self.deliver, [from_, f.gep(self.y, at, self.kind), columns.count,
                                  f.mul(begin, 2), zero, zero])  # fmt: skip
            if self.after is not None:
                where = (f.add(first, i), f.add(f.mul(group, g.rows), row), columns.count)
                line, high = g.out[1], f.add(f.mul(begin, 2), 2 * self.down)
                run = (f.mul(begin, 2 * line), f.mul(f.op("smin", high, g.out[0]), line))
                self.after.call(f, self.buffers, where, run)

        repeat(f, zero, count, 1, give)

    # -- transforms ---------------------------------------------------------------------------
    def _weights(self, vectors: int) -> Function:
        """Return the function (panel, weights) that transforms the weight of one panel."""
        g, tile, columns = self.g, self.tile, vectors * self.tile.width
        f = Function(f"weigh{vectors}", [("from", "ptr"), ("to", "ptr")])
        from_, to = f.params
        kind = vector(self.kind, tile.width)
        half = f.const(0.5, kind)

        def along(v: Sequence[Value]) -> list[Value]:
            outer, inner = f.add(v[0], v[2]), v[1]
            return [v[0], f.mul(f.add(outer, inner), half), f.mul(f.sub(outer, inner), half), v[2]]

        def channel(c: Value, _: list[Value]) -> None:
            for at in range(0, columns, tile.width):
                taps = {}
                for tap, (r, s) in enumerate(product(range(3), repeat=2)):
                    here = f.add(f.mul(c, 9 * columns), tap * columns + at)
                    place = (2 - r, 2 - s) if self.flipped else (r, s)
                    taps[place] = f.load(kind, from_, here)
                for p, x in enumerate(both(taps, 3, along)):
                    there = f.add(f.mul(c, columns), p * self.leaf + at)
                    f.store(x, to, there)

        f.loop(0, g.source, 1, channel)
        return f

    def _back(self) -> Function:
        """Return the function (products, sums) that transforms products into places."""
        f = Function("back", [("from", "ptr"), ("to", "ptr")])
        from_, to = f.params
        width = self.tile.width
        kind = vector(self.kind, width)

        def along(v: Sequence[Value]) -> list[Value]:
            return [f.add(f.add(v[0], v[1]), v[2]), f.sub(f.sub(v[1], v[2]), v[3])]

        def tile(i: Value, j: Value) -> None:
            number = f.add(f.mul(i, self.across), j)

            def channels(o: Value, _: list[Value]) -> None:
                at = f.add(f.mul(number, self.c_row), o)
                points = {
                    (r, s): f.load(kind, from_, f.add(at, (4 * r + s) * self.sheet))
                    for r, s in product(range(4), repeat=2)
                }
                for p, x in enumerate(both(points, 4, along)):
                    place = flat(f, [f.add(f.mul(i, 2), p // 2), f.add(f.mul(j, 2), p % 2)],
                                 (2 * self.images * self.down, 2 * self.across))  # fmt: skip
                    f.store(x, to, f.add(f.mul(place, self.c_row), o))

            f.loop(0, self.c_row, width, channels)

        rows = self.images * self.down
        f.loop(0, rows, 1, lambda i, _: f.loop(0, self.across, 1, lambda j, _: tile(i, j)))
        return f

    # -- products -----------------------------------------------------------------------------
    def _products(self, columns: Extent, leaves: Value) -> None:
        """Write the 16 products over the channels: blocks of k in order."""
        f, g, tile = self.f, self.g, self.tile
        along = Extent(f.const(self.count, "i64"), tile.rows, self.count % tile.rows)

        def point(p: Value, _: list[Value]) -> None:
            def channels(j: Value, size: int) -> None:
                lanes = ceil(size / tile.width) * tile.width
                panel = f.add(f.mul(p, self.leaf), f.mul(j, g.source))

                def block(q: Value, _: list[Value]) -> None:
                    left = f.sub(f.const(g.source, "i64"), q)
                    depth = f.op("smin", f.const(self.depth, "i64"), left)
                    more = [q] if g.source > self.depth else []
                    weights = f.gep(leaves, f.add(panel, f.mul(q, lanes)), self.kind)

                    def tiles(t: Value, height: int) -> None:
                        a = f.add(f.add(f.mul(p, self.plane), f.mul(q, self.pitch)), t)
                        points = f.gep(self.at["points"], a, self.kind)
                        to = f.add(f.add(f.mul(p, self.sheet), f.mul(t, self.c_row)), j)
                        c = f.gep(self.at["products"], to, self.kind)
                        following = []
                        if self.ready:
                            call = f.op("udiv", t, tile.rows)
                            asked = f.add(f.mul(call, self.ahead), lanes)
                            following = [f.gep(weights, f.mul(depth, asked), self.kind)]
                        f.call(self._micro(height, size),
                               [depth, points, weights, c, *more, *following])  # fmt: skip

                    sweep(f, along, tiles)

                f.loop(0, g.source, self.depth, block)

            sweep(f, columns, channels)

        f.loop(0, POINTS, 1, point)

    def _micro(self, height: int, size: int) -> Function:
        tile = self.tile
        vectors = ceil(size / tile.width)
        if (height, vectors) not in self.micros:
            spec = Micro(
                a=self.dtype, b=self.dtype, c=self.dtype, rows=tuple(range(height)),
                a_step=self.pitch, b_step=vectors * tile.width, vectors=vectors, width=tile.width,
                last=tile.width, c_row=self.c_row, more=self.g.source > self.depth,
                padded_b=True, padded_c=True, align=tile.width * self.dtype.itemsize,
                following=self.ahead if self.ready else 0,
            )  # fmt: skip
            self.micros[height, vectors] = micro_kernel(f"multiply{height}x{vectors}", spec)
        return self.micros[height, vectors]
