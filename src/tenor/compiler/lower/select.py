"""Template of topk: the first few of an argsort, without sorting the rest.

A line is read once. What is smaller than the k-th smallest key so far is noted down; when the
notes are full they are sorted and all but the first k forgotten. A key equal to the k-th stands
further on than it, so in a stable order it comes after: nothing is lost by leaving it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.formats import any_lane
from tenor.compiler.lower.sort import key_types, merge_sort, sort_key
from tenor.compiler.lower.storage import entry, upper
from tenor.ir.loops import vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["topk"]

GRAIN: Final = 1 << 13
"""Elements a tile is worth handing to another thread for."""
NOTES: Final = 256
"""Candidates noted down between two sorts, if k is not more."""
ABREAST: Final = 4
"""Vectors looked at before the first branch: mostly none of their elements is a candidate."""


class Notes:
    """The candidates of one line: keys and places, the best so far in order before the rest.

    Attributes:
        f, x, dtype: The function, the line's buffer, and the dtype of its elements.
        inner: Elements from one of a line to the next.
        descending: Whether the largest come first.
        types: Of a key, and of a place.
        keys, places: Two halves each, of `stride` elements.
        k: How many are wanted.
    """

    def __init__(self, f: Function, kernel: Kernel, x: Value, scratch: Value, room: int) -> None:
        p = kernel.params
        self.f, self.x, self.dtype = f, x, kernel.buffers[0].dtype
        self.inner, self.descending, self.k = p["inner"], p["descending"], p["k"]
        self.types = key_types(self.dtype.itemsize, p["length"])
        # One more than there is room for, since a merge looks at the element after the last run.
        self.stride = -(-(room + 1) // 16) * 16
        self.keys = scratch
        self.places = f.gep(scratch, 2 * self.stride * int(self.types[0][1:]) // 8, "i8")

    def begin(self, base: Value) -> None:
        """Begin a line, whose first element is at base."""
        self.base = base

    def key(self, at: Value, count: int = 1) -> Value:
        """Return the keys of elements of the line."""
        raw = vector(f"i{8 * self.dtype.itemsize}", count)
        value = self.f.load(raw, self.x, self.f.add(self.base, self.f.mul(at, self.inner)))
        return sort_key(self.f, self.dtype, value, self.types[0], descending=self.descending)

    def write(self, n: Value, at: Value) -> None:
        """Note an element down as the n-th."""
        f = self.f
        f.store(self.key(at), self.keys, n)
        f.store(f.convert("trunc_int", at, self.types[1]), self.places, n)

    def forget(self, n: Value) -> list[Value]:
        """Sort n notes and forget all but the first k; return their count and the last's key."""
        f = self.f
        done = merge_sort(f, (self.keys, self.places), self.types, n, self.stride)

        def down(i: Value, _: list[Value]) -> None:
            at = f.add(done, i)
            for kind, array in zip(self.types, (self.keys, self.places), strict=True):
                f.store(f.load(kind, array, at), array, i)

        f.loop(0, self.k, 1, down)
        return [f.const(self.k, "i64"), f.load(self.types[0], self.keys, self.k - 1)]


def topk(kernel: Kernel, target: Target) -> Lowered:
    """Lower topk: the positions of the first k of x along its middle dim, in order.

    The order is argsort's: stable, NaN the largest.

    Params: outer, length, inner; k, from 1 to length; descending: the largest come first.
    Buffers: x [outer, length, inner] of any dtype, out [outer, k, inner] int64.
    """
    p = kernel.params
    length, inner, k, lines = p["length"], p["inner"], p["k"], p["outer"] * p["inner"]
    f, (x, out), begin, end, scratch = entry(kernel)
    width = target.lanes(8 * min(4, kernel.buffers[0].dtype.itemsize)) if inner == 1 else 1
    width = min(width, target.lanes(32))
    step = ABREAST * width
    first = min(length, k + max(k, NOTES))
    notes = Notes(f, kernel, x, scratch, first + step)
    per_tile = max(1, GRAIN // length)

    def line(n: Value, _: list[Value]) -> None:
        o, i = f.op("sdiv", n, inner), f.op("srem", n, inner)
        notes.begin(f.add(f.mul(o, length * inner), i))
        f.loop(0, first, 1, lambda at, _: notes.write(at, at))
        held = notes.forget(f.const(first, "i64"))
        if first < length:
            held = _scan(notes, first, length, width, step, held)
            notes.forget(held[0])

        def answer(c: Value, _: list[Value]) -> None:
            place = f.convert("sext", f.load(notes.types[1], notes.places, c), "i64")
            f.store(place, out, f.add(f.mul(f.add(f.mul(o, k), c), inner), i))

        f.loop(0, k, 1, answer)

    def tile(t: Value, _: list[Value]) -> None:
        low = f.mul(t, per_tile)
        f.loop(low, upper(f, low, per_tile, lines), 1, line)

    f.loop(begin, end, 1, tile)
    bytes_ = 2 * notes.stride * sum(int(t[1:]) // 8 for t in notes.types)
    return Lowered(f, -(-lines // per_tile), bytes_, lines * (length + 16 * first) // 2)


def _scan(
    notes: Notes, low: int, high: int, width: int, step: int, held: list[Value]
) -> list[Value]:
    """Look at the elements [low, high) of a line; return the count of notes and the k-th key."""
    f, room = notes.f, low

    def blocks(first: int, last: int, width: int, step: int, held: list[Value]) -> list[Value]:
        def block(i: Value, held: list[Value]) -> list[Value]:
            n, worst = held
            limit = f.splat(worst, width)
            places = [f.add(i, v) for v in range(0, step, width)]
            hits = [f.compare("slt", notes.key(at, width), limit) for at in places]
            any_hit = hits[0]
            for hit in hits[1:]:
                any_hit = f.op("or", any_hit, hit)

            def take() -> list[Value]:
                m = n
                for at, hit in zip(places, hits, strict=True):
                    m = _noted(notes, at, hit, width, m)
                full = f.compare("sgt", m, room)
                return f.if_(full, lambda: notes.forget(m), lambda: [m, worst])

            return f.if_(any_lane(f, any_hit), take, lambda: [n, worst])

        return f.loop(first, last, step, block, held)

    whole = low + (high - low) // step * step
    if whole > low:
        held = blocks(low, whole, width, step, held)
    return blocks(whole, high, 1, 1, held) if whole < high else held


def _noted(notes: Notes, at: Value, hit: Value, width: int, n: Value) -> Value:
    """Note down the lanes that are hit; return the count of notes."""
    f = notes.f
    if width == 1:
        f.if_(hit, lambda: notes.write(n, at))
        return f.add(n, f.convert("zext", hit, "i64"))

    def each() -> list[Value]:
        bits = f.convert("zext", f.convert("bitcast", hit, f"i{width}"), "i64")

        def one(state: list[Value]) -> list[Value]:
            left, count = state
            lane = f.unary("cttz", left)
            notes.write(count, f.add(at, lane))
            return [f.op("and", left, f.sub(left, 1)), f.add(count, 1)]

        return [f.while_([bits, n], lambda s: f.compare("ne", s[0], 0), one)[1]]

    return f.if_(any_lane(f, hit), each, lambda: [n])[0]
