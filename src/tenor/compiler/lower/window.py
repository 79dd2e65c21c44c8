"""Windows over an image: where their taps fall, and the padded copy they are read from.

The copy holds, for each channel, one plane for each residue of a position modulo the stride, so
that the same tap of neighbouring windows is always a neighbour in memory; rows follow each other
without a gap, so a run of windows may go on from one row into the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING

from tenor.compiler.lower.epilogue import Leaving
from tenor.compiler.lower.storage import (
    compute_type,
    load_element,
    memory_type,
    repeat,
    store_element,
)
from tenor.ir.loops import Function, Value, vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.compiler.lower.epilogue import Epilogue
    from tenor.ir.dtype import DType

__all__ = ["Padded", "Spread", "flat", "folded", "nested", "padded_copy", "spread_out", "unflat"]


def flat(f: Function, index: Sequence[Value], extents: Sequence[int]) -> Value:
    """Return the row-major position of an index."""
    at: Value = f.const(0, "i64")
    for i, n in zip(index, extents, strict=True):
        at = f.add(f.mul(at, n), i)
    return at


def unflat(f: Function, at: Value, extents: Sequence[int]) -> list[Value]:
    """Return the index of a row-major position."""
    index = []
    for d, n in reversed(list(enumerate(extents))):
        if n == 1:
            index.append(f.const(0, "i64"))
            continue
        index.append(f.op("urem", at, n) if d else at)
        at = f.op("udiv", at, n) if d else at
    return index[::-1]


def nested(f: Function, extents: Sequence[int], body: Callable[[list[Value]], None]) -> None:
    """Run `body(index)` over an index space, row-major."""

    def level(index: list[Value]) -> None:
        if len(index) == len(extents):
            body(index)
        elif extents[len(index)] == 1:
            level([*index, f.const(0, "i64")])
        else:
            f.loop(0, extents[len(index)], 1, lambda i, _: level([*index, i]))

    level([])


def folded(
    f: Function, extents: Sequence[int], start: Value,
    body: Callable[[list[Value], Value], Value],
) -> Value:  # fmt: skip
    """Return body folded over an index space, row-major: total = body(index, total)."""

    def level(index: list[Value], total: Value) -> Value:
        if len(index) == len(extents):
            return body(index, total)
        n = extents[len(index)]
        return f.loop(0, n, 1, lambda i, held: [level([*index, i], held[0])], [total])[0]

    return level([], start)


@dataclass(frozen=True)
class Padded:
    """The padded copy of some channels of an image.

    Position h of plane r holds the image's position steps * h + r - low, or 0 beyond its edges.

    Attributes:
        image: The image's extents.
        steps: Positions of the image from one of a plane to the next, for each dim.
        phases: Planes, for each dim: as many as any tap falls into.
        extents: Of a plane.
        low: Where the image begins, for each dim.
    """

    image: tuple[int, ...]
    steps: tuple[int, ...]
    phases: tuple[int, ...]
    extents: tuple[int, ...]
    low: tuple[int, ...]

    @property
    def pitches(self) -> tuple[int, ...]:
        """Elements from one position to the next, for each dim."""
        return tuple(prod(self.extents[d + 1 :]) for d in range(len(self.extents)))

    @property
    def is_inside(self) -> bool:
        """Whether it is a part of the image as it lies, up to its end."""
        fits = all(n <= m for n, m in zip(self.extents, self.image, strict=True))
        return fits and set(self.steps) == {1} and not any(self.low)

    @property
    def plane(self) -> int:
        """Elements of a plane."""
        return prod(self.extents)

    @property
    def channel(self) -> int:
        """Elements of a channel: all of its planes."""
        return prod(self.phases) * self.plane

    def run(self, windows: Sequence[int]) -> int:
        """Return the length of the run of positions that holds windows of these extents."""
        return 1 + sum((n - 1) * p for n, p in zip(windows, self.pitches, strict=True))


def padded_copy(name: str, shape: Padded, dtype: DType, width: int) -> Function:
    """Return the function (from, to, first, channels) that copies channels of an image.

    `first` is the position of the first dim the copy begins at. Vectors are stored whole and the
    next row overwrites what is too much: the copy needs a vector's room behind it.
    """
    f = Function(name, [("from", "ptr"), ("to", "ptr"), ("first", "i64"),
                        ("channels", "i64")])  # fmt: skip
    from_, to, first, channels = f.params
    *outer, _ = shape.extents
    rank = len(shape.extents)
    if rank > 1 and prod(shape.phases) == shape.steps[-1] == 1:
        _in_rows(f, shape, dtype, width)
        return f

    def row(index: list[Value]) -> None:
        channel, *rest = index
        phase, place = rest[:rank], rest[rank:]
        line = flat(f, [channel, *phase, *place], (1, *shape.phases, *outer))
        target = f.mul(line, shape.extents[-1])
        if rank > 1:
            place[0] = f.add(place[0], first)
        met = [
            f.sub(f.add(f.mul(h, s), r), low)
            for h, s, r, low in zip(place, shape.steps, phase, shape.low, strict=False)
        ]
        start = f.sub(phase[-1], shape.low[-1])
        if rank == 1:
            start = f.add(start, f.mul(first, shape.steps[-1]))
        good: Value = f.const(1, "i1")
        for at, n in zip(met, shape.image, strict=False):
            good = f.op("and", good, f.compare("ult", at, n))
        where = f.mul(flat(f, [channel, *met], (1, *shape.image[:-1])), shape.image[-1])
        source = f.gep(from_, where, _kind(dtype))
        extent = f.select(good, f.const(shape.image[-1], "i64"), f.const(0, "i64"))
        _line(f, dtype, source, f.gep(to, target, _kind(dtype.compute)), start, extent,
              shape, width, good)  # fmt: skip

    f.loop(0, channels, 1, lambda c, _: nested(
        f, (*shape.phases, *outer), lambda index: row([c, *index])))  # fmt: skip
    return f


def _in_rows(f: Function, shape: Padded, dtype: DType, width: int) -> None:
    """Copy whole rows, between zeros; the last vector of a row of the image ends with it."""
    from_, to, first, channels = f.params
    *outer, extent = shape.extents
    low, skipped = max(0, shape.low[-1]), max(0, -shape.low[-1])
    there = max(0, min(shape.image[-1] - skipped, extent - low))
    lanes = min(width, 1 << max(0, there.bit_length() - 1))
    kind = compute_type(dtype)

    def zeros(at: Value, count: int) -> None:
        zero = f.const(0, vector(kind, width))
        repeat(f, f.const(0, "i64"), f.const(count, "i64"), width,
               lambda i: store_element(f, dtype.compute, zero, to, f.add(at, i)))  # fmt: skip

    def row(index: list[Value]) -> None:
        channel, *place = index
        target = f.mul(flat(f, index, (1, *outer)), extent)
        place[0] = f.add(place[0], first)
        met = [
            f.sub(f.mul(h, s), before)
            for h, s, before in zip(place, shape.steps, shape.low, strict=False)
        ]
        good: Value = f.const(1, "i1")
        for at, n in zip(met, shape.image, strict=False):
            good = f.op("and", good, f.compare("ult", at, n))
        source = f.mul(flat(f, [channel, *met], (1, *shape.image[:-1])), shape.image[-1])

        def piece(i: Value) -> None:
            x = load_element(f, dtype, from_, f.add(f.add(source, skipped), i), lanes)
            store_element(f, dtype.compute, x, to, f.add(f.add(target, low), i))

        def copy() -> None:
            zeros(target, low)
            whole = there // lanes * lanes
            repeat(f, f.const(0, "i64"), f.const(whole, "i64"), lanes, piece)
            if whole < there:
                piece(f.const(there - lanes, "i64"))
            zeros(f.add(target, low + there), extent - low - there)

        if there:
            f.if_(good, copy, lambda: zeros(target, extent))
        else:
            zeros(target, extent)

    f.loop(0, channels, 1, lambda c, _: nested(f, outer, lambda index: row([c, *index])))


def _kind(dtype: DType) -> str:
    return memory_type(dtype)


def _one(f: Function, dtype: DType, pointer: Value) -> list[Value]:
    return [load_element(f, dtype, pointer, 0)]


def _line(
    f: Function, dtype: DType, source: Value, target: Value, start: Value, extent: Value,
    shape: Padded, width: int, there: Value,
) -> None:  # fmt: skip
    """Copy elements start, start + step, ... of a row; 0 for those outside [0, extent).

    `there` says whether the row is: all but its ends is then read without a mask.
    """
    step, count = shape.steps[-1], shape.extents[-1]
    if step > 2:
        width = 1
    inside = _inside(shape, step, width) if len(shape.extents) > 1 else range(0)
    # 32 bits hold a place of a row, and half the vectors of 64 do.
    wide = vector("i32", width)
    end = f.splat(f.convert("trunc_int", extent, "i32"), width)

    def whole(i: Value) -> None:
        at = f.add(start, f.mul(i, step))
        x, *more = [load_element(f, dtype, source, f.add(at, piece * width), width)
                    for piece in range(step)]  # fmt: skip
        store_element(f, dtype.compute, _evens(f, x, more, width), target, i)

    def part(i: Value, _: list[Value]) -> None:
        if not inside:
            masked(i)
            return
        fast = f.op("and", there, f.compare("ult", f.sub(i, inside.start), len(inside)))
        f.if_(fast, lambda: whole(i), lambda: masked(i))

    def masked(i: Value) -> None:
        at = f.add(start, f.mul(i, step))
        pieces = []
        for piece in range(step if width > 1 else 1):
            lane = f.splat(f.convert("trunc_int", f.add(at, piece * width), "i32"), width)
            if width > 1:
                lane = f.add(lane, f.iota(wide))
            good = f.compare("ult", lane, end)
            from_ = f.gep(source, f.add(at, piece * width), _kind(dtype))
            if width == 1:
                zero = f.const(0, compute_type(dtype))
                pieces += f.if_(good, partial(_one, f, dtype, from_), lambda: [zero])  # noqa: B023
            else:
                pieces.append(load_element(f, dtype, from_, 0, width, mask=good))
        store_element(f, dtype.compute, _evens(f, pieces[0], pieces[1:], width), target, i)

    f.loop(0, count, width, part)


def _evens(f: Function, x: Value, more: list[Value], width: int) -> Value:
    """Return every other lane of two vectors; one alone as it is."""
    return f.shuffle(x, more[0], range(0, 2 * width, 2)) if more else x


def _inside(shape: Padded, step: int, width: int) -> range:
    """Return where vectors of a row begin that hold nothing from beyond the image's edges."""
    low = shape.low[-1]
    first = max(0, -(-low // step))
    first = -(-first // width) * width
    last = (shape.image[-1] - step * width + low - (shape.phases[-1] - 1)) // step
    found = range(first, max(first, last + 1))
    return found if width > 1 and len(found) > width else range(0)


@dataclass(frozen=True)
class Spread:
    """Sums of windows, and the places of a result they belong to.

    Attributes:
        windows: Extents of the windows there are sums of.
        pitches: Elements from one window's sum to the next, for each dim.
        row: Elements from one channel's sums to the next.
        out: The result's extents.
        steps: Places from one window to the next, for each dim.
    """

    windows: tuple[int, ...]
    pitches: tuple[int, ...]
    row: int
    out: tuple[int, ...]
    steps: tuple[int, ...]


def spread_out(
    name: str, spread: Spread, dtype: DType, width: int, epilogue: Epilogue | None = None
) -> Function:
    """Return the function (sums, out, channels, first, residue of each dim) that writes results.

    Window h of dim d goes to place h * steps[d] + residue, and to none beyond the result; those of
    the first dim are counted from window `first` on. An epilogue needs steps of 1, and results of
    the dtype of sums; its pointers are those of the result's first channel and come last.
    """
    residues = [(f"r{d}", "i64") for d in range(len(spread.out))]
    params = [("sums", "ptr"), ("out", "ptr"), ("channels", "i64"), ("first", "i64"), *residues]
    f = Function(name, params + (epilogue.params if epilogue is not None else []))
    sums, out, channels, first, *residue = f.params[: len(params)]
    starts = [f.add(f.mul(first, spread.steps[0]), residue[0]), *residue[1:]]
    if _in_line(spread):
        starts = [f.mul(first, prod(spread.out[1:]))]
        spread = replace(spread, windows=(prod(spread.windows),), pitches=(1,),
                         out=(prod(spread.out),), steps=(1,))  # fmt: skip
    *windows, _ = spread.windows

    def line(o: Value, index: list[Value]) -> None:
        place = [
            f.add(f.mul(h, s), start)
            for h, s, start in zip(index, spread.steps, starts, strict=False)
        ]
        good: Value = f.const(1, "i1")
        for at, n in zip(place, spread.out, strict=False):
            good = f.op("and", good, f.compare("slt", at, n))

        def write() -> None:
            at = f.mul(o, spread.row)
            for h, pitch in zip(index, spread.pitches, strict=False):
                at = f.add(at, f.mul(h, pitch))
            where = f.mul(flat(f, [o, *place], (1, *spread.out[:-1])), spread.out[-1])
            from_ = f.gep(sums, at, _kind(dtype.compute))
            at = f.add(where, starts[-1])
            leaving = None
            if epilogue is not None:
                moved = epilogue.moved(f, f.params[len(params) :], o, at)
                leaving = Leaving(epilogue, f, moved)
                leaving.channel(0)
            _row(f, spread, dtype, width, from_, f.gep(out, at, _kind(dtype)), starts[-1], leaving)

        f.if_(good, write)

    f.loop(0, channels, 1, lambda o, _: nested(f, windows, lambda index: line(o, index)))
    return f


def _in_line(spread: Spread) -> bool:
    """Tell whether sums lie in memory as the result does: each channel is one run."""
    pitches = tuple(prod(spread.windows[d + 1 :]) for d in range(len(spread.windows)))
    return (spread.pitches, spread.windows[1:], set(spread.steps)) == (
        pitches, spread.out[1:], {1})  # fmt: skip


def _row(
    f: Function, spread: Spread, dtype: DType, width: int, from_: Value, to: Value, start: Value,
    leaving: Leaving | None,
) -> None:  # fmt: skip
    """Write one row of sums, whose first place is `start`."""
    step, kind = spread.steps[-1], _kind(dtype.compute)
    left = f.sub(f.const(spread.out[-1] + step - 1, "i64"), start)
    count = f.op("smin", f.op("udiv", left, step), spread.windows[-1])
    if step > 1 or dtype is not dtype.compute or width == 1:
        f.loop(0, count, 1, lambda i, _: store_element(
            f, dtype, f.load(kind, from_, i), to, f.mul(i, step)))  # fmt: skip
        return
    whole = f.sub(count, f.op("urem", count, width))
    wide = vector(kind, width)

    def piece(i: Value, mask: Value | None) -> None:
        x = f.load(wide, from_, i)
        f.store(x if leaving is None else leaving.value(x, i, mask), to, i, mask=mask)

    f.loop(0, whole, width, lambda i, _: piece(i, None))

    def rest(i: Value, _: list[Value]) -> None:
        lane = f.add(f.splat(i, width), f.iota(vector("i64", width)))
        mask = f.compare("slt", lane, f.splat(count, width))
        piece(i, mask)

    f.loop(whole, count, width, rest)
