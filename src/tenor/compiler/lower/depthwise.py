"""Convolutions of one channel each: rows of an image meet their taps in registers.

A few rows of a channel are copied with zeros around them, columns of one residue modulo the
stride side by side; then some rows of the result are summed at once, so that what is loaded meets
every row it belongs to. Each element is one chain of fused steps over its taps in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.lower.after import after_of
from tenor.compiler.lower.blocking import lanes_of, parted, tiles_for, usual
from tenor.compiler.lower.epilogue import Leaving, epilogue_of
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.microkernel import multiply_add, stretch, sweep
from tenor.compiler.lower.storage import (
    compute_type,
    entry,
    load_element,
    memory_type,
    repeat,
    store_element,
)
from tenor.compiler.lower.window import unflat
from tenor.ir.loops import Function, Value, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = ["Depthwise", "Lines", "lines_of"]

TAPS: Final = 32
"""Taps at the most: they are written out."""
BANDWIDTH: Final = 30
"""Bytes a nanosecond that images come and go at."""
COPY: Final = 12 * 1024
"""Bytes of the copied rows: with what they come from and go to the first-level cache holds them."""


@dataclass(frozen=True)
class Lines:
    """Windows of one channel, over (rows, columns).

    Place h of the padded channel holds place h - low of the image; window p meets it at
    p * stride + offset of a tap.

    Attributes:
        image: Extents of what is read.
        out: Extents of the result.
        stride: From one window to the next.
        low: Zeros before the image.
        offsets: For each dim, the offset of each tap, in the order they are added.
    """

    image: tuple[int, int]
    out: tuple[int, int]
    stride: tuple[int, int]
    low: tuple[int, int]
    offsets: tuple[tuple[int, ...], tuple[int, ...]]


def lines_of(p: dict[str, Any], *, forward: bool) -> Lines | None:
    """Return a convolution, or an input gradient, as windows of single channels; None: it is not.

    Args:
        p: The kernel's params.
        forward: Whether it is a convolution.
    """
    rank = len(p["kernel"])
    if not p["groups"] == p["channels_in"] == p["channels_out"] or rank > 2:
        return None
    image, out = (p[f"spatial_{name}"] for name in (("in", "out") if forward else ("out", "in")))
    stride, dims = p["stride"], zip(p["kernel"], p["dilation"], p["padding"], strict=True)
    if prod(p["kernel"]) > TAPS or stride[-1] > 2 or not (forward or prod(stride) == 1):
        return None
    low, offsets = [], []
    for taps, apart, (before, _) in dims:
        reach = (taps - 1) * apart
        low.append(before if forward else reach - before)
        ahead = tuple(t * apart for t in range(taps))
        offsets.append(ahead if forward else ahead[::-1])
    if min(low) < 0:
        return None
    return Lines(_two(image, 1), _two(out, 1), _two(stride, 1), _two(low, 0),
                 _two(offsets, (0,)))  # fmt: skip


def _two(given: Any, one: Any) -> Any:
    return (one, given[0]) if len(given) == 1 else tuple(given)


class Depthwise:
    """A convolution being written.

    Args:
        kernel: What it is.
        target: The target.
        lines: Its windows.
    """

    def __init__(self, kernel: Kernel, target: Target, lines: Lines) -> None:
        self.kernel, self.lines = kernel, lines
        self.n, self.groups = kernel.params["n"], kernel.params["groups"]
        self.dtype = kernel.buffers[0].dtype
        self.compute = self.dtype.compute
        self.width = lanes_of(self.dtype, target)
        (_, columns), (down, across) = lines.out, lines.stride
        self.lanes = min(self.width, 1 << (columns - 1).bit_length())
        self.rows = 4 if target.registers > 16 else 2
        self.taps = prod(map(len, lines.offsets))
        self.reach = max(lines.offsets[0])
        self._lay_out(columns, across)
        self._cut(down)
        epilogue = epilogue_of(kernel, target, 1)
        if epilogue is not None and epilogue.streams and columns % self.lanes:
            epilogue = None  # what lies beside may be written over, and some places are done twice
        self.epilogue = epilogue
        self.after = after_of(kernel, target) if epilogue is None else None

    def _lay_out(self, columns: int, across: int) -> None:
        """Choose how a copied row lies: its columns of each residue, and room behind them."""
        lines, lanes = self.lines, self.lanes
        last = max(columns, lanes) + max(lines.offsets[1]) // across
        end = ceil((lines.low[1] + lines.image[1]) / across) + self.width
        self.pitch = ceil(max(last, end) / 16) * 16
        self.line = across * self.pitch

    def _cut(self, down: int) -> None:
        """Cut rows of the result so that what a tile reads and writes stays near."""
        height, width = self.lines.out
        fits = COPY // (self.line * self.compute.itemsize) - self.reach - 1
        most = max(self.rows, fits // down + 1)
        self.work = self.n * self.groups * height * width * self.taps
        often = usual(self.n) * self.groups
        wanted = ceil(tiles_for(often * height * width * self.taps) / often)
        self.chunk = parted(height, self.rows, most, wanted)
        self.chunks = ceil(height / self.chunk)
        self.copied = (min(self.chunk, height) - 1) * down + self.reach + 1
        self.tiles = self.n * self.groups * self.chunks

    # -- writing ------------------------------------------------------------------------------
    def write(self) -> Lowered:
        """Write the function."""
        f, self.buffers, begin, end, scratch = entry(self.kernel)
        self.table, used = scratch, 0
        if self.epilogue is not None:
            used = ceil(self.epilogue.bytes / 64) * 64
        self.copy = f.gep(scratch, used, "i8")
        self.f = f
        self.copy_row = self._copy_row()
        self.functions: dict[int, Function] = {}
        zero = self._zeros(f)
        count = self.copied * self.line
        repeat(f, f.const(0, "i64"), f.const(count, "i64"), 16, lambda i: zero(self.copy, i))
        f.loop(begin, end, 1, self._tile)
        used += count * self.compute.itemsize
        # Small images wait for what they are copied from and written to, not for their taps.
        pixels = self.n * self.groups * (prod(self.lines.image) + prod(self.lines.out))
        moving = pixels * self.dtype.itemsize // BANDWIDTH
        cost = max(moving, self.work // (3 * self.lanes)) + self.tiles * 20
        return Lowered(f, self.tiles, ceil(used / 64) * 64, cost)

    def _zeros(self, f: Function) -> Callable[[Value, Value], None]:
        """Return what writes 16 zeros."""
        wide = min(16, self.width)
        kind = vector(compute_type(self.compute), wide)

        def write(pointer: Value, at: Value) -> None:
            for i in range(0, 16, wide):
                f.store(f.const(0, kind), pointer, f.add(at, i))

        return write

    def _copy_row(self) -> Function:
        """Return the function (from, to) that copies a row of the image between its zeros."""
        f = Function("copy", [("from", "ptr"), ("to", "ptr")])
        from_, to = f.params
        (_, count), across, low = self.lines.image, self.lines.stride[1], self.lines.low[1]
        lanes = min(self.width, 1 << (ceil(count / across) - 1).bit_length())
        step = across * lanes
        kind = compute_type(self.dtype)

        def part(at: Value, left: int) -> None:
            pieces = [
                load_element(f, self.dtype, from_, f.add(at, i), lanes,
                             mask=first_lanes(f, min(lanes, left - i), lanes))
                if left > i else f.const(0, vector(kind, lanes))
                for i in range(0, step, lanes)
            ]  # fmt: skip
            place = f.op("udiv", at, across)
            for phase in range(across):
                x = pieces[0]
                if across > 1 and lanes > 1:
                    x = f.shuffle(pieces[0], pieces[1], range(phase, step, across))
                elif across > 1:
                    x = pieces[phase]
                far, plane = divmod(low + phase, across)
                f.store(x, to, f.add(place, plane * self.pitch + far))

        full = count // step * step
        repeat(f, f.const(0, "i64"), f.const(full, "i64"), step, lambda at: part(at, step))
        if full < count and full and (count - step) % across == 0:
            part(f.const(count - step, "i64"), step)  # no mask, which few machines have
        elif full < count:
            part(f.const(full, "i64"), count - full)
        return f

    def _windows(self, rows: int) -> Function:
        """Return the function (copy, weight, out) that writes some rows of the result."""
        if rows in self.functions:
            return self.functions[rows]
        epilogue = self.epilogue
        names = [("copy", "ptr"), ("weight", "ptr"), ("out", "ptr")]
        f = Function(f"rows{rows}", names + (epilogue.params if epilogue is not None else []))
        copy, weight, out, *given = f.params
        leaving = Leaving(epilogue, f, given) if epilogue is not None else None
        if leaving is not None:
            leaving.channel(0)
        (_, columns), (down, across) = self.lines.out, self.lines.stride
        offsets, lanes = self.lines.offsets, self.lanes
        wide = len(offsets[1])
        weights = [f.splat(load_element(f, self.dtype, weight, t), lanes) for t in range(self.taps)]
        # Rows of the copy in the order of the taps, and the rows of the result that meet them.
        met: dict[int, list[tuple[int, int]]] = {}
        for r in range(rows):
            for t, offset in enumerate(offsets[0]):
                met.setdefault(r * down + offset, []).append((r, t))
        order = sorted(met, reverse=offsets[0][0] > offsets[0][-1])
        kind = vector(compute_type(self.dtype), lanes)

        def block(x: Value, mask: Value | None) -> None:
            sums = [f.const(0, kind)] * rows
            for line in order:
                for u, offset in enumerate(offsets[1]):
                    far, plane = divmod(offset, across)[0], offset % across
                    at = line * self.line + plane * self.pitch + far
                    near = f.load(kind, copy, f.add(x, at))
                    for r, t in met[line]:
                        sums[r] = multiply_add(f, self.compute, weights[t * wide + u], near,
                                               sums[r])  # fmt: skip
            for r, total in enumerate(sums):
                place = f.add(x, r * columns)
                made = total if leaving is None else leaving.value(total, place, mask)
                store_element(f, self.dtype, made, out, place, mask=mask)

        if columns < lanes:
            block(f.const(0, "i64"), first_lanes(f, columns, lanes))
        else:
            full = columns // lanes * lanes
            repeat(f, f.const(0, "i64"), f.const(full, "i64"), lanes, lambda x: block(x, None))
            if full < columns:  # the last vector begins where it ends with the row
                block(f.const(columns - lanes, "i64"), None)
        self.functions[rows] = f
        return f

    def _tile(self, t: Value, _: list[Value]) -> None:
        f, lines = self.f, self.lines
        x, w, y = self.buffers[:3]
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        (height, columns), down = lines.out, lines.stride[0]
        image, group, chunk = unflat(f, t, (self.n, self.groups, self.chunks))
        which = f.add(f.mul(image, self.groups), group)
        first = f.mul(chunk, self.chunk)
        source = f.gep(x, f.mul(which, prod(lines.image)), kind)
        self._fill(source, f.sub(f.mul(first, down), lines.low[0]))
        weight = f.gep(w, f.mul(group, self.taps), kind)
        low = f.mul(first, columns)
        out = f.gep(y, f.add(f.mul(which, height * columns), low), kind)
        rows = stretch(f, first, height, self.chunk, self.rows)
        epilogue, given = self.epilogue, list[Value]()
        where = (image, group, f.const(1, "i64"))
        if epilogue is not None:
            given = epilogue.pointers(f, self.buffers, where, low, self.table)

        def some(r: Value, size: int) -> None:
            near = f.gep(self.copy, f.mul(r, down * self.line), packed)
            at = f.mul(r, columns)
            to = f.gep(out, at, kind)
            zero = f.const(0, "i64")
            more = epilogue.moved(f, given, zero, at) if epilogue is not None else []
            f.call(self._windows(size), [near, weight, to, *more])

        sweep(f, rows, some)
        if self.after is not None:
            run = (low, f.add(low, f.mul(rows.count, columns)))
            self.after.call(f, self.buffers, where, run)

    def _fill(self, source: Value, first: Value) -> None:
        """Copy the rows a tile meets, from row `first` of the image on."""
        f, (height, columns) = self.f, self.lines.image
        kind, packed = memory_type(self.dtype), compute_type(self.dtype)
        zero = self._zeros(f)

        def row(h: Value) -> None:
            at = f.add(first, h)
            to = f.gep(self.copy, f.mul(h, self.line), packed)

            def take() -> None:
                f.call(self.copy_row, [f.gep(source, f.mul(at, columns), kind), to])

            def clear() -> None:
                repeat(f, f.const(0, "i64"), f.const(self.line, "i64"), 16,
                       lambda i: zero(to, i))  # fmt: skip

            f.if_(f.compare("ult", at, height), take, clear)

        repeat(f, f.const(0, "i64"), f.const(self.copied, "i64"), 1, row)
