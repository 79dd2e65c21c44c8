"""Templates of the writes at positions known only at run time: put and put_along.

Lines along the written dim are independent of each other; along a line the order of the index
decides. A tile is a block of neighbouring lines, so rows are copied and written in pieces. Where
much is copied and little written, a tile is a stretch of rows; it lists what is for them first, so
that what is read next can be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.frame import is_large
from tenor.compiler.lower.storage import (
    ROWS,
    Scratch,
    ask_for,
    compute_type,
    entry,
    load_element,
    plus,
    repeat,
    store_element,
    strip,
    upper,
)
from tenor.ir import dtype as dt
from tenor.ir.loops import vector
from tenor.ir.node import size
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.node import Shape
    from tenor.ir.target import Target

__all__ = ["put", "put_along"]

TILES: Final = 16
"""As many tiles as suffice for every core; wider blocks copy faster."""
STRETCH: Final = 1 << 14
"""Elements a stretch of rows has at the least."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The block of lines a tile owns, and where their values stand while they are written.

    float16 and bfloat16 are added up in float32 in scratch and rounded once at the end; all
    other values are written to the output in place.

    Attributes:
        f, dtype: The function under construction, and the dtype of its values.
        x, out, pointer: The input, the output, and where values stand meanwhile.
        fill: What x holds everywhere, where it is no buffer; else None.
        rows, inner: Rows the tile owns, and the extent of the dims after the written one.
        base: The first of them, of all rows.
        start: The first of them, along the written dim; None: it owns every row there.
        list: Where it lists which of the indices are its own.
        low, high: The block of lines.
        block: The widest block.
        wide: Whether values stand in scratch.
        width: Lanes of a vector.
        line: The alignment of vectors that are written past the caches, or 0.
    """

    f: Function
    dtype: DType
    x: Value
    fill: float | None
    out: Value
    pointer: Value
    rows: Value
    inner: int
    base: Value
    start: Value | None
    list: Value
    low: Value
    high: Value
    block: int
    wide: bool
    width: int
    line: int

    def place(self, row: Value, i: Value) -> Value:
        """Return where element (row, i) lies in x and out."""
        return self.f.add(self.f.mul(self.f.add(self.base, row), self.inner), i)

    def meanwhile(self, row: Value, i: Value) -> Value:
        """Return where element (row, i) stands while it is written."""
        if not self.wide:
            return self.place(row, i)
        return self.f.add(self.f.mul(row, self.block), self.f.sub(i, self.low))

    @property
    def stands_as(self) -> DType:
        """The dtype values stand in while they are written."""
        return dt.float32 if self.wide else self.dtype

    def each(self, body: Callable[[Value, Value, int], None]) -> None:
        """Run `body(row, i, lanes)` over the tile's elements."""
        f = self.f
        if self.block == self.inner:  # whole rows lie end to end
            zero = f.const(0, "i64")
            strip(f, 0, f.mul(self.rows, self.inner), self.width, lambda i, n: body(zero, i, n))
            return
        f.loop(0, self.rows, 1, lambda row, _: strip(
            f, self.low, self.high, self.width, lambda i, n: body(row, i, n)))  # fmt: skip

    def begin(self) -> None:
        """Copy x to where the values stand."""

        def copy(row: Value, i: Value, n: int) -> None:
            if self.fill is None:
                value = load_element(self.f, self.dtype, self.x, self.place(row, i), n)
            else:
                value = self.f.const(self.fill, vector(compute_type(self.dtype), n))
            line = self.line if n == self.width else 0
            store_element(self.f, self.stands_as, value, self.pointer, self.meanwhile(row, i),
                          align=line, stream=bool(line))  # fmt: skip

        self.each(copy)

    def chosen(self, index: Value, count: int) -> tuple[Value, Callable[[Value], Value]]:
        """Return how many of the indices are the tile's own, and which the k-th of them is."""
        f, start = self.f, self.start
        if start is None:
            return f.const(count, "i64"), lambda k: k

        def note(c: Value, held: list[Value]) -> list[Value]:
            f.store(c, self.list, held[0])  # written over by the next, unless it is its own
            own = f.compare("ult", f.sub(f.load("i64", index, c), start), self.rows)
            return [f.add(held[0], f.convert("zext", own, "i64"))]

        many = f.loop(0, count, 1, note, [f.const(0, "i64")])[0]
        return many, lambda k: f.load("i64", self.list, k)

    def write(self, row: Value, i: Value, value: Value, count: int, mode: str) -> None:
        """Set elements (row, i...) or add to them."""
        at = self.meanwhile(row, i)
        if mode == "add":
            before = load_element(self.f, self.stands_as, self.pointer, at, count)
            value = plus(self.f, self.dtype, before, value)
        store_element(self.f, self.stands_as, value, self.pointer, at)

    def finish(self) -> None:
        """Round what stands in scratch into the output."""

        def copy(row: Value, i: Value, n: int) -> None:
            value = load_element(self.f, dt.float32, self.pointer, self.meanwhile(row, i), n)
            store_element(self.f, self.dtype, value, self.out, self.place(row, i))

        if self.wide:
            self.each(copy)


def block_of(outer: int, inner: int) -> int:
    """Return how many neighbouring lines a tile takes: whole cache lines, enough tiles in all."""
    fair = -(-inner * outer // TILES)
    return min(inner, max(64, -(-fair // 16) * 16))


def stretches_of(outer: int, length: int, inner: int, count: int) -> int:
    """Return into how many stretches of rows the written dim is cut: each looks at every index."""
    enough = -(-TILES // outer)
    return max(1, min(enough, length * inner // max(STRETCH, 4 * count), length))


def lower_lines(
    kernel: Kernel,
    target: Target,
    extents: tuple[int, int, int],
    count: int,
    write: Callable[[Lines, tuple[Value, Value], Value], None],
    stretches: int = 1,
) -> Lowered:
    """Lower a kernel: each tile copies x, then runs `write(lines, (index, source), o)`.

    Extents: the dims before the written one, that one, the dims after it. Stretches: how many
    tiles share the rows of the written dim.
    """
    outer, length, inner = extents
    f, (*given, index, source, out), begin, end, scratch = entry(kernel)
    x, fill = given[0] if given else out, kernel.params.get("fill")
    dtype = kernel.buffers[-1].dtype
    wide = kernel.params["mode"] == "add" and dtype.compute is not dtype
    block = inner if outer * stretches >= TILES else block_of(outer, inner)
    width = target.lanes(8 * dtype.compute.itemsize)
    line = width * dtype.itemsize
    if wide or not kernel.buffers[-1].streamed or inner % width or block % width or width == 1:
        line = 0
    across = -(-inner // block)
    most = -(-length // stretches)
    stretches = -(-length // most) if length else 1
    spaces = Scratch(f, scratch)
    values = spaces.take(4 * most * block) if wide else out
    listed = spaces.take(8 * count if stretches > 1 else 0)

    def tile(t: Value, _: list[Value]) -> None:
        o, low, high = t, f.const(0, "i64"), f.const(inner, "i64")
        if across > 1:
            o, low = f.op("sdiv", t, across), f.mul(f.op("srem", t, across), block)
            high = upper(f, low, block, inner)
        start, rows = None, f.const(length, "i64")
        if stretches > 1:
            o, start = f.op("sdiv", o, stretches), f.mul(f.op("srem", o, stretches), most)
            rows = f.sub(upper(f, start, most, length), start)
        base = f.mul(o, length)
        lines = Lines(
            f, dtype, x, fill, out, values, rows, inner,
            base if start is None else f.add(base, start), start, listed, low, high, block, wide,
            width, line,
        )  # fmt: skip
        lines.begin()
        write(lines, (index, source), o)
        lines.finish()

    f.loop(begin, end, 1, tile)
    if line:
        f.fence()
    cost = outer * inner * (length + 2 * count) // 2
    return Lowered(f, outer * across * stretches, spaces.used, cost)


def put(kernel: Kernel, target: Target) -> Lowered:
    """Lower put: out = x, then out[o, index[c], i] = (or +=) source[o, c, i], c ascending.

    Params: outer, length, inner, count, mode ("set" or "add"), fill (the number x holds
    everywhere, then x is no buffer; or None).
    Buffers: x [outer, length, inner], index [count] int64 in [0, length), source
    [outer, count, inner], out [outer, length, inner]. x and out may be one buffer.
    """
    p = kernel.params

    def write(lines: Lines, buffers: tuple[Value, Value], o: Value) -> None:
        f = lines.f
        index, source = buffers

        many, which = lines.chosen(index, p["count"])
        first = f.const(0, "i64") if lines.start is None else lines.start

        def places(k: Value) -> tuple[Value, Value]:
            """Return the row that the k-th index names, and where what is written there begins."""
            c = which(k)
            at = f.mul(f.add(f.mul(o, p["count"]), c), p["inner"])
            return f.sub(f.load("i64", index, c), first), at

        def one(k: Value, _: list[Value]) -> None:
            if far:
                row, at = places(f.op("smin", f.add(k, ROWS), f.sub(many, 1)))
                meanwhile = lines.meanwhile(row, lines.low)
                ask_for(f, lines.dtype, source, f.add(at, lines.low), lines.block)
                ask_for(f, lines.stands_as, lines.pointer, meanwhile, lines.block)
            row, at = places(k)

            def part(i: Value, n: int) -> None:
                value = load_element(f, lines.dtype, source, f.add(at, i), n)
                lines.write(row, i, value, n, p["mode"])

            strip(f, lines.low, lines.high, lines.width, part)

        f.loop(0, many, 1, one)

    far = is_large(kernel.buffers[-1]) and p["inner"] > 1
    extents = (p["outer"], p["length"], p["inner"])
    stretches = stretches_of(*extents, p["count"])
    return lower_lines(kernel, target, extents, p["count"], write, stretches)


def relocate(f: Function, at: Value, big: Shape, small: Shape) -> tuple[Value | None, Value]:
    """Return whether a position in shape `big` lies in `small` (None: always), and where there."""
    if big == small:
        return None, at
    inside, place, stride, rest = f.const(1, "i1"), f.const(0, "i64"), 1, at
    for wide, narrow in zip(reversed(big), reversed(small), strict=True):
        coordinate, rest = f.op("srem", rest, wide), f.op("sdiv", rest, wide)
        if narrow < wide:
            inside = f.op("and", inside, f.compare("slt", coordinate, narrow))
        place = f.add(place, f.mul(coordinate, stride))
        stride *= narrow
    return inside, place


def put_along(kernel: Kernel, target: Target) -> Lowered:
    """Lower torch.scatter: out = x, then out[..., index[j], ...] = (or +=) source[j], row by row.

    Params: x_shape, index_shape, dim, mode ("set" or "add"), fill as for put. Off dim the
    index's extents do not exceed x's.
    Buffers: x [x_shape], index [index_shape] int64 in [0, x_shape[dim]), source [index_shape],
    out [x_shape]. x and out may be one buffer.
    """
    p = kernel.params
    dim, big, small = p["dim"], tuple(p["x_shape"]), tuple(p["index_shape"])
    count, across = small[dim], size(small[dim + 1 :])

    def write(lines: Lines, buffers: tuple[Value, Value], o: Value) -> None:
        f = lines.f
        index, source = buffers
        reached, part = relocate(f, o, big[:dim], small[:dim])
        zero = f.const(0, "i64")
        steps = f.const(count, "i64")

        def row(c: Value, _: list[Value]) -> None:
            base = f.mul(f.add(f.mul(part, count), c), across)

            def element(i: Value) -> None:
                inside, column = relocate(f, i, big[dim + 1 :], small[dim + 1 :])

                def one() -> None:
                    at = f.add(base, column)
                    value = load_element(f, lines.dtype, source, at)
                    lines.write(f.load("i64", index, at), i, value, 1, p["mode"])

                if inside is None:
                    one()
                else:
                    f.if_(inside, one)

            repeat(f, lines.low, lines.high, 1, element)

        f.loop(0, steps if reached is None else f.select(reached, steps, zero), 1, row)

    extents = (size(big[:dim]), big[dim], size(big[dim + 1 :]))
    return lower_lines(kernel, target, extents, count, write)
