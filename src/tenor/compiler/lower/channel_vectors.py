"""Correlations with channels of the result side by side in vectors: for results of many channels.

The weight is packed into panels of channels once for all images of a tile. A micro-kernel takes
some neighbouring windows as its rows: where their taps lie in the padded copy differs by one.
What comes out is [window, channel], and is turned before it is written; where the result lies so,
it may leave registers for where it belongs.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.after import after_of
from tenor.compiler.lower.blocking import (
    cycles_of,
    depth_of,
    halved,
    lanes_of,
    parted,
    register_tile,
    shared,
    tiles_for,
    usual,
)
from tenor.compiler.lower.correlation import taps_met
from tenor.compiler.lower.epilogue import epilogue_of
from tenor.compiler.lower.microkernel import Extent, Micro, met_kernel, sweep
from tenor.compiler.lower.packing import Layout, lanes_beside, lanes_out, mover
from tenor.compiler.lower.panel import each_panel, pack_panel
from tenor.compiler.lower.storage import Scratch, compute_type, entry, memory_type, plus
from tenor.compiler.lower.ways import widest
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
COPIED: Final = 128
"""The same where each tile copies the image."""
READY: Final = 512
"""Channels that go together where a prepared weight of one tap is read for each block."""
COPY: Final = 512 * 1024
"""Bytes of the padded copy, and of a panel's sums, that a block should stay below."""
PLACES: Final = 1024
"""Windows after which packing the weight once more costs nothing."""
RUN: Final = 128
"""Steps of k after which other windows meet the same part of a panel."""
PACKING: Final = 0.6
"""Cycles to pack one element of the weight."""
MANY: Final = 32
"""Windows from which on sums leave registers for the result, which takes code of its own."""
AGAIN: Final = 1.1
"""How much longer it takes where each part of the channels copies the image for itself."""


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
        self.dtype = kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        self.depth = depth_of(g.k)
        self.run = ceil(self.depth / ceil(self.depth / RUN))
        self.phases = prod(g.steps)
        self.taps = prod(g.taps)
        # One tap's channels are equally far apart: no table is needed.
        self.tabled = self.taps > 1 or self.phases > 1
        self.target = target
        self.tile = register_tile(g.windows[-1], g.rows, self.width, target)
        # As wide as the widest machine's that may be met: others write it in parts.
        ratio = widest(target).vector_bits // target.vector_bits
        if self.tile.width == self.width and g.rows >= self.tile.columns * ratio:
            self.tile = replace(self.tile, vectors=self.tile.vectors * ratio)
        self.micros: dict[tuple[int, int], Function] = {}
        self._cut()
        self.epilogue = epilogue_of(kernel, target, self.tile.columns) if self.whole else None
        self.after = after_of(kernel, target) if self.epilogue is None else None
        # Sums that are there after one run leave the registers for the result, where they lie so.
        streams = self.epilogue is not None and self.epilogue.streams
        self.direct = self.beside and self.whole and g.k <= self.run and not streams
        self.direct &= self.places >= MANY
        self.c_step = g.rows if self.direct else self.c_row

    def _cut(self) -> None:
        """Cut channels of the result, and images, into tiles."""
        g, tile, size = self.g, self.tile, self.compute.itemsize
        often = usual(self.n)
        work = self.groups * g.rows * prod(g.out) * g.k
        self.work = self.n * work // self.phases
        most = READY if self.ready and self.taps == 1 else PANELS // (self.depth * size)
        # Of few images it is the larger operand that is cut: nobody reads the whole of it twice.
        wanted = ceil(tiles_for(often * work // self.phases) / (self.groups * often))
        # An image that nothing is added to is read where it lies; else each part copies it.
        self.plain = self.taps == 1 and g.shape.is_inside and self.dtype is self.compute
        across = min(wanted, g.rows // (LEAST if self.plain else COPIED))
        across = across if g.rows > prod(g.windows) else 1
        self.oc = shared(g.rows, tile.columns, tile.width, most, max(1, across))
        self.parts = ceil(g.rows / self.oc)
        self.span = self.oc if self.oc % tile.columns else g.rows
        self.c_row = ceil(min(tile.columns, g.rows) / tile.width) * tile.width
        full, *inner = g.windows
        far = g.strides[0]
        window = g.shape.extents[0] - (full - 1) * far
        line = prod(g.shape.phases) * prod(g.shape.extents[1:]) * g.source * size
        lines = full if self.plain else (COPY // line - window) // far + 1
        most = min(lines, COPY // (self.c_row * prod(inner) * size))
        chunks = ceil(full / max(1, min(full, most)))
        wanted = ceil(tiles_for(often * work // self.phases) / (self.groups * self.parts))
        chunks = max(chunks, min(ceil(wanted / often), ceil(full / 4)))
        piece = 1 if inner else tile.rows
        pieces = ceil(full / piece)
        # Parts of the channels are halves already.
        each = halved(pieces, chunks) if self.parts % 2 else ceil(pieces / chunks)
        self.chunk = min(full, each * piece)
        self.chunks = ceil(full / self.chunk)
        self.windows = (self.chunk, *inner)
        high = (self.chunk - 1) * far + window
        self.shape = replace(g.shape, extents=(high, *g.shape.extents[1:]))
        if self.plain:
            self.shape = replace(g.shape, extents=g.shape.image)
        # Channels lie side by side, or each has an image of its own.
        self.channel_step, self.place_step = self.shape.channel, (
            self.shape.pitches[0], g.strides[-1])  # fmt: skip
        if "image_beside" in self.kernel.params:
            self.channel_step, self.place_step = 1, (g.source, g.source)
        self.places = prod(self.windows)
        self.blocks = self.n * self.chunks
        blocks = often * self.chunks
        most = 1 if self.ready else max(1, PLACES // self.places)
        self.share = parted(blocks, 1, most, min(wanted, blocks))
        self.shares = ceil(self.blocks / self.share)
        self.tiles = self.groups * self.parts * self.shares
        lines = self.places // self.windows[-1]
        once = lines * cycles_of(self.windows[-1], min(self.oc, g.rows), tile)
        packing = 0 if self.ready else PACKING * min(self.oc, g.rows)
        tiles = self.groups * self.parts * ceil(blocks / self.share)
        copying = AGAIN if self.parts > 1 and not self.plain else 1
        self.cycles = tiles * (self.share * once + packing) * copying
        # A prepared weight streams from far away: while some steps of k meet all windows, as many
        # of the next are asked for.
        calls = lines * ceil(self.windows[-1] / tile.rows)
        self.ahead = ceil(tile.columns / calls)
        self.every = ceil(g.rows / tile.width) * tile.width
        # Whole vectors of channels are transposed to where they belong.
        fewest = g.windows[0] - (self.chunks - 1) * self.chunk
        self.whole = self.phases == 1 and g.rows % tile.width == 0
        self.whole &= fewest * prod(self.windows[1:]) >= tile.width > 1
        # Whether the result keeps its channels side by side.
        self.beside = "result_beside" in self.kernel.params

    # -- writing ------------------------------------------------------------------------------
    def write(self) -> Lowered:
        """Write the function."""
        g, size = self.g, self.compute.itemsize
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.x, self.w, self.y = self.buffers[:3]
        self.f = f
        self.pitch = ceil(self.places / self.tile.width) * self.tile.width
        panels = ceil(self.oc / self.tile.columns) * self.tile.columns
        sizes = {
            "offsets": 4 * g.k * self.tabled, "numbers": 4 * g.k * self.tabled,
            "starts": 8 * (self.phases + 1) * self.tabled,
            "panels": 0 if self.ready else g.k * panels * size,
            "copy": 0 if self.plain else (g.source * self.shape.channel + 2 * self.width) * size,
            "sums": 0 if self.direct else self.pitch * self.c_row * size,
            "more": self.pitch * self.c_row * size if g.k > self.depth else 0,
            "turned": 0 if self.whole else (self.pitch * self.c_row + 2 * self.width) * size,
            "table": self.epilogue.bytes if self.epilogue is not None else 0,
        }  # fmt: skip
        space = Scratch(f, scratch)
        self.at = {name: space.take(count) for name, count in sizes.items()}
        if self.tabled:
            tables = self._tables()
            f.if_(f.compare("slt", begin, end), lambda: f.call(
                tables, [self.at[n] for n in ("offsets", "numbers", "starts")]))  # fmt: skip
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        self.add = self._add()
        self._leaving()
        f.loop(begin, end, 1, self._tile)
        return Lowered(
            f, self.tiles, space.used, self.work * 8 // (self.width * 25) + self.tiles * 200
        )

    def _leaving(self) -> None:
        """Make what brings sums to where they belong."""
        g, width = self.g, self.tile.width
        if self.direct:
            return
        if self.whole:
            self.lanes = self._lanes_beside() if self.beside else width
            leave = lanes_beside if self.beside else lanes_out
            self.out = leave(self.dtype, self.lanes, self.epilogue)
            return
        pitches = tuple(prod(self.windows[d + 1 :]) for d in range(len(self.windows)))
        spread = Spread(self.windows, pitches, self.pitch, g.out, g.steps)
        self.deliver = spread_out("deliver", spread, self.dtype, self.width)
        self.turn = mover("turn", Layout(self.compute, self.c_row, 1),
                          Layout(self.compute, 1, self.pitch), self.c_row, width)  # fmt: skip

    def _lanes_beside(self) -> int:
        """Return how many channels leave together where they stay side by side.

        As many as the widest machine has in a vector: for others that is two, one after the other.
        """
        lanes = lanes_of(self.dtype, widest(self.target))
        return self.tile.width if self.g.rows % lanes or self.c_row % lanes else lanes

    def _leave(
        self, to: Value, where: tuple[Value, Value, Value], size: int, begin: Value, r: Value
    ) -> None:
        """Bring the sums of a panel and a residue to where they belong.

        Args:
            to: The first place of the panel's first channel in the result.
            where: The image, the first channel, and how many channels.
            size: The same, as it is known here.
            begin: The first window of the first dim.
            r: The residue's number.
        """
        f, g = self.f, self.g
        if not self.whole:
            f.call(self.turn, [self.at["sums"], self.at["turned"], f.const(self.pitch, "i64")])
            f.call(self.deliver, [self.at["turned"], to, f.const(size, "i64"), begin,
                                  *unflat(f, r, g.steps)])  # fmt: skip
            return
        line, pitch = prod(g.out[1:]), prod(g.out)
        apart = g.rows if self.beside else pitch
        extents = [f.mul(self.high, line), *(f.const(n, "i64") for n in (self.c_row, apart))]
        first = f.mul(begin, line)
        epilogue, given = self.epilogue, list[Value]()
        if epilogue is not None:
            given = epilogue.pointers(f, self.buffers, where, first, self.at["table"])

        def lanes(c: Value, _: list[Value]) -> None:
            sums = f.gep(self.at["sums"], c, compute_type(self.dtype))
            at = f.mul(c, pitch)
            far = f.add(first, at)
            if self.beside:
                far = f.add(f.mul(first, g.rows), c)
            place = f.gep(to, far, memory_type(self.dtype))
            more = epilogue.moved(f, given, c, at) if epilogue is not None else []
            f.call(self.out, [sums, place, *extents, *more])

        f.loop(0, size, self.lanes, lanes)

    @property
    def packed(self) -> int:
        """Elements of the prepared weight."""
        return self.groups * self.g.k * self.every

    def prepare(self, kernel: Kernel) -> Lowered:
        """Write the function that packs the weight: a tile is a panel of a group."""
        g, columns = self.g, self.tile.columns
        f, (w, packed), begin, end, scratch = entry(kernel)
        spans, panels = g.rows // self.span, ceil(self.span / columns)
        kind, compute = memory_type(self.dtype), compute_type(self.dtype)
        room = ceil(g.k / 16) * 64
        numbers = f.gep(scratch, room, "i8") if self.phases > 1 else None
        if numbers is not None:
            starts = f.gep(scratch, 2 * room, "i8")
            tables = self._tables()
            f.if_(f.compare("slt", begin, end), lambda: f.call(tables, [scratch, numbers, starts]))

        def tile(t: Value, _: list[Value]) -> None:
            group, span, panel = unflat(f, t, (self.groups, spans, panels))
            j = f.add(f.mul(span, self.span), f.mul(panel, columns))
            from_ = f.gep(w, f.add(f.mul(group, g.k * g.rows), f.mul(j, g.row)), kind)
            to = f.gep(packed, f.mul(f.add(f.mul(group, self.every), j), g.k), compute)
            each_panel(f, self.span, columns, panel, lambda size: pack_panel(
                f, g, self.dtype, self.tile, size, from_, to, numbers))  # fmt: skip

        f.loop(begin, end, 1, tile)
        used = 2 * room + 8 * (self.phases + 1)
        return Lowered(f, self.groups * spans * panels, used, self.packed // 4)

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
        self.columns = Extent(left, self.tile.columns, self.span % self.tile.columns)
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
            self.high: Value = f.const(self.chunk, "i64")
            if g.windows[0] % self.chunk:
                self.high = f.op("smin", self.high, f.sub(f.const(g.windows[0], "i64"), begin))
            line = f.mul(begin, g.strides[0])
            source = f.gep(self.x, f.mul(which, g.source * prod(g.shape.image)), kind)
            if self.plain:
                self.image = f.gep(source, f.mul(line, self.place_step[0]), kind)
            else:
                self.image = self.at["copy"]
                f.call(self.copier, [source, self.image, line, f.const(g.source, "i64")])

            def channels(j: Value, size: int) -> None:
                at = f.mul(f.add(f.add(f.mul(which, g.rows), row), j), prod(g.out))
                if self.beside:
                    at = f.add(f.mul(which, g.rows * prod(g.out)), f.add(row, j))
                to = f.gep(self.y, at, kind)
                where = (image, f.add(f.add(f.mul(group, g.rows), row), j), f.const(size, "i64"))

                def phase(r: Value, _: list[Value]) -> None:
                    run = f.const(0, "i64"), f.const(g.k, "i64")
                    if self.phases > 1:
                        starts = self.at["starts"]
                        run = (f.load("i64", starts, r, index=True),
                               f.load("i64", starts, f.add(r, 1), index=True))  # fmt: skip
                    if self.direct:
                        self._sums_beside((j, size), to, where, begin)
                        return
                    self._sums((j, size), *run)
                    self._leave(to, where, size, begin, r)

                f.loop(0, self.phases, 1, phase)
                if self.after is not None:
                    self.after.call(f, self.buffers, where, g.places(f, begin, self.chunk))

            sweep(f, self.columns, channels)

        f.loop(first, last, 1, block)

    def _sums(self, panel: tuple[Value, int], start: Value, stop: Value) -> None:
        """Write the sums of one residue of a panel: blocks of k in order."""
        f, g = self.f, self.g
        held = self.at["sums"]

        def block(q: Value, _: list[Value]) -> None:
            depth = f.op("smin", f.const(self.depth, "i64"), f.sub(stop, q))
            first = f.compare("eq", q, start)
            to = held if g.k <= self.depth else f.select(first, held, self.at["more"])

            def run(r: Value, _: list[Value]) -> None:
                count = f.op("smin", f.const(self.run, "i64"), f.sub(depth, r))
                self._run(panel, f.add(q, r), count, to, [r], [])

            # A residue that meets no tap is zero: it has one run, of length 0.
            f.loop(0, f.op("smax", depth, 1), self.run, run)
            if g.k > self.depth:
                f.if_(first, lambda: None, lambda: f.call(self.add, [held, self.at["more"]]))

        f.loop(start, f.op("smax", stop, f.add(start, 1)), self.depth, block)

    def _sums_beside(
        self, panel: tuple[Value, int], to: Value, where: tuple[Value, Value, Value], begin: Value
    ) -> None:
        """Write the sums of a panel to the result, side by side; as `_leave`."""
        f, g = self.f, self.g
        first = f.mul(begin, prod(g.out[1:]))
        given = list[Value]()
        if self.epilogue is not None:
            given = self.epilogue.pointers(f, self.buffers, where, first, self.at["table"])
        start, depth = f.const(0, "i64"), f.const(g.k, "i64")
        to = f.gep(to, f.mul(first, g.rows), memory_type(self.dtype))
        self._run(panel, start, depth, to, [], given)

    def _run(
        self, panel: tuple[Value, int], q: Value, depth: Value, to: Value, resumes: list[Value],
        given: list[Value],
    ) -> None:  # fmt: skip
        """Write a run of k: the panel's part of it stays in the first-level cache meanwhile.

        Args:
            panel: Its first channel, and how many it has.
            q, depth: The first step of k, and how many.
            to: Where sums go.
            resumes: Whether they go on from what lies there, where they may.
            given: Pointers of an epilogue that is done to them here.
        """
        f, g, tile = self.f, self.g, self.tile
        packed = compute_type(self.dtype)
        *outer, last = self.windows
        # The last windows of an image may be fewer: nothing beyond it is read where it lies.
        calls = ceil(last / tile.rows)
        count = f.const(last, "i64") if outer else self.high
        along = Extent(count, tile.rows, g.windows[-1] % tile.rows)
        table = [f.gep(self.at["offsets"], q, "i32")] if self.tabled else []
        far = f.const(0, "i64") if self.tabled else f.mul(q, self.channel_step)
        j, size = panel
        lanes = ceil(size / tile.width) * tile.width
        weights = f.add(f.mul(j, g.k), f.mul(q, lanes))
        weights = f.gep(self.panels, weights, packed)

        def line(index: list[Value]) -> None:
            at: Value = far
            for i, pitch, stride in zip(index, self.shape.pitches, g.strides, strict=False):
                at = f.add(at, f.mul(i, pitch * stride))
            number = flat(f, index, outer)
            place = f.mul(number, last)

            def windows(p: Value, height: int) -> None:
                a = f.gep(self.image, f.add(at, f.mul(p, self.place_step[1])), packed)
                c = f.mul(f.add(place, p), self.c_step)
                more = [*table, *resumes]
                if self.ready:
                    call = f.add(f.mul(number, calls), f.op("udiv", p, tile.rows))
                    asked = f.add(f.mul(call, self.ahead), lanes)
                    more.append(f.gep(weights, f.mul(depth, asked), packed))
                if self.target.choices:
                    told = [self.ahead] * self.ready + [self.place_step[1], self.c_step]
                    more += [f.const(n, "i64") for n in told]
                c = f.gep(to, c, packed)
                f.call(self._micro(height, size), [depth, a, weights, c, *more, *given])

            sweep(f, along, windows)

        if outer:
            f.loop(0, self.high, 1, lambda h, _: nested(
                f, outer[1:], lambda index: line([h, *index])))  # fmt: skip
        else:
            line([])

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
            told = bool(self.target.choices)
            apart = 1 if told else self.place_step[1]
            spec = Micro(
                a=self.compute, b=self.compute, c=self.compute,
                rows=tuple(i * apart for i in range(height)), told=told,
                a_step=None if self.tabled else self.channel_step, b_step=vectors * tile.width,
                vectors=vectors, width=tile.width, last=tile.width,
                c_row=None if told else self.c_step,
                padded_b=True, padded_c=True, align=tile.width * self.compute.itemsize,
                resume=not self.direct, following=self.ahead if self.ready else 0,
            )  # fmt: skip
            self.micros[height, vectors] = met_kernel(
                f"multiply{height}x{vectors}",
                spec,
                self.target,
                self.epilogue if self.direct else None,
            )
        return self.micros[height, vectors]
