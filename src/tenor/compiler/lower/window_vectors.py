"""Correlations with windows side by side in vectors: for results of few channels, or few places.

The windows of a tile are one run of the padded copy; what falls between rows is computed and
thrown away. Where that is too much, the columns are packed for each block of k; or, where a row
of windows fills vectors, each is written where it belongs, and there are no sums to deliver.
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
    tiles_for,
    usual,
)
from tenor.compiler.lower.correlation import taps_met
from tenor.compiler.lower.epilogue import epilogue_of
from tenor.compiler.lower.microkernel import Extent, Micro, micro_kernel, sweep
from tenor.compiler.lower.storage import (
    Scratch,
    compute_type,
    entry,
    memory_type,
    repeat,
)
from tenor.compiler.lower.window import (
    Spread,
    flat,
    folded,
    nested,
    padded_copy,
    spread_out,
    unflat,
)
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered
from tenor.ir.symbolic import free

if TYPE_CHECKING:
    from tenor.compiler.lower.correlation import Correlation
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["WindowVectors"]

PACKED: Final = 448 * 1024
"""Bytes of packed columns of several images."""
FAR: Final = 512 * 1024
"""Bytes of weights that are too many for a second-level cache."""
COPY: Final = 192 * 1024
"""Bytes of the padded copy, and of the sums, that a tile should stay below."""
DELIVERY: Final = 2
"""Cycles to bring a vector of sums to where it belongs."""


class WindowVectors:
    """A product being written.

    Attributes:
        cycles: What it takes, for each step of k.
    """

    def __init__(self, kernel: Kernel, target: Target, g: Correlation) -> None:
        self.kernel, self.target, self.g = kernel, target, g
        p = kernel.params
        self.n, self.groups = p["n"], p["groups"]
        self.dtype: DType = kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        self.k = g.k
        self.phases = prod(g.steps)
        self.depth = depth_of(self.k)
        self.more = self.k > self.depth
        self.usual = usual(self.n)
        each = self.groups * g.rows * prod(g.out) * self.k
        self.work = self.n * each // self.phases
        self.wanted = tiles_for(self.usual * each // self.phases)
        self.micros: dict[tuple[int, int], Function] = {}
        self._cut_windows()
        alike = set(g.steps) == {1} and self.dtype is self.compute and self.width > 1
        self._cut_columns(alike and len(g.out) > 1 and not self.more)
        self._cut_rows()
        self.epilogue = epilogue_of(kernel, target, self.mc) if alike else None
        self.after = after_of(kernel, target) if self.epilogue is None else None

    # -- cutting ------------------------------------------------------------------------------
    def _cut_windows(self) -> None:
        """Cut the windows of an image along their first dim: what a tile needs stays near."""
        g, size = self.g, self.compute.itemsize
        windows = g.windows
        full, halo = windows[0], g.shape.extents[0] - windows[0]
        line = prod(g.shape.phases) * prod(g.shape.extents[1:])
        most_copy = COPY // max(1, g.source * line * size) - halo
        most_sums = COPY // max(1, g.rows * g.shape.pitches[0] * size)
        fits = max(1, min(full, most_copy, most_sums))
        if len(windows) == 1:
            fits = min(full, max(fits, 4 * self.width))
        parts = ceil(full / fits)
        self.far = g.rows * self.k * size > FAR
        if not self.far:
            parts = max(parts, min(ceil(self.wanted / (self.usual * self.groups)), ceil(full / 4)))
        # Halves of the chunks, one after the other, are as equal as may be.
        self.chunk = halved(full, parts)
        self.chunks = ceil(full / self.chunk)
        self.windows = (self.chunk, *windows[1:])
        self.shape = replace(g.shape, extents=(self.chunk + halo, *g.shape.extents[1:]))

    def _cut_columns(self, by_rows: bool) -> None:
        """Choose between a run of the copy, and columns packed without what is between rows.

        Args:
            by_rows: Whether rows of windows may be written where they belong.
        """
        g, size = self.g, self.compute.itemsize
        weights = g.rows * size / 8 if self.far else 0.0
        run = self.shape.run(self.windows)
        best = (self._cycles(run) + weights, 1, False)
        for images in range(1, min(self.usual, 8 if self.chunks == 1 else 1) + 1):
            columns = images * prod(self.windows)
            if columns < self.width or (images > 1 and columns * self.depth * size > PACKED):
                break
            moves = columns // self.windows[-1] * ceil(self.windows[-1] / self.width)
            cost = self._cycles(columns) + weights + 3 * (moves + columns / (3 * self.width))
            best = min(best, (cost / images, images, True))
        each, images, self.packed = best
        line = self.windows[-1]
        lines = prod(self.windows[:-1])
        saved = DELIVERY * g.rows * lines * ceil(line / self.width) / self.k
        cost = lines * self._cycles(line) + weights - saved
        self.direct = by_rows and cost < each
        if self.direct:
            each, images, self.packed = cost, 1, False
        self.cycles = each * self.usual * self.groups * self.chunks
        self.images = ceil(self.usual / ceil(self.usual / images))
        self.columns = self.images * prod(self.windows) if self.packed else run
        self.columns = line if self.direct else self.columns
        self.tile = register_tile(g.rows, self.columns, self.width, self.target)
        self.c_row = ceil(self.columns / self.tile.columns) * self.tile.columns
        pitches = tuple(prod(self.windows[d + 1 :]) for d in range(len(self.windows)))
        self.spread = Spread(self.windows, pitches if self.packed else self.shape.pitches,
                             self.c_row, g.out, g.steps)  # fmt: skip

    def _cycles(self, columns: int) -> float:
        tile = register_tile(self.g.rows, columns, self.width, self.target)
        return cycles_of(self.g.rows, columns, tile)

    def _cut_rows(self) -> None:
        """Cut the channels of the result, and see whether their weights lie in k's order."""
        g = self.g
        self.batches = ceil(self.n / self.images)
        before = self.batches * self.groups * self.chunks
        self.plain = self.phases == 1 and g.column == prod(g.taps)
        usually = ceil(self.usual / self.images) * self.groups * self.chunks
        self.mc = parted(g.rows, self.tile.rows, g.rows, ceil(self.wanted / usually))
        self.parts = ceil(g.rows / self.mc)
        self.tiles = before * self.parts
        self.panel = self.depth * self.tile.columns + self.width

    # -- writing ------------------------------------------------------------------------------
    def write(self) -> Lowered:
        """Write the function."""
        g = self.g
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.f = f
        self.x, self.w, self.y = self.buffers[:3]
        size, panels = self.compute.itemsize, self.c_row // self.tile.columns
        spare = self.c_row + 2 * self.width
        lines = self.columns // self.windows[-1] * ceil(self.windows[-1] / self.width)
        sizes = {
            "offsets": 4 * self.k, "places": 4 * self.k, "starts": 8 * (self.phases + 1),
            "moves": 16 * lines * self.packed + 8,
            "copy": (self.images * g.source * self.shape.channel + spare) * size,
            "b": self.packed * panels * self.panel * size,
            "sums": 0 if self.direct else self.mc * self.c_row * size,
            "table": self.epilogue.bytes if self.epilogue is not None else 0,
        }  # fmt: skip
        space = Scratch(f, scratch)
        self.at = {name: space.take(count) for name, count in sizes.items()}
        tables = self._tables()
        f.if_(f.compare("slt", begin, end), lambda: f.call(
            tables, [self.at[n] for n in ("offsets", "places", "starts", "moves")]))  # fmt: skip
        self.copier = padded_copy("copy", self.shape, self.dtype, self.width)
        if not self.direct:
            self.deliver = spread_out("deliver", self.spread, self.dtype, self.width, self.epilogue)
        f.loop(begin, end, 1, self._tile)
        cost = self.work * 8 // (self.width * 25) + self.tiles * 200
        return Lowered(f, self.tiles, space.used, cost)

    def _tables(self) -> Function:
        """Return the function that writes the offsets of every (channel, tap) of each residue."""
        g = self.g
        names = ("offsets", "places", "starts", "moves")
        f = Function("tables", [(name, "ptr") for name in names])
        offsets, places, starts, moves = f.params

        def write(at: Value, offset: Value, number: Value) -> None:
            channel, tap = (f.op(o, number, prod(g.taps)) for o in ("udiv", "urem"))
            weight = f.add(f.mul(channel, g.column), tap)
            f.store(f.convert("trunc_int", offset, "i32"), offsets, at)
            f.store(f.convert("trunc_int", weight, "i32"), places, at)

        taps_met(f, g, self.shape, starts, write)
        if self.packed:
            self._moves(f, moves)
        return f

    def _moves(self, f: Function, moves: Value) -> None:
        """Write down from where to where the vectors of one row of B go when it is packed."""
        width, wide = self.width, self.tile.columns
        *outer, length = self.windows
        table = f.gep(moves, 8, "i8")

        def line(index: list[Value], at: Value) -> Value:
            image, *place = index
            source = f.mul(image, self.g.source * self.shape.channel)
            for h, pitch in zip(place, self.shape.pitches, strict=False):
                source = f.add(source, f.mul(h, pitch))
            first = f.mul(flat(f, index, (1, *outer)), length)

            def piece(x: Value, carried: list[Value]) -> list[Value]:
                column, at = f.add(first, x), carried[0]
                panel, inside = f.op("udiv", column, wide), f.op("urem", column, wide)
                from_, to = f.add(source, x), f.add(f.mul(panel, self.panel), inside)
                room = f.sub(f.const(wide, "i64"), inside)

                def move(from_: Value, to: Value, at: Value) -> Value:
                    for d, v in enumerate((from_, to)):
                        f.store(f.convert("trunc_int", v, "i32"), table, f.add(f.mul(at, 2), d))
                    return f.add(at, 1)

                at = move(from_, to, at)
                there = f.op("smin", f.const(width, "i64"), f.sub(f.const(length, "i64"), x))
                onwards = f.mul(f.add(panel, 1), self.panel)
                return f.if_(
                    f.compare("sgt", there, room),
                    lambda: [move(f.add(from_, room), onwards, at)],
                    lambda: [at],
                )

            return f.loop(0, length, width, piece, [at])[0]

        f.store(folded(f, (self.images, *outer), f.const(0, "i64"), line), moves, index=True)

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, g = self.f, self.g
        index = unflat(f, t, (self.batches, self.groups, self.chunks, self.parts))
        batch, group, chunk, part = index
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        first, row, image = (
            f.mul(chunk, self.chunk),
            f.mul(part, self.mc),
            f.mul(batch, self.images),
        )
        count: Value = f.const(self.images, "i64")
        if free(self.n) or self.n % self.images:
            count = f.op("smin", count, f.sub(f.const(self.n, "i64"), image))

        def which(i: Value) -> Value:
            return f.add(f.mul(f.add(image, i), self.groups), group)

        def copy(i: Value) -> None:
            source = f.gep(self.x, f.mul(which(i), g.source * prod(g.shape.image)), kind)
            to = f.gep(self.at["copy"], f.mul(i, g.source * self.shape.channel), packed)
            f.call(self.copier, [source, to, first, f.const(g.source, "i64")])

        repeat(f, f.const(0, "i64"), count, 1, copy)
        group_size = g.source * g.rows * prod(g.taps)
        weights = f.gep(self.w, f.add(f.mul(group, group_size), f.mul(row, g.row)), kind)
        left: Value = f.const(self.mc, "i64")
        if g.rows % self.mc:
            left = f.op("smin", left, f.sub(f.const(g.rows, "i64"), row))

        def beside(i: Value) -> list[Value]:
            if self.epilogue is None:
                return []
            where = (f.add(image, i), f.add(f.mul(group, g.rows), row), left)
            place, table = f.const(0, "i64"), self.at["table"]
            return self.epilogue.pointers(f, self.buffers, where, place, table)

        def phase(r: Value, _: list[Value]) -> None:
            start = f.load("i64", self.at["starts"], r, index=True)
            stop = f.load("i64", self.at["starts"], f.add(r, 1), index=True)
            self._sums(left, weights, start, stop)
            residue = unflat(f, r, g.steps)

            def deliver(i: Value) -> None:
                at = f.mul(f.add(f.mul(which(i), g.rows), row), prod(g.out))
                sums = f.gep(self.at["sums"], f.mul(i, prod(self.windows)), packed)
                to = f.gep(self.y, at, kind)
                f.call(self.deliver, [sums, to, left, first, *residue, *beside(i)])

            repeat(f, f.const(0, "i64"), count, 1, deliver)

        if self.direct:
            zero = f.const(0, "i64")
            at = f.mul(f.add(f.mul(which(zero), g.rows), row), prod(g.out))
            self._lines(weights, left, f.gep(self.y, at, kind), first, beside(zero))
        else:
            f.loop(0, self.phases, 1, phase)
        if self.after is not None:
            self._finish((image, count), f.add(f.mul(group, g.rows), row), left, first)

    def _finish(
        self, images: tuple[Value, Value], channel: Value, left: Value, first: Value
    ) -> None:
        """Write what is done to the results of a tile."""
        f, after = self.f, self.after
        assert after is not None
        image, count = images
        run = self.g.places(f, first, self.chunk)
        repeat(f, f.const(0, "i64"), count, 1, lambda i: after.call(
            f, self.buffers, (f.add(image, i), channel, left), run))  # fmt: skip

    def _lines(
        self, weights: Value, height: Value, to: Value, first: Value, beside: list[Value]
    ) -> None:  # fmt: skip
        """Write rows of windows where they belong.

        Args:
            weights: The weights of the first channel.
            height: How many channels.
            to: The first channel's first place in the result.
            first: The first window of the first dim.
            beside: The epilogue's pointers.
        """
        f, g, tile = self.f, self.g, self.tile
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        columns = Extent(f.const(self.columns, "i64"), tile.columns, self.columns % tile.columns)
        rows = Extent(height, tile.rows, g.rows % tile.rows)
        tables = [self.at[n] for n in ("places", "offsets")][self.plain :]
        depth, places = f.const(self.k, "i64"), prod(g.out)
        full, *inner = self.windows[:-1]
        there = f.op("smin", f.const(full, "i64"), f.sub(f.const(g.out[0], "i64"), first))

        def line(index: list[Value]) -> None:
            near: Value = f.const(0, "i64")
            for h, pitch in zip(index, self.shape.pitches, strict=False):
                near = f.add(near, f.mul(h, pitch))
            far = f.mul(flat(f, [f.add(index[0], first), *index[1:]], g.out[:-1]), g.out[-1])

            def down(i: Value, high: int) -> None:
                a = f.gep(weights, f.mul(i, g.row), kind)

                def right(j: Value, size: int) -> None:
                    b = f.gep(self.at["copy"], f.add(near, j), packed)
                    at = f.add(f.mul(i, places), f.add(far, j))
                    more = self.epilogue.moved(f, beside, i, at) if self.epilogue else []
                    c = f.gep(to, at, kind)
                    f.call(self._micro(high, size), [depth, a, b, c, *tables, *more])

                sweep(f, columns, right)

            sweep(f, rows, down)

        f.loop(0, there, 1, lambda h, _: nested(f, inner, lambda rest: line([h, *rest])))

    def _sums(self, height: Value, weights: Value, start: Value, stop: Value) -> None:
        """Write the sums of one residue: blocks of k in order."""
        f, g, tile = self.f, self.g, self.tile
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        columns = Extent(f.const(self.columns, "i64"), tile.columns, self.columns % tile.columns)
        rows = Extent(height, tile.rows, g.rows % tile.rows)
        fill_b = self._fill_b() if self.packed else None

        def block(q: Value, _: list[Value]) -> None:
            depth = f.op("smin", f.const(self.depth, "i64"), f.sub(stop, q))
            offsets, places = (f.gep(self.at[n], q, "i32") for n in ("offsets", "places"))
            if fill_b is not None:
                f.call(fill_b, [self.at["copy"], self.at["b"], offsets, depth, self.at["moves"]])

            def down(i: Value, high: int) -> None:
                a = f.gep(weights, f.add(f.mul(i, g.row), q if self.plain else 0), kind)

                def right(j: Value, size: int) -> None:
                    c = f.gep(self.at["sums"], f.add(f.mul(i, self.c_row), j), packed)
                    given = [] if self.plain else [places]
                    if self.packed:
                        at = f.mul(f.op("udiv", j, tile.columns), self.panel)
                        b = f.gep(self.at["b"], at, packed)
                    else:
                        b = f.gep(self.at["copy"], j, packed)
                        given.append(offsets)
                    if self.more:
                        given.append(f.sub(q, start))
                    f.call(self._micro(high, size), [depth, a, b, c, *given])

                sweep(f, columns, right)

            sweep(f, rows, down)

        # A residue that meets no tap is zero: it has one block, of depth 0.
        f.loop(start, f.op("smax", stop, f.add(start, 1)), self.depth, block)

    def _micro(self, height: int, size: int) -> Function:
        tile = self.tile
        vectors = ceil(size / tile.width)
        last = size - (vectors - 1) * tile.width if self.direct else tile.width
        key = (height, (vectors - 1) * tile.width + last)
        if key not in self.micros:
            spec = Micro(
                a=self.dtype, b=self.compute, c=self.compute,
                rows=tuple(i * self.g.row for i in range(height)),
                a_step=1 if self.plain else None, b_step=tile.columns if self.packed else None,
                vectors=vectors, width=tile.width, last=last,
                c_row=prod(self.g.out) if self.direct else self.c_row,
                more=self.more, padded_b=True, padded_c=not self.direct,
                align=tile.width * self.compute.itemsize if self.packed else 0,
            )  # fmt: skip
            epilogue = self.epilogue if self.direct else None
            self.micros[key] = micro_kernel(f"multiply{height}x{key[1]}", spec, epilogue)
        return self.micros[key]

    def _fill_b(self) -> Function:
        """Return the function (copy, panels, offsets, depth, moves) that packs a block of B.

        Vectors are stored whole, in the order of their places: what is too much is written over,
        and each panel has a vector's room behind it.
        """
        names = [
            ("copy", "ptr"),
            ("to", "ptr"),
            ("offsets", "ptr"),
            ("depth", "i64"),
            ("moves", "ptr"),
        ]
        f = Function("fill", names)
        copy, to, offsets, depth, moves = f.params
        count = f.load("i64", moves, 0, index=True)
        table = f.gep(moves, 8, "i8")
        kind = compute_type(self.dtype)

        def row(k: Value, _: list[Value]) -> None:
            source = f.gep(copy, f.convert("sext", f.load("i32", offsets, k), "i64"), kind)
            target = f.gep(to, f.mul(k, self.tile.columns), kind)

            def move(e: Value, _: list[Value]) -> None:
                from_, at = (f.convert("sext", f.load("i32", table, f.add(f.mul(e, 2), d)), "i64")
                             for d in range(2))  # fmt: skip
                f.store(f.load(vector(kind, self.width), source, from_), target, at)

            f.loop(0, count, 1, move)

        f.loop(0, depth, 1, row)
        return f
