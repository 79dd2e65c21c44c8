"""Convolutions of one channel each over small images: channels side by side in vectors.

A row of a small image fills no vector, and a handful of rows is over before it has begun. So the
places of some channels are transposed, with zeros around them, until a vector holds one place of
each; windows then differ by whole vectors, whatever the stride. What comes out is transposed back.
Each element is one chain of fused steps over its taps in order.
"""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.after import after_of
from tenor.compiler.lower.blocking import lanes_of
from tenor.compiler.lower.epilogue import Leaving, epilogue_of
from tenor.compiler.lower.lane import transposed
from tenor.compiler.lower.microkernel import multiply_add
from tenor.compiler.lower.packing import lanes_out
from tenor.compiler.lower.storage import (
    compute_type,
    entry,
    load_element,
    memory_type,
    repeat,
    store_element,
)
from tenor.compiler.lower.ways import chosen, widest
from tenor.compiler.lower.window import unflat
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.compiler.lower.depthwise import Lines
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["DepthwiseLanes", "lanes_beside"]

NEAR: Final = 32 * 1024
"""Bytes of the transposed places, read and written, that the first-level cache still serves."""
LEAST: Final = 4
"""Lanes that are worth transposing for."""
REGISTERS: Final = 16
"""Vector registers that hold the taps of 3 x 3 and some sums."""


def lanes_beside(kernel: Kernel, target: Target, lines: Lines) -> int:
    """Return how many channels lie side by side; 0 where rows of one channel do better."""
    dtype, groups = kernel.buffers[0].dtype, kernel.params["groups"]
    lanes, width = lanes_of(dtype, widest(target)), lanes_of(dtype, target)
    fewest = min(prod(lines.image), prod(lines.out))
    most = NEAR // ((prod(_extents(lines)) + prod(lines.out)) * dtype.compute.itemsize)
    while lanes >= LEAST and (groups % lanes or fewest < lanes or most < lanes > width):
        lanes //= 2
    if lanes < LEAST or target.registers < REGISTERS or dtype.kind == "bool":
        return 0
    return lanes if lanes <= most else 0


def _extents(lines: Lines) -> tuple[int, int]:
    """Return the extents of an image with the zeros its windows meet."""
    rows, columns = (
        max((out - 1) * stride + max(offsets) + 1, low + image)
        for out, stride, offsets, low, image in zip(
            lines.out, lines.stride, lines.offsets, lines.low, lines.image, strict=True
        )
    )
    return rows, columns


class DepthwiseLanes:
    """A convolution being written.

    Args:
        kernel: What it is.
        target: The target.
        lines: Its windows.
        lanes: Channels side by side; they divide all channels. They may be more than a vector
            has: then windows are summed in vectors as wide as the machine's that is met.
    """

    def __init__(self, kernel: Kernel, target: Target, lines: Lines, lanes: int) -> None:
        self.kernel, self.target, self.lines, self.lanes = kernel, target, lines, lanes
        self.epilogue = epilogue_of(kernel, target, lanes)
        self.after = after_of(kernel, target) if self.epilogue is None else None
        self.n: int = kernel.params["n"]
        self.groups: int = kernel.params["groups"]
        self.ready = "prepared" in kernel.params
        # Whether the result keeps its channels side by side, or is turned back.
        self.beside = "result_beside" in kernel.params
        self.dtype = kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.kind = vector(compute_type(self.dtype), lanes)
        self.width = min(lanes, lanes_of(self.dtype, target))
        self.taps = prod(map(len, lines.offsets))
        self.extents = _extents(lines)
        self.parts = self.groups // lanes
        self.tiles = self.n * self.parts
        self.together = self._together(8 if target.registers > REGISTERS else 5)
        self.in_beside = "image_beside" in kernel.params

    def _together(self, most: int) -> int:
        """Return how many windows of a row are summed at once."""
        columns = self.lines.out[1]
        return min(range(1, min(most, columns) + 1), key=lambda j: ceil(columns / j) * (2 * j + 1))

    # -- writing ------------------------------------------------------------------------------
    @property
    def packed(self) -> int:
        """Elements of the prepared weight: a vector for each tap of some channels."""
        return self.groups * self.taps

    def prepare(self, kernel: Kernel) -> Lowered:
        """Write the function that transposes the weight: a tile is some channels."""
        f, (w, packed), begin, end, _ = entry(kernel)
        f.loop(begin, end, 1, lambda t, _: self._pack(f, w, packed, t, t))
        return Lowered(f, self.parts, 0, self.packed)

    def _pack(self, f: Function, w: Value, to: Value, part: Value, at: Value) -> None:
        """Write the transpose of the weights of channels number `part` to place `at`."""
        size = self.lanes * self.taps
        from_ = f.gep(w, f.mul(part, size), memory_type(self.dtype))
        near = f.gep(to, f.mul(at, size), compute_type(self.dtype))

        def lane(c: Value) -> None:
            def tap(t: Value) -> None:
                x = load_element(f, self.dtype, from_, f.add(f.mul(c, self.taps), t))
                store_element(f, self.compute, x, near, f.add(f.mul(t, self.lanes), c))

            repeat(f, f.const(0, "i64"), f.const(self.taps, "i64"), 1, tap)

        repeat(f, f.const(0, "i64"), f.const(self.lanes, "i64"), 1, lane)

    def write(self) -> Lowered:
        """Write the function."""
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.f = f
        size = self.lanes * self.compute.itemsize
        more = self.epilogue.bytes // size if self.epilogue is not None else 0
        sums = 0 if self.beside else prod(self.lines.out)
        counts = (prod(self.extents), sums, 0 if self.ready else self.taps, more)
        self.copy = scratch
        self.sums = f.gep(scratch, counts[0] * size, "i8")
        self.weights = f.gep(scratch, (counts[0] + counts[1]) * size, "i8")
        self.numbers = f.gep(scratch, sum(counts[:3]) * size, "i8")
        self.table = f.gep(scratch, sum(counts) * size, "i8")
        (rows, columns), (_, pitch), low = self.lines.image, self.extents, self.lines.low
        self.low = low[0] * pitch + low[1]
        tabled = 0 if self.in_beside else rows
        numbers = (tabled, columns, pitch, self.low, counts[0])
        f.call(self._around(), [self.copy, self.table, *(f.const(n, "i64") for n in numbers)])
        self.come_in = self._come_in() if self.in_beside else self._turn_in()
        self.turn_out = lanes_out(self.dtype, self.width, None if self.beside else self.epilogue)
        self.windows = self._windows()
        f.loop(begin, end, 1, self._tile)
        # Fifths of a nanosecond: a vector is turned in 7, and a step of its chain takes 5/4.
        come, go = prod(self.lines.image), prod(self.lines.out)
        each = (7 * come + (7 + self.taps * 5 // 4) * go) // 5 + 50
        used = ceil((sum(counts) * size + 4 * tabled * columns) / 64) * 64
        return Lowered(f, self.tiles, used, self.tiles * each)

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, lines = self.f, self.lines
        x, w, y = self.buffers[:3]
        kind = memory_type(self.dtype)
        image, part = unflat(f, t, (self.n, self.parts))
        self._bring(x, t, image, part)
        if self.ready:
            weights = f.gep(w, f.mul(part, self.lanes * self.taps), compute_type(self.dtype))
        else:
            weights = self.weights
            self._pack(f, w, weights, part, f.const(0, "i64"))
        places = f.const(prod(lines.out), "i64")
        begin, lanes = f.const(0, "i64"), f.const(self.lanes, "i64")
        where = (image, f.mul(part, self.lanes), lanes)
        given = []
        if self.epilogue is not None:
            given = self.epilogue.pointers(f, self.buffers, where, begin, self.numbers)
        numbers = [f.const(n, "i64") for n in (*lines.out, self.extents[1] * self.lanes)]
        if self.beside:
            at = f.mul(image, self.groups * prod(lines.out))
            to = f.gep(y, f.add(at, f.mul(part, self.lanes)), kind)
            pitch = f.const(self.groups, "i64")
            f.call(self.windows, [self.copy, weights, to, *numbers, pitch, *given])
            return
        f.call(self.windows, [self.copy, weights, self.sums, *numbers, lanes])
        to = f.gep(y, f.mul(t, self.lanes * prod(lines.out)), kind)

        def some(c: Value) -> None:
            at = f.mul(c, places)
            more = self.epilogue.moved(f, given, c, at) if self.epilogue is not None else []
            sums = f.gep(self.sums, c, compute_type(self.dtype))
            f.call(self.turn_out, [sums, f.gep(to, at, kind), places, lanes, places, *more])

        repeat(f, begin, lanes, self.width, some)
        if self.after is not None:
            self.after.call(f, self.buffers, where, (begin, places))

    def _bring(self, x: Value, t: Value, image: Value, part: Value) -> None:
        """Write a tile's places of an image between their zeros."""
        f, kind, (rows, columns) = self.f, memory_type(self.dtype), self.lines.image
        if not self.in_beside:
            source = f.gep(x, f.mul(t, self.lanes * rows * columns), kind)
            f.call(self.come_in, [source, self.copy, self.table, f.const(rows * columns, "i64")])
            return
        at = f.mul(image, self.groups * rows * columns)
        source = f.gep(x, f.add(at, f.mul(part, self.lanes)), kind)
        to = f.gep(self.copy, self.low * self.lanes, compute_type(self.dtype))
        numbers = (rows, columns, self.extents[1], self.groups)
        f.call(self.come_in, [source, to, *(f.const(n, "i64") for n in numbers)])

    # Extents are given, not written in, so that convolutions of one program share all of these.
    def _windows(self) -> Function:
        """Return the function that sums all windows of some channels.

        It takes the copy, the taps, where sums go; rows and columns of windows; elements of a row
        of the copy, and from one window's sums to the next; and the pointers of an epilogue that
        is done to them here.
        """
        names = [(n, "ptr") for n in ("copy", "taps", "to")]
        names += [(n, "i64") for n in ("rows", "columns", "line", "pitch")]
        names += self.epilogue.params if self.epilogue is not None and self.beside else []
        if self.width == self.lanes:
            return self._sums("windows", names, self.target)
        return chosen("windows", names, self.target,
                      lambda name, way: self._sums(name, names, way), wider=True)  # fmt: skip

    def _sums(self, name: str, names: list[tuple[str, str]], way: Target) -> Function:
        """Return that function for one machine: some neighbours of a row at a time."""
        f, lines = Function(name, names), self.lines
        copy, weight, to, rows, columns, line_, pitch, *given = f.params
        lanes, wide = min(self.lanes, lanes_of(self.dtype, way)), len(lines.offsets[1])
        kind, element = vector(compute_type(self.dtype), lanes), compute_type(self.dtype)
        down, across = lines.stride
        many = self.together
        # Columns of the copy in the order of the taps, and the windows that meet them.
        met: dict[int, list[tuple[int, int]]] = {}
        for j in range(many):
            for u, offset in enumerate(lines.offsets[1]):
                met.setdefault(j * across + offset, []).append((j, u))
        order = sorted(met, reverse=lines.offsets[1][0] > lines.offsets[1][-1])

        def part(c: Value) -> None:
            leaving = None
            if self.epilogue is not None and self.beside:
                more = self.epilogue.moved(f, given, c, f.const(0, "i64"))
                leaving = Leaving(self.epilogue, f, more, across=True)
                leaving.channel(0)
            source, sums = f.gep(copy, c, element), f.gep(to, c, element)
            taps = [f.load(kind, weight, f.add(c, i * self.lanes)) for i in range(self.taps)]

            def some(i: Value, at: Value) -> None:
                # The last piece ends where all end.
                j = f.op("smin", at, f.sub(columns, many))
                totals = [f.const(0, kind)] * many
                first = f.gep(source, f.mul(j, across * self.lanes), element)
                for t, row in enumerate(lines.offsets[0]):
                    near = f.gep(first, f.mul(f.add(f.mul(i, down), row), line_), element)
                    for column in order:
                        x = f.load(kind, near, column * self.lanes)
                        for k, u in met[column]:
                            totals[k] = multiply_add(f, self.compute, taps[t * wide + u], x,
                                                     totals[k])  # fmt: skip
                place = f.gep(sums, f.mul(f.add(f.mul(i, columns), j), pitch), element)
                for k, total in enumerate(totals):
                    made = total if leaving is None else leaving.value(total, 0)
                    f.store(made, place, f.mul(pitch, k))

            def row(i: Value, _: list[Value]) -> None:
                f.loop(0, columns, many, lambda at, _: some(i, at))

            f.loop(0, rows, 1, row)

        repeat(f, f.const(0, "i64"), f.const(self.lanes, "i64"), lanes, part)
        return f

    def _around(self) -> Function:
        """Return the function that writes zeros, and for each place of the image where it goes."""
        names = ("rows", "columns", "pitch", "low", "count")
        f = Function("around", [("copy", "ptr"), ("table", "ptr"), *((n, "i64") for n in names)])
        copy, table, rows, columns, pitch, low, count = f.params
        zero = f.const(0, self.kind)
        f.loop(0, count, 1, lambda i, _: f.store(zero, copy, f.mul(i, self.lanes)))

        def row(h: Value, _: list[Value]) -> None:
            at = f.add(low, f.mul(h, pitch))

            def place(x: Value, _: list[Value]) -> None:
                where = f.convert("trunc_int", f.mul(f.add(at, x), self.lanes), "i32")
                f.store(where, table, f.add(f.mul(h, columns), x))

            f.loop(0, columns, 1, place)

        f.loop(0, rows, 1, row)
        return f

    def _come_in(self) -> Function:
        """Return the function that copies some channels' places, side by side as they are."""
        names = ("rows", "columns", "pitch", "apart")
        f = Function("in", [("from", "ptr"), ("to", "ptr"), *((n, "i64") for n in names)])
        from_, to, rows, columns, pitch, apart = f.params

        def row(h: Value, _: list[Value]) -> None:
            source = f.gep(from_, f.mul(f.mul(h, columns), apart), memory_type(self.dtype))
            near = f.gep(to, f.mul(f.mul(h, pitch), self.lanes), compute_type(self.dtype))

            def place(i: Value, _: list[Value]) -> None:
                x = load_element(f, self.dtype, source, f.mul(i, apart), self.lanes)
                f.store(x, near, f.mul(i, self.lanes))

            f.loop(0, columns, 1, place)

        f.loop(0, rows, 1, row)
        return f

    def _turn_in(self) -> Function:
        """Return the function that brings some channels' places to where they go, transposed."""
        names = [("from", "ptr"), ("to", "ptr"), ("table", "ptr"), ("places", "i64")]
        f, width = Function("in", names), self.width
        from_, to, table, places = f.params
        last = f.sub(places, width)

        def some(c: Value) -> None:
            source = f.gep(from_, f.mul(c, places), memory_type(self.dtype))
            near = f.gep(to, c, compute_type(self.dtype))

            def block(i: Value, _: list[Value]) -> None:
                first = f.op("smin", i, last)
                rows = [load_element(f, self.dtype, source, f.add(first, f.mul(places, k)), width)
                        for k in range(width)]  # fmt: skip
                for d, v in enumerate(transposed(f, rows)):
                    at = f.load("i32", table, f.add(first, d))
                    f.store(v, near, f.convert("sext", at, "i64"))

            f.loop(0, places, width, block)

        repeat(f, f.const(0, "i64"), f.const(self.lanes, "i64"), width, some)
        return f
