"""Correlations with channels of the result side by side in vectors: for results of many channels.

The weight is packed into panels of channels once for all images of a tile. A micro-kernel takes
some neighbouring windows as its rows: where their taps lie in the padded copy differs by one.
What comes out is [window, channel], and is turned before it is written.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.after import after_of
from tenor.compiler.lower.blocking import (
    cycles_of,
    depth_of,
    lanes_of,
    parted,
    register_tile,
    tiles_for,
    usual,
)
from tenor.compiler.lower.correlation import taps_met
from tenor.compiler.lower.microkernel import Extent, Micro, met_kernel, sweep
from tenor.compiler.lower.packing import Layout, lanes_out, mover
from tenor.compiler.lower.panel import each_panel, pack_panel
from tenor.compiler.lower.storage import compute_type, entry, memory_type, plus
from tenor.compiler.lower.ways import ways_of
from tenor.compiler.lower.window import Spread, flat, nested, padded_copy, spread_out, unflat
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.compiler.lower.correlation import Correlation
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["ChannelVectors"]

PANELS: Final = 256 * 1024
"""Bytes of one block of k of the packed weight."""
LEAST: Final = 64
"""Channels a tile has at the least, where there is a choice."""
READY: Final = 512
"""Channels that go together where a prepared weight of one tap is read for each block."""
COPY: Final = 384 * 1024
"""Bytes of the padded copy, and of the sums, that a block should stay below."""
PLACES: Final = 1024
"""Windows after which packing the weight once more costs nothing."""
AHEAD: Final = 32
"""Steps of k the weight is asked for ahead of its use: it streams from far away."""
RUN: Final = 128
"""Steps of k after which other windows meet the same part of a panel."""
PACKING: Final = 0.6
"""Cycles to pack one element of the weight."""


class ChannelVectors:
    """A product being written.

    Attributes:
        cycles: What it takes, for each step of k.
    """

    def __init__(self, kernel: Kernel, target: Target, g: Correlation) -> None:
        self.kernel, self.g = kernel, g
        self.n: int = kernel.params["n"]
        self.groups: int = kernel.params["groups"]
        self.ready = "prepared" in kernel.params
        self.after = after_of(kernel, target)
        self.dtype = kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        self.depth = depth_of(g.k)
        self.phases = prod(g.steps)
        self.taps = prod(g.taps)
        self.target = target
        self.tile = register_tile(g.windows[-1], g.rows, self.width, target)
        # As wide as the widest machine's that may be met: others write it in parts.
        ratio = max(way.vector_bits for way in ways_of(target)) // target.vector_bits
        if self.tile.width == self.width and g.rows >= self.tile.columns * ratio:
            self.tile = replace(self.tile, vectors=self.tile.vectors * ratio)
        self.micros: dict[tuple[int, int], Function] = {}
        self._cut()

    def _cut(self) -> None:
        """Cut channels of the result, and images, into tiles."""
        g, tile, size = self.g, self.tile, self.compute.itemsize
        often = usual(self.n)
        work = self.groups * g.rows * prod(g.out) * g.k
        self.work = self.n * work // self.phases
        most = READY if self.ready and self.taps == 1 else PANELS // (self.depth * size)
        # Of few images it is the larger operand that is cut: nobody reads the whole of it twice.
        wanted = ceil(tiles_for(often * work // self.phases) / (self.groups * often))
        across = min(wanted, g.rows // LEAST) if g.rows > prod(g.windows) else 1
        self.oc = parted(g.rows, tile.columns, most, max(1, across))
        self.parts = ceil(g.rows / self.oc)
        self.c_row = ceil(min(self.oc, g.rows) / tile.width) * tile.width
        full, *inner = g.windows
        halo = g.shape.extents[0] - full
        line = prod(g.shape.phases) * prod(g.shape.extents[1:]) * g.source * size
        most = min(COPY // line - halo, COPY // (self.c_row * prod(inner) * size))
        chunks = ceil(full / max(1, min(full, most)))
        each = ceil(tiles_for(often * work // self.phases) / (self.groups * self.parts))
        chunks = max(chunks, min(ceil(each / often), ceil(full / 4)))
        self.chunk = ceil(full / chunks)
        self.chunks = ceil(full / self.chunk)
        self.windows = (self.chunk, *inner)
        self.shape = replace(g.shape, extents=(self.chunk + halo, *g.shape.extents[1:]))
        # An image that nothing is added to, and whose rows stay together, is read where it lies.
        self.plain = self.taps == 1 and g.shape.is_image and self.dtype is self.compute
        if self.plain:
            self.shape = g.shape
        self.places = prod(self.windows)
        self.blocks = self.n * self.chunks
        blocks = often * self.chunks
        self.share = parted(blocks, 1, max(1, PLACES // self.places), min(each, blocks))
        self.shares = ceil(self.blocks / self.share)
        self.tiles = self.groups * self.parts * self.shares
        lines = self.places // self.windows[-1]
        once = lines * cycles_of(self.windows[-1], min(self.oc, g.rows), tile)
        packing = 0 if self.ready else PACKING * self.c_row
        tiles = self.groups * self.parts * ceil(blocks / self.share)
        self.cycles = tiles * (self.share * once + packing)
        self.every = ceil(g.rows / tile.columns) * tile.columns

    # -- writing ------------------------------------------------------------------------------
    def write(self) -> Lowered:
        """Write the function."""
        g, size = self.g, self.compute.itemsize
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.x, self.w, self.y = self.buffers[:3]
        self.f = f
        # Whole images of whole vectors of channels are transposed to where they belong.
        self.whole = self.phases == self.chunks == 1 and g.rows % self.tile.width == 0
        self.whole &= self.places >= self.tile.width > 1
        self.pitch = ceil(self.places / self.tile.width) * self.tile.width
        panels = ceil(self.oc / self.tile.columns) * self.tile.columns
        sizes = {
            "offsets": 4 * g.k, "numbers": 4 * g.k, "starts": 8 * (self.phases + 1),
            "panels": 0 if self.ready else g.k * panels * size,
            "copy": 0 if self.plain else (g.source * self.shape.channel + 2 * self.width) * size,
            "sums": self.pitch * self.c_row * size,
            "more": self.pitch * self.c_row * size if g.k > self.depth else 0,
            "turned": 0 if self.whole else (self.pitch * self.c_row + 2 * self.width) * size,
        }  # fmt: skip
        self.at, used = {}, 0
        for name, count in sizes.items():
            self.at[name] = f.gep(scratch, used, "i8")
            used += ceil(count / 64) * 64
        tables = self._tables()
        f.if_(f.compare("slt", begin, end), lambda: f.call(
            tables, [self.at[n] for n in ("offsets", "numbers", "starts")]))  # fmt: skip
        self.add = self._add()
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        self._leaving()
        f.loop(begin, end, 1, self._tile)
        return Lowered(f, self.tiles, used, self.work * 8 // (self.width * 25) + self.tiles * 200)

    def _leaving(self) -> None:
        """Make what brings sums to where they belong."""
        g, width = self.g, self.tile.width
        if self.whole:
            self.out = lanes_out(self.dtype, width)
            return
        pitches = tuple(prod(self.windows[d + 1 :]) for d in range(len(self.windows)))
        spread = Spread(self.windows, pitches, self.pitch, g.out, g.steps)
        self.deliver = spread_out("deliver", spread, self.dtype, self.width)
        self.turn = mover("turn", Layout(self.compute, self.c_row, 1),
                          Layout(self.compute, 1, self.pitch), self.c_row, width)  # fmt: skip

    def _leave(self, to: Value, channels: Value, begin: Value, r: Value) -> None:
        """Bring the sums of one residue to where they belong."""
        f, g, width = self.f, self.g, self.tile.width
        if not self.whole:
            f.call(self.turn, [self.at["sums"], self.at["turned"], f.const(self.pitch, "i64")])
            f.call(self.deliver, [self.at["turned"], to, channels, begin, *unflat(f, r, g.steps)])
            return
        extents = [f.const(n, "i64") for n in (self.places, self.c_row)]

        def lanes(c: Value, _: list[Value]) -> None:
            sums = f.gep(self.at["sums"], c, compute_type(self.dtype))
            f.call(self.out, [sums, f.gep(to, f.mul(c, self.places), memory_type(self.dtype)),
                              *extents])  # fmt: skip

        f.loop(0, channels, width, lanes)

    @property
    def packed(self) -> int:
        """Elements of the prepared weight."""
        return self.groups * self.g.k * self.every

    def prepare(self, kernel: Kernel) -> Lowered:
        """Write the function that packs the weight: a tile is a panel of a group."""
        g, columns = self.g, self.tile.columns
        f, (w, packed), begin, end, scratch = entry(kernel)
        panels = self.every // columns
        kind, compute = memory_type(self.dtype), compute_type(self.dtype)
        room = ceil(g.k / 16) * 64
        numbers = f.gep(scratch, room, "i8") if self.phases > 1 else None
        if numbers is not None:
            starts = f.gep(scratch, 2 * room, "i8")
            tables = self._tables()
            f.if_(f.compare("slt", begin, end), lambda: f.call(tables, [scratch, numbers, starts]))

        def tile(t: Value, _: list[Value]) -> None:
            group, panel = unflat(f, t, (self.groups, panels))
            j = f.mul(panel, columns)
            from_ = f.gep(w, f.add(f.mul(group, g.k * g.rows), f.mul(j, g.row)), kind)
            to = f.gep(packed, f.mul(f.add(f.mul(group, self.every), j), g.k), compute)
            each_panel(f, g.rows, columns, panel, lambda size: pack_panel(
                f, g, self.dtype, self.tile, size, from_, to, numbers))  # fmt: skip

        f.loop(begin, end, 1, tile)
        used = 2 * room + 8 * (self.phases + 1)
        return Lowered(f, self.groups * panels, used, self.packed // 4)

    def _tables(self) -> Function:
        """Return the function that writes each (channel, tap)'s offset, and number in the sum."""
        f = Function("tables", [(name, "ptr") for name in ("offsets", "numbers", "starts")])
        offsets, numbers, starts = f.params

        def write(at: Value, offset: Value, number: Value) -> None:
            f.store(f.convert("trunc_int", offset, "i32"), offsets, at)
            f.store(f.convert("trunc_int", at, "i32"), numbers, number)

        taps_met(f, self.g, self.shape, starts, write)
        return f

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, g = self.f, self.g
        group, part, share = unflat(f, t, (self.groups, self.parts, self.shares))
        row = f.mul(part, self.oc)
        left: Value = f.const(min(self.oc, g.rows), "i64")
        if self.parts > 1 and g.rows % self.oc:
            left = f.op("smin", left, f.sub(f.const(g.rows, "i64"), row))
        self.columns = Extent(left, self.tile.columns, g.rows % self.tile.columns)
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        weights = f.add(f.mul(group, g.k * g.rows), f.mul(row, g.row))

        def pack(j: Value, size: int) -> None:
            from_ = f.gep(self.w, f.add(weights, f.mul(j, g.row)), kind)
            to = f.gep(self.at["panels"], f.mul(j, g.k), packed)
            numbers = self.at["numbers"] if self.phases > 1 else None
            pack_panel(f, g, self.dtype, self.tile, size, from_, to, numbers)

        self.panels = self.at["panels"]
        if self.ready:
            at = f.mul(f.add(f.mul(group, self.every), row), g.k)
            self.panels = f.gep(self.w, at, packed)
        else:
            sweep(f, self.columns, pack)
        first = f.mul(share, self.share)
        last = f.op("smin", f.add(first, self.share), self.blocks)

        def block(b: Value, _: list[Value]) -> None:
            image, chunk = unflat(f, b, (self.n, self.chunks))
            which = f.add(f.mul(image, self.groups), group)
            begin = f.mul(chunk, self.chunk)
            source = f.gep(self.x, f.mul(which, g.source * prod(g.shape.image)), kind)
            if self.plain:
                self.image = f.gep(source, f.mul(begin, self.shape.pitches[0]), kind)
            else:
                self.image = self.at["copy"]
                f.call(self.copier, [source, self.image, begin, f.const(g.source, "i64")])
            at = f.mul(f.add(f.mul(which, g.rows), row), prod(g.out))
            to = f.gep(self.y, at, kind)

            def phase(r: Value, _: list[Value]) -> None:
                start = f.load("i64", self.at["starts"], r, index=True)
                stop = f.load("i64", self.at["starts"], f.add(r, 1), index=True)
                self._sums(start, stop)
                self._leave(to, left, begin, r)

            f.loop(0, self.phases, 1, phase)
            if self.after is not None:
                where = (image, f.add(f.mul(group, g.rows), row), left)
                self.after.call(f, self.buffers, where, g.places(f, begin, self.chunk))

        f.loop(first, last, 1, block)

    def _sums(self, start: Value, stop: Value) -> None:
        """Write the sums of one residue: blocks of k in order."""
        f, g = self.f, self.g
        held = self.at["sums"]

        def block(q: Value, _: list[Value]) -> None:
            depth = f.op("smin", f.const(self.depth, "i64"), f.sub(stop, q))
            first = f.compare("eq", q, start)
            to = held if g.k <= self.depth else f.select(first, held, self.at["more"])

            def channels(j: Value, size: int) -> None:
                def run(r: Value, _: list[Value]) -> None:
                    count = f.op("smin", f.const(RUN, "i64"), f.sub(depth, r))
                    self._run((j, size), f.add(q, r), count, to, r)

                # A residue that meets no tap is zero: it has one run, of length 0.
                f.loop(0, f.op("smax", depth, 1), RUN, run)

            sweep(f, self.columns, channels)
            if g.k > self.depth:
                f.if_(first, lambda: None, lambda: f.call(self.add, [held, self.at["more"]]))

        f.loop(start, f.op("smax", stop, f.add(start, 1)), self.depth, block)

    def _run(
        self, panel: tuple[Value, int], q: Value, depth: Value, to: Value, resumes: Value
    ) -> None:
        """Write a run of k: the panel's part of it stays in the first-level cache meanwhile."""
        f, g, tile = self.f, self.g, self.tile
        packed = compute_type(self.dtype)
        *outer, last = self.windows
        along = Extent(f.const(last, "i64"), tile.rows, last % tile.rows)
        offsets = f.gep(self.at["offsets"], q, "i32")
        j, size = panel
        weights = f.add(f.mul(j, g.k), f.mul(q, tile.columns))
        weights = f.gep(self.panels, weights, packed)

        def line(index: list[Value]) -> None:
            at: Value = f.const(0, "i64")
            for i, pitch in zip(index, self.shape.pitches, strict=False):
                at = f.add(at, f.mul(i, pitch))
            place = f.mul(flat(f, index, outer), last)

            def windows(p: Value, height: int) -> None:
                a = f.gep(self.image, f.add(at, p), packed)
                c = f.add(f.mul(f.add(place, p), self.c_row), j)
                given = [depth, a, weights, f.gep(to, c, packed), offsets, resumes]
                if self.target.choices:
                    given.append(f.const(self.c_row, "i64"))
                f.call(self._micro(height, size), given)

            sweep(f, along, windows)

        nested(f, outer, line)

    def _add(self) -> Function:
        """Return the function (sums, more) that adds the sums of another block."""
        f = Function("add", [("sums", "ptr"), ("more", "ptr")])
        sums, more = f.params
        width = self.tile.width
        kind = vector(compute_type(self.dtype), width)

        def part(i: Value, _: list[Value]) -> None:
            total = plus(f, self.compute, f.load(kind, sums, i), f.load(kind, more, i))
            f.store(total, sums, i)

        f.loop(0, self.places * self.c_row, width, part)
        return f

    def _micro(self, height: int, size: int) -> Function:
        tile = self.tile
        vectors = ceil(size / tile.width)
        if (height, vectors) not in self.micros:
            spec = Micro(
                a=self.compute, b=self.compute, c=self.compute, rows=tuple(range(height)),
                a_step=None, b_step=tile.columns, vectors=vectors, width=tile.width,
                last=tile.width, c_row=None if self.target.choices else self.c_row,
                padded_b=True, padded_c=True,
                align=tile.width * self.compute.itemsize, resume=True, ahead=AHEAD,
            )  # fmt: skip
            self.micros[height, vectors] = met_kernel(
                f"multiply{height}x{vectors}", spec, self.target
            )
        return self.micros[height, vectors]
