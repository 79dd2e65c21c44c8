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

from tenor.compiler.lower.blocking import lanes_of, parted, register_tile, tiles_for, usual
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, sweep
from tenor.compiler.lower.packing import Layout, mover
from tenor.compiler.lower.panel import pack_panel
from tenor.compiler.lower.storage import compute_type, entry
from tenor.compiler.lower.window import Padded, Spread, flat, padded_copy, spread_out, unflat
from tenor.config import config
from tenor.ir import dtype as dt
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.compiler.lower.correlation import Correlation
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["Winograd", "suits"]

POINTS: Final = 16
"""Points of a transformed tile."""
CHANNELS: Final = 32
"""Channels from which on the products outweigh the transforms."""
DEPTH: Final = 96
"""Longest run of channels that goes through one accumulator: the transforms lose some bits."""
NEAR: Final = 768 * 1024
"""Bytes of the transformed tiles of a block, before and after the products."""
PART: Final = 128
"""Channels of the result done at a time."""
TILES: Final = 256
"""Tiles after which transforming the weight once more costs nothing."""


def suits(g: Correlation, dtype: DType) -> bool:
    """Tell whether a correlation with neighbouring 3x3 taps is done so: by its shape."""
    covered = prod(ceil(n / 2) * 2 for n in g.out)
    return (
        config.winograd
        and dtype is dt.float32
        and g.taps == (3, 3)
        and g.steps == g.shape.steps == (1, 1)
        and min(g.source, g.rows) >= CHANNELS
        and 2 * covered <= 3 * prod(g.out)
    )


class Winograd:
    """A correlation being written.

    Args:
        kernel, target: What it is, and for what.
        g: The same as a correlation; its taps must be neighbours.
        flipped: Whether the last tap meets the first place.
    """

    def __init__(self, kernel: Kernel, target: Target, g: Correlation, *, flipped: bool) -> None:
        self.kernel, self.g, self.flipped = kernel, g, flipped
        self.n, self.groups = kernel.params["n"], kernel.params["groups"]
        self.dtype = kernel.buffers[0].dtype
        self.kind = compute_type(self.dtype)
        self.width = lanes_of(self.dtype, target)
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
        most = parted(g.rows, 4 * self.width, PART, 1)
        rows = NEAR // (POINTS * size * (g.source + min(most, g.rows)) * self.across)
        self.down = ceil(high / ceil(high / max(1, min(high, rows))))
        self.count = self.down * self.across
        self.tile = register_tile(self.count, min(most, g.rows), self.width, target)
        self.oc = parted(g.rows, self.tile.columns, PART, 1)
        self.c_row = ceil(min(self.oc, g.rows) / self.tile.width) * self.tile.width
        self.panels = ceil(self.oc / self.tile.columns) * self.tile.columns
        self.parts = ceil(g.rows / self.oc)
        self.chunks = ceil(high / self.down)
        self.blocks = self.n * self.chunks
        each = ceil(tiles_for(often * products) / (self.groups * self.parts))
        blocks = often * self.chunks
        self.share = parted(blocks, 1, max(1, TILES // self.count), min(each, blocks))
        self.shares = ceil(self.blocks / self.share)
        self.tiles = self.groups * self.parts * self.shares
        self.cost = self.n * products * 8 // (self.width * 25) + self.tiles * 200
        extents = (self.down + 1, self.across + 1)
        self.shape = Padded(g.shape.image, (2, 2), (2, 2), extents, g.shape.low)
        # Rows of the transformed image that are a power of two apart would share cache lines' sets.
        lines = ceil(self.count / self.width)
        self.pitch = (lines + 1 - lines % 2) * self.width
        self.plane = g.source * self.pitch + self.width

    def write(self) -> Lowered:
        """Write the function."""
        g, size = self.g, self.dtype.itemsize
        f, (self.x, self.w, self.y), begin, end, scratch = entry(self.kernel)
        self.f = f
        places = 4 * self.count
        self.row = ceil(places / self.tile.width) * self.tile.width
        sizes = {
            "panel": g.k * self.tile.columns,
            "weights": POINTS * g.source * self.panels,
            "copy": g.source * self.shape.channel + 3 * self.width,
            "points": POINTS * self.plane,
            "products": POINTS * self.count * self.c_row,
            "sums": self.row * self.c_row,
            "turned": self.row * self.c_row + 2 * self.width,
        }
        self.at, used = {}, 0
        for name, count in sizes.items():
            self.at[name] = f.gep(scratch, used, "i8")
            used += ceil(count * size / 64) * 64
        windows = (2 * self.down, 2 * self.across)
        spread = Spread(windows, (windows[1], 1), self.row, g.out, (1, 1))
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        self.deliver = spread_out("deliver", spread, self.dtype, self.width)
        self.turn = mover("turn", Layout(self.dtype, self.c_row, 1),
                          Layout(self.dtype, 1, self.row), self.c_row, self.tile.width)  # fmt: skip
        self.forward, self.back = self._forward(), self._back()
        self.weigh: dict[int, Function] = {}
        f.loop(begin, end, 1, self._tile)
        return Lowered(f, self.tiles, used, self.cost)

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, g = self.f, self.g
        group, part, share = unflat(f, t, (self.groups, self.parts, self.shares))
        row = f.mul(part, self.oc)
        left: Value = f.const(min(self.oc, g.rows), "i64")
        if self.parts > 1 and g.rows % self.oc:
            left = f.op("smin", left, f.sub(f.const(g.rows, "i64"), row))
        columns = Extent(left, self.tile.columns, g.rows % self.tile.columns)
        weights = f.add(f.mul(group, g.k * g.rows), f.mul(row, g.row))

        def transform(j: Value, size: int) -> None:
            from_ = f.gep(self.w, f.add(weights, f.mul(j, g.row)), self.kind)
            pack_panel(f, g, self.dtype, self.tile, size, from_, self.at["panel"], None)
            vectors = ceil(size / self.tile.width)
            if vectors not in self.weigh:
                self.weigh[vectors] = self._weights(vectors)
            to = f.gep(self.at["weights"], f.mul(j, g.source), self.kind)
            f.call(self.weigh[vectors], [self.at["panel"], to])

        sweep(f, columns, transform)
        first = f.mul(share, self.share)
        last = f.op("smin", f.add(first, self.share), self.blocks)

        def block(b: Value, _: list[Value]) -> None:
            image, chunk = unflat(f, b, (self.n, self.chunks))
            which = f.add(f.mul(image, self.groups), group)
            begin = f.mul(chunk, self.down)
            source = f.gep(self.x, f.mul(which, g.source * prod(g.shape.image)), self.kind)
            f.call(self.copier, [source, self.at["copy"], begin, f.const(g.source, "i64")])
            f.call(self.forward, [self.at["copy"], self.at["points"]])
            self._products(columns)
            f.call(self.back, [self.at["products"], self.at["sums"]])
            f.call(self.turn, [self.at["sums"], self.at["turned"], f.const(self.row, "i64")])
            at = f.mul(f.add(f.mul(which, g.rows), row), prod(g.out))
            zero = f.const(0, "i64")
            f.call(self.deliver, [self.at["turned"], f.gep(self.y, at, self.kind), left,
                                  f.mul(begin, 2), zero, zero])  # fmt: skip

        f.loop(first, last, 1, block)

    # -- transforms ---------------------------------------------------------------------------
    def _weights(self, vectors: int) -> Function:
        """Return the function (panel, weights) that transforms the weight of one panel."""
        g, tile = self.g, self.tile
        f = Function(f"weigh{vectors}", [("from", "ptr"), ("to", "ptr")])
        from_, to = f.params
        kind = vector(self.kind, tile.width)
        half = f.const(0.5, kind)

        def along(v: Sequence[Value]) -> list[Value]:
            outer, inner = f.add(v[0], v[2]), v[1]
            return [v[0], f.mul(f.add(outer, inner), half), f.mul(f.sub(outer, inner), half), v[2]]

        def channel(c: Value, _: list[Value]) -> None:
            for at in range(0, vectors * tile.width, tile.width):
                taps = {}
                for tap, (r, s) in enumerate(product(range(3), repeat=2)):
                    here = f.add(f.mul(c, 9 * tile.columns), tap * tile.columns + at)
                    place = (2 - r, 2 - s) if self.flipped else (r, s)
                    taps[place] = f.load(kind, from_, here)
                for p, x in enumerate(_both(taps, 3, along)):
                    there = f.add(f.mul(c, tile.columns), p * g.source * self.panels + at)
                    f.store(x, to, there)

        f.loop(0, g.source, 1, channel)
        return f

    def _forward(self) -> Function:
        """Return the function (copy, points) that transforms the tiles of each channel."""
        g, shape = self.g, self.shape
        f = Function("forward", [("from", "ptr"), ("to", "ptr")])
        from_, to = f.params
        lanes = min(self.width, 1 << (self.across - 1).bit_length())
        kind = vector(self.kind, lanes)

        def along(v: Sequence[Value]) -> list[Value]:
            return [f.sub(v[0], v[2]), f.add(v[1], v[2]), f.sub(v[2], v[1]), f.sub(v[1], v[3])]

        def tiles(c: Value, i: Value, j: Value) -> None:
            start = f.add(f.add(f.mul(c, shape.channel), f.mul(i, shape.pitches[0])), j)
            met = {
                (r, s): f.load(kind, from_, f.add(
                    start,
                    (r % 2 * 2 + s % 2) * shape.plane + r // 2 * shape.pitches[0] + s // 2,
                ))
                for r, s in product(range(4), repeat=2)
            }  # fmt: skip
            at = f.add(f.add(f.mul(c, self.pitch), f.mul(i, self.across)), j)
            # Vectors are stored whole; the next row, or channel, overwrites what is too much.
            for p, x in enumerate(_both(met, 4, along)):
                f.store(x, to, f.add(at, p * self.plane))

        def rows(c: Value, _: list[Value]) -> None:
            f.loop(0, self.down, 1, lambda i, _: f.loop(
                0, self.across, lanes, lambda j, _: tiles(c, i, j)))  # fmt: skip

        f.loop(0, g.source, 1, rows)
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
                    (r, s): f.load(kind, from_, f.add(at, (4 * r + s) * self.count * self.c_row))
                    for r, s in product(range(4), repeat=2)
                }
                for p, x in enumerate(_both(points, 4, along)):
                    place = flat(f, [f.add(f.mul(i, 2), p // 2), f.add(f.mul(j, 2), p % 2)],
                                 (2 * self.down, 2 * self.across))  # fmt: skip
                    f.store(x, to, f.add(f.mul(place, self.c_row), o))

            f.loop(0, self.c_row, width, channels)

        f.loop(0, self.down, 1, lambda i, _: f.loop(0, self.across, 1, lambda j, _: tile(i, j)))
        return f

    # -- products -----------------------------------------------------------------------------
    def _products(self, columns: Extent) -> None:
        """Write the 16 products over the channels: blocks of k in order."""
        f, g, tile = self.f, self.g, self.tile
        along = Extent(f.const(self.count, "i64"), tile.rows, self.count % tile.rows)

        def block(q: Value, _: list[Value]) -> None:
            depth = f.op("smin", f.const(self.depth, "i64"), f.sub(f.const(g.source, "i64"), q))
            more = [q] if g.source > self.depth else []

            def point(p: Value, _: list[Value]) -> None:
                def tiles(t: Value, height: int) -> None:
                    a = f.add(f.add(f.mul(p, self.plane), f.mul(q, self.pitch)), t)
                    to = f.mul(f.add(f.mul(p, self.count), t), self.c_row)

                    def channels(j: Value, size: int) -> None:
                        b = f.add(f.add(f.mul(p, g.source * self.panels), f.mul(j, g.source)),
                                  f.mul(q, tile.columns))  # fmt: skip
                        points = f.gep(self.at["points"], a, self.kind)
                        weights = f.gep(self.at["weights"], b, self.kind)
                        c = f.gep(self.at["products"], f.add(to, j), self.kind)
                        f.call(self._micro(height, size), [depth, points, weights, c, *more])

                    sweep(f, columns, channels)

                sweep(f, along, tiles)

            f.loop(0, POINTS, 1, point)

        f.loop(0, g.source, self.depth, block)

    def _micro(self, height: int, size: int) -> Function:
        tile = self.tile
        vectors = ceil(size / tile.width)
        if (height, vectors) not in self.micros:
            spec = Micro(
                a=self.dtype, b=self.dtype, c=self.dtype, rows=tuple(range(height)),
                a_step=self.pitch, b_step=tile.columns, vectors=vectors, width=tile.width,
                last=tile.width, c_row=self.c_row, more=self.g.source > self.depth,
                padded_b=True, padded_c=True, align=tile.width * self.dtype.itemsize,
            )  # fmt: skip
            self.micros[height, vectors] = micro_kernel(f"multiply{height}x{vectors}", spec)
        return self.micros[height, vectors]


def _both(
    points: dict[tuple[int, int], Value], count: int,
    along: Callable[[Sequence[Value]], list[Value]],
) -> list[Value]:  # fmt: skip
    """Return a square of points with both dims transformed, row-major."""
    columns = [along([points[r, s] for r in range(count)]) for s in range(count)]
    return [x for row in zip(*columns, strict=True) for x in along(row)]
