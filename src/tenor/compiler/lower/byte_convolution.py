"""Convolutions of bytes: neighbouring windows lie in the lanes, and words of k are added up.

A block of windows is brought into words; a register tile is some channels of the result by some
vectors of windows, whose exact 32-bit sums a map takes on (an epilogue), or which are stored.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.after import After
from tenor.compiler.lower.byte_geometry import Cut, Geometry
from tenor.compiler.lower.byte_tiles import SHORT, Sweep, widest
from tenor.compiler.lower.byte_window import Rows, padded_rows, words_along, words_of_taps
from tenor.compiler.lower.storage import entry, repeat, strip
from tenor.compiler.lower.window import flat, nested, unflat
from tenor.ir.kernel import Affine, Expr, Store, ordered
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel, Part
    from tenor.ir.target import Target

__all__ = ["conv_int8", "prepare_bytes", "prepared_bytes"]

SLACK: Final = 512
"""Bytes behind a region of scratch that vectors may reach into."""


def conv_int8(kernel: Kernel, target: Target) -> Lowered:
    """Lower a convolution of bytes.

    Params: conv's, and fill: what padding holds.
    Buffers: x and w int8 and contiguous, and y int32; where a map follows, y is what it writes.
    """
    g = Geometry(kernel.params, target)
    if 0 in (g.n, g.rows, g.groups, prod(g.out)):
        return Lowered(entry(kernel)[0], 0)
    return _Convolution(kernel, target, g).write()


def prepared_bytes(kernel: Kernel, target: Target) -> int:
    """Return the bytes of a convolution's prepared weight."""
    g = Geometry(kernel.params, target)
    if 0 in (g.n, g.rows, g.groups, prod(g.out)):
        return 0
    return int(g.groups * _Panels(g, Cut.of(g, target)).group)


def prepare_bytes(kernel: Kernel, target: Target) -> Lowered:
    """Lower the kernel that brings a weight into panels. Buffers: the weight, and the panels."""
    g = Geometry(kernel.params, target)
    panels = _Panels(g, Cut.of(g, target))
    f, (w, to), begin, end, _ = entry(kernel)
    pack, count = panels.pack(), panels.cut.panels

    def tile(t: Value, _: list[Value]) -> None:
        group, panel = unflat(f, t, (g.groups, count))
        f.call(pack, [w, f.gep(to, f.mul(t, panels.size), "i8"), group, panel])

    f.loop(begin, end, 1, tile)
    return Lowered(f, g.groups * count, 0, g.groups * panels.group)


class _Panels:
    """A weight in panels: for each step of k, a word of each of a tile's channels.

    Where the machine takes the other operand's bytes shifted, a panel begins with what is to be
    taken off each channel's sums.
    """

    def __init__(self, g: Geometry, cut: Cut) -> None:
        self.g, self.cut = g, cut
        self.head = 4 * cut.rows if g.words.shifted else 0
        self.size = ceil((self.head + g.k * cut.rows * g.words.size) / 4) * 4
        self.group = cut.panels * self.size

    def pack(self) -> Function:
        """Return the function (weight, panel, group, number) that writes a panel."""
        g, rows, words = self.g, self.cut.rows, self.g.words
        f = Function("pack", [("w", "ptr"), ("to", "ptr"), ("group", "i64"), ("panel", "i64")])
        w, to, group, panel = f.params
        kind = "i16" if words.half else "i8"
        data = f.gep(to, self.head, "i8")
        length = g.source * prod(g.kernel)

        def row(r: Value, _: list[Value]) -> None:
            channel = f.add(f.mul(panel, rows), r)
            there = f.compare("slt", channel, g.rows)
            start = f.mul(f.add(f.mul(group, g.rows), channel), length)

            def step(k: Value, held: list[Value]) -> list[Value]:
                total = held[0]
                for e in range(words.group):
                    at, good = self._place(f, k, e)

                    def read(at: Value = at) -> list[Value]:
                        return [f.load("i8", w, f.add(start, at))]

                    x = f.if_(f.op("and", there, good), read, lambda: [f.const(0, "i8")])[0]
                    total = f.add(total, f.convert("sext", x, "i32"))
                    place = f.add(f.mul(f.add(f.mul(k, rows), r), words.group), e)
                    f.store(f.convert("sext", x, kind), data, place)
                return [total]

            total = f.loop(0, g.k, 1, step, [f.const(0, "i32")])[0]
            if words.shifted:
                f.store(f.mul(total, -128), to, r)

        f.loop(0, rows, 1, row)
        return f

    def _place(self, f: Function, k: Value, e: int) -> tuple[Value, Value]:
        """Return where number e of a step's word lies in a channel's weight, if it does."""
        g, group = self.g, self.g.words.group
        if g.by_tap:
            rest, last = unflat(f, k, (g.k // g.last, g.last))
            tap = f.add(f.mul(last, group), e)
            return f.add(f.mul(rest, g.kernel[-1]), tap), f.compare("slt", tap, g.kernel[-1])
        source, tap = unflat(f, k, (g.sources, prod(g.kernel)))
        channel = f.add(f.mul(source, group), e)
        return f.add(f.mul(channel, prod(g.kernel)), tap), f.compare("slt", channel, g.source)


class _Convolution:
    """A convolution being written."""

    def __init__(self, kernel: Kernel, target: Target, g: Geometry) -> None:
        self.kernel, self.target, self.g = kernel, target, g
        self.cut = cut = Cut.of(g, target)
        self.panels = _Panels(g, cut)
        self.ready = "prepared" in kernel.params
        self.places = cut.chunk * g.inner
        self.pitch = ceil(self.places / widest(target)) * widest(target)
        self.steady = prod(g.taps) == 1
        self.after = self._after(kernel.parts[0]) if kernel.parts else None
        self.sweeps: dict[int, Function] = {}

    def _after(self, part: Part) -> After:
        """Return the map that follows; it finds the sums of a piece where they are made."""
        return After(_near(part, self.pitch), self.target)

    def write(self) -> Lowered:
        """Write the function."""
        g, cut = self.g, self.cut
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.f = f
        self.x, self.w = self.buffers[:2]
        self.extents = (1,) if g.direct else g.extents(cut.chunk)
        self.channel = ceil((prod(self.extents) + 1) / 64) * 64
        held = 1 if g.by_tap else g.words.group
        self.rows = 0 if g.direct else ceil((held * self.channel + SLACK) / 64) * 64
        self.copied = ceil((g.copied(cut.chunk) * g.words.size + SLACK) / 64) * 64
        sizes = {
            "offsets": 0 if self.steady else 4 * g.k,
            "wide": 8 * g.k * cut.rows if self.target.choices else 0,
            "rows": cut.batch * self.rows, "copy": cut.batch * self.copied,
            "panels": 0 if self.ready else cut.batch * self.panels.group,
            "sums": 4 * ((cut.batch - 1) * g.rows + cut.rows) * self.pitch,
        }  # fmt: skip
        self.at, used = {}, 0
        for name, count in sizes.items():
            self.at[name] = f.gep(scratch, used, "i8")
            used += ceil((count + SLACK) / 64) * 64 if count else 0
        self._functions()
        if not self.steady:
            table = self._table()
            f.if_(f.compare("slt", begin, end), lambda: f.call(table, [self.at["offsets"]]))
        f.loop(begin, end, 1, self._tile)
        work = g.n * g.groups * g.rows * prod(g.out) * g.k
        return Lowered(f, g.n * prod(cut.grid), used, work * 8 // (g.width * 25) + 200)

    def _functions(self) -> None:
        """Make the functions tiles call."""
        g = self.g
        self.pack = None if self.ready else self.panels.pack()
        self.words = self._words()
        if not g.direct:
            rows = Rows(g.image, self.extents, g.low, g.fill)
            self.padded = padded_rows(
                "padded", rows, self.target.vector_bits // 8 if g.width > 1 else 1
            )

    def _table(self) -> Function:
        """Return the function that writes where each step's words begin."""
        f = Function("table", [("offsets", "ptr")])
        (offsets,) = f.params
        f.loop(0, self.g.k, 1, lambda k, _: f.store(
            f.convert("trunc_int", self.g.offset(f, self.cut.chunk, k), "i32"), offsets, k
        ))  # fmt: skip
        return f

    # -- a tile -------------------------------------------------------------------------------
    def _tile(self, t: Value, _: list[Value]) -> None:
        f, g, cut = self.f, self.g, self.cut
        image, share, part, chunk = unflat(f, t, (g.n, *cut.grid))
        self.image = image
        # Of one block alone it is known how long what is handed on is.
        self.begin = self.start = f.const(0, "i64")
        self.end: Value = f.const(g.out[0], "i64")
        if cut.chunks > 1:
            self.begin = f.mul(chunk, cut.chunk)
            # The last block is whole, too: what another has done already is not handed on.
            self.start = f.op("smin", self.begin, f.const(g.out[0] - cut.chunk, "i64"))
            self.end = f.op("smin", f.add(self.begin, cut.chunk), self.end)
        first = f.mul(share, cut.share)
        stop = f.op("smin", f.add(first, cut.share), f.const(g.groups, "i64"))

        def groups(i: Value) -> None:
            count: Value = f.const(cut.batch, "i64")
            if cut.batch > 1 and (cut.share % cut.batch or g.groups % cut.batch):
                count = f.op("smin", count, f.sub(stop, i))
            channel = f.mul(f.add(f.mul(image, g.groups), i), g.source)
            self._copy(f.gep(self.x, f.mul(channel, prod(g.image)), "i8"), count)
            low = f.mul(part, cut.part)
            high = f.op("smin", f.add(low, cut.part), f.const(cut.panels, "i64"))
            self._channels(i, count, low, high)

        repeat(f, first, stop, cut.batch, groups)

    def _copy(self, source: Value, count: Value) -> None:
        """Bring a block of windows of some groups into words, one thing after the other."""
        f, g, cut = self.f, self.g, self.cut
        group, plane = g.words.group, g.plane(cut.chunk)
        held = 1 if g.by_tap else group
        zero, image = f.const(0, "i64"), prod(g.image)

        def word(q: Value) -> None:
            at = f.mul(q, g.last * prod(g.phases) * plane * g.words.size)
            first = f.mul(q, held)
            left = f.op("smin", f.sub(f.const(g.source, "i64"), first), f.const(held, "i64"))

            def pad(i: Value) -> None:
                from_ = f.gep(source, f.mul(f.add(f.mul(i, g.source), first), image), "i8")
                to = f.gep(self.at["rows"], f.mul(i, self.rows), "i8")
                repeat(f, zero, left, 1, lambda e: f.call(self.padded, [
                    f.gep(from_, f.mul(e, image), "i8"), f.gep(to, f.mul(e, self.channel), "i8"),
                    f.mul(self.start, g.stride[0]),
                ]))  # fmt: skip

            def write(i: Value) -> None:
                from_ = f.gep(self.at["rows"], f.mul(i, self.rows), "i8")
                if g.direct:
                    channel = f.add(f.mul(i, g.source), first)
                    from_ = f.gep(source, f.add(f.mul(channel, image), self.start), "i8")
                to = f.gep(self.at["copy"], f.add(f.mul(i, self.copied), at), "i8")
                f.call(self.words, [to, from_, left])

            if not g.direct:
                repeat(f, zero, count, 1, pad)
            repeat(f, zero, count, 1, write)

        repeat(f, zero, f.const(g.sources, "i64"), 1, word)

    def _words(self) -> Function:
        """Return the function (to, from, channels) that writes the planes of a source."""
        g, cut = self.g, self.cut
        f = Function("words", [("to", "ptr"), ("from", "ptr"), ("channels", "i64")])
        to, from_, left = f.params
        lines, rank = g.lines(cut.chunk), len(g.phases)
        one = g.words.group if g.by_tap else 1
        step = g.image[0] if g.direct else self.channel
        last = f.sub(left, 1)
        # Beyond the last channel is the last again, and its weight is 0.
        channels = [f.op("smin", f.const(e, "i64"), last) for e in range(g.words.group)]
        far = [f.mul(channel, step) for channel in channels]

        def row(index: list[Value]) -> None:
            tap, phase, place = index[0], index[1 : 1 + rank], index[1 + rank :]
            line = flat(f, index, (g.last, *g.phases, *lines))
            steps = (1, *g.dilation[1:])
            met = [
                f.add(f.mul(h, s), f.mul(r, d))
                for h, s, r, d in zip(place, g.stride, phase, steps, strict=False)
            ]
            at = f.mul(flat(f, met, self.extents[:-1]), self.extents[-1])
            at = f.add(at, f.mul(tap, one * g.dilation[-1]))
            target = f.gep(to, f.mul(line, g.out[-1]), g.words.type)
            if g.by_tap:
                words_of_taps(f, g.words, target, f.gep(from_, at, "i8"), g.out[-1],
                              g.stride[-1], g.dilation[-1], g.width)  # fmt: skip
                return
            words_along(f, g.words, target, [f.gep(from_, f.add(at, e), "i8") for e in far],
                        cut.chunk if g.direct else g.out[-1], g.stride[-1], g.width,
                        exact=g.direct)  # fmt: skip

        nested(f, (g.last, *g.phases, *lines), row)
        return f

    def _channels(self, group: Value, count: Value, low: Value, high: Value) -> None:
        """Write panels of channels of some groups."""
        f, g, cut = self.f, self.g, self.cut
        zero, weights = f.const(0, "i64"), self.w
        if self.ready:
            weights = f.gep(self.w, f.mul(group, self.panels.group), "i8")
        elif self.pack is not None:
            weights, pack = self.at["panels"], self.pack

            def write(i: Value) -> None:
                repeat(f, low, high, 1, lambda j: f.call(pack, [
                    self.w, f.gep(self.at["panels"], self._panel_at(i, j), "i8"), f.add(group, i), j
                ]))  # fmt: skip

            repeat(f, zero, count, 1, write)

        def panel(j: Value, rows: int) -> None:
            self._panel(f.gep(weights, f.mul(j, self.panels.size), "i8"), rows, count)
            channel = f.add(f.mul(group, g.rows), f.mul(j, cut.rows))
            self._deliver(channel, f.mul(count, rows))

        rest = g.rows % cut.rows
        if not rest:
            repeat(f, low, high, 1, lambda j: panel(j, cut.rows))
            return
        whole = f.op("smin", high, f.const(cut.panels - 1, "i64"))
        repeat(f, low, whole, 1, lambda j: panel(j, cut.rows))
        repeat(f, whole, high, 1, lambda j: panel(j, rest))

    def _panel_at(self, group: Value, panel: Value) -> Value:
        """Return the byte at which a panel begins."""
        f = self.f
        return f.mul(f.add(f.mul(group, self.cut.panels), panel), self.panels.size)

    def _panel(self, weights: Value, rows: int, count: Value) -> None:
        """Write the sums of a panel's channels, of some groups, over the block's windows."""
        f, g, cut = self.f, self.g, self.cut
        asked = bool(self.target.choices)
        if asked:  # a panel's last rows are zeros: one function is enough
            rows = cut.rows
        if rows not in self.sweeps:
            steps = g.k if rows == 1 and g.k <= SHORT else 0
            widened = asked and rows > 1 and g.k * cut.rows >= g.width
            self.sweeps[rows] = Sweep(
                rows, cut.rows, cut.vectors, self.steady, steps, cut.batch > 1, widened
            ).function(self.target)
        given = {
            "x": self.at["copy"], "w": weights, "c": self.at["sums"], "table": self.at["offsets"],
            "wide": self.at["wide"], "places": self.places, "k": g.k, "step": g.plane(cut.chunk),
            "count": count, "x_far": self.copied, "w_far": self.panels.group,
            "c_far": 4 * g.rows * self.pitch,
        }  # fmt: skip
        wanted = (given[name] for name in self.sweeps[rows].param_names)
        f.call(self.sweeps[rows], [
            x if isinstance(x, Value) else f.const(x, "i64") for x in wanted
        ])  # fmt: skip

    def _deliver(self, channel: Value, rows: Value) -> None:
        """Hand the sums of some channels on, or store them."""
        f, g = self.f, self.g
        low, high = f.mul(self.begin, g.inner), f.mul(self.end, g.inner)
        skipped = f.mul(self.start, g.inner)
        if self.after is not None:
            at = f.add(f.mul(channel, self.pitch), skipped)
            near = f.gep(self.at["sums"], f.sub(0, at), "i32")
            where = (self.image, channel, rows)
            self.after.call(f, [*self.buffers, near], where, (low, high))
            return

        def row(r: Value, _: list[Value]) -> None:
            above = f.add(f.mul(self.image, g.groups * g.rows), f.add(channel, r))
            to = f.gep(self.buffers[2], f.mul(above, prod(g.out)), "i32")
            from_ = f.gep(self.at["sums"], f.sub(f.mul(r, self.pitch), skipped), "i32")
            strip(f, low, high, g.width, lambda i, n: f.store(
                f.load(vector("i32", n), from_, i), to, i))  # fmt: skip

        f.loop(0, rows, 1, row)


def _near(part: Part, pitch: int) -> Part:
    """Return a map that reads the sums of a piece, `pitch` from one channel to the next."""
    kernel = part.kernel
    private = next(i for i, wire in enumerate(part.wires) if wire < 0)
    made: dict[Expr, Expr] = {}
    for expr in ordered([s.expr for s in kernel.stores]):
        attrs = expr.attrs
        if expr.op == "load" and attrs[0] == private:
            strides = (0, pitch, *attrs[1].strides[2:])
            attrs = (attrs[0], Affine(strides), *attrs[2:])
        made[expr] = Expr(expr.op, tuple(made[a] for a in expr.args), attrs, expr.dtype)
    stores = [Store(s.buffer, s.affine, made[s.expr]) for s in kernel.stores]
    return replace(part, kernel=replace(kernel, stores=stores))
