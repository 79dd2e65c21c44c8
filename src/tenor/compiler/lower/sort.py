"""Template of argsort: (key, position) pairs in scratch, dealt out or, few of them, merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.radix import Radix
from tenor.compiler.lower.storage import entry, strip, upper
from tenor.ir.loops import element, lanes, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["argsort", "key_types", "merge_sort", "sort_key"]

GRAIN: Final = 1 << 12
"""Elements a tile is worth handing to another thread for."""
LONG: Final = 256
"""Elements of a line from which on counting bytes is worth its while."""
INFINITY: Final = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000,
                   "float64": 0x7FF0000000000000}  # fmt: skip


def sort_key(f: Function, dtype: DType, raw: Value, type_: str, *, descending: bool) -> Value:
    """Return a signed integer that orders as the element does; NaN above all, -0 equal to 0.

    A negative float's magnitude bits are inverted. Inverting the whole key reverses the order and
    leaves equal elements where they are.
    """
    wide = vector(type_, lanes(raw.type))
    if dtype.kind in ("uint", "bool"):
        key = f.convert("zext", raw, wide)
        if 8 * dtype.itemsize == int(element(type_)[1:]):
            key = f.op("xor", key, -(1 << (8 * dtype.itemsize - 1)))
    else:
        key = f.convert("sext", raw, wide)
    if dtype.kind == "float":
        magnitude = (1 << (8 * dtype.itemsize - 1)) - 1
        nan = f.compare("sgt", f.op("and", key, magnitude), INFINITY[dtype.name])
        sign = f.op("ashr", key, int(element(type_)[1:]) - 1)
        key = f.op("xor", key, f.op("and", sign, magnitude))
        key = f.select(f.compare("eq", key, -1), f.const(0, wide), key)  # -1 is -0
        key = f.select(nan, f.const((1 << (int(element(type_)[1:]) - 1)) - 1, wide), key)
    return f.op("xor", key, -1) if descending else key


def merge_pass(f: Function, arrays: tuple[Value, Value], types: tuple[str, str],
               length: Value | int, state: tuple[Value, Value, Value]) -> None:  # fmt: skip
    """Merge neighbouring runs of `width` pairs from offset `source` to offset `target`.

    The choice is a select, not a branch: which run is next cannot be predicted.
    """
    keys, places = arrays
    source, target, width = state

    def pair(carried: list[Value]) -> list[Value]:
        low = carried[0]
        middle = f.op("smin", f.add(low, width), length)
        high = f.op("smin", f.add(middle, width), length)

        def step(k: Value, cursors: list[Value]) -> list[Value]:
            i, j = cursors
            left = f.load(types[0], keys, f.add(source, i))
            right = f.load(types[0], keys, f.add(source, j))
            fits = f.op("and", f.compare("slt", i, middle), f.compare("sle", left, right))
            first = f.op("or", f.compare("sge", j, high), fits)
            f.store(f.select(first, left, right), keys, f.add(target, k))
            chosen = f.load(types[1], places, f.add(source, f.select(first, i, j)))
            f.store(chosen, places, f.add(target, k))
            moved = f.convert("zext", first, "i64")
            return [f.add(i, moved), f.add(j, f.sub(1, moved))]

        f.loop(low, high, 1, step, [low, middle])
        return [high]

    f.while_([f.const(0, "i64")], lambda c: f.compare("slt", c[0], length), pair)


def merge_sort(f: Function, arrays: tuple[Value, Value], types: tuple[str, str],
               length: Value | int, stride: int) -> Value:  # fmt: skip
    """Sort pairs by merging runs of 1, 2, 4, ...; return the offset the sorted ones stand at."""

    def once(state: list[Value]) -> list[Value]:
        source, target, width = state
        merge_pass(f, arrays, types, length, (source, target, width))
        return [target, source, f.add(width, width)]

    start = [f.const(0, "i64"), f.const(stride, "i64"), f.const(1, "i64")]
    return f.while_(start, lambda s: f.compare("slt", s[2], length), once)[0]


class Merge:
    """The merge sort of a line in scratch memory, being written.

    Attributes:
        f: The function it is written in.
        key, place: The types of a key and of a place.
        length: Elements of a line.
        size: The bytes of scratch.
        cost: Rough nanoseconds of a line.
    """

    def __init__(self, f: Function, itemsize: int, length: int, scratch: Value) -> None:
        self.f, self.length = f, length
        self.key, self.place = key_types(itemsize, length)
        # One more than the length, since a merge looks at the element after the last run.
        self.stride = -(-(length + 1) // 16) * 16
        keys, places = (2 * self.stride * int(t[1:]) // 8 for t in (self.key, self.place))
        self.arrays = (scratch, f.gep(scratch, keys, "i8"))
        self.size = keys + places
        self.cost = 4 * length * max(1, (length - 1).bit_length())

    def put(self, key: Value, at: Value) -> None:
        """Put the keys of neighbouring elements in, from one on."""
        f, count = self.f, lanes(key.type)
        f.store(key, self.arrays[0], at)
        place = f.splat(f.convert("trunc_int", at, self.place), count)
        f.store(f.add(place, f.iota(place.type)) if count > 1 else place, self.arrays[1], at)

    def sort(self) -> Value:
        """Sort; return where the sorted elements begin."""
        return merge_sort(self.f, self.arrays, (self.key, self.place), self.length, self.stride)

    def places(self, at: Value, count: int) -> Value:
        """Return the places of neighbouring sorted elements."""
        found = self.f.load(vector(self.place, count), self.arrays[1], at)
        return self.f.convert("sext", found, vector("i64", count))


def key_types(itemsize: int, length: int) -> tuple[str, str]:
    """Return the types of a key and of a place, for merges."""
    return "i32" if itemsize <= 4 else "i64", "i32" if length < 1 << 31 else "i64"


def argsort(kernel: Kernel, target: Target) -> Lowered:
    """Lower argsort: the positions that sort x along its middle dim; stable, NaN the largest.

    Params: outer, length, inner; descending (default False): NaN first, equal elements still in
    their order.
    Buffers: x [outer, length, inner] of any dtype, out [outer, length, inner] int64.
    """
    p = kernel.params
    length, inner, lines = p["length"], p["inner"], p["outer"] * p["inner"]
    dtype = kernel.buffers[0].dtype
    f, (x, out), begin, end, scratch = entry(kernel)
    order = (Radix if length >= LONG else Merge)(f, dtype.itemsize, length, scratch)
    raw = f"i{8 * dtype.itemsize}"
    width = target.lanes(64) if inner == 1 else 1
    per_tile = max(1, GRAIN // max(1, length))

    def line(n: Value, _: list[Value]) -> None:
        start = f.mul(f.op("sdiv", n, inner), length * inner)
        base = f.add(start, f.op("srem", n, inner))

        def fill(at: Value, count: int) -> None:
            value = f.load(vector(raw, count), x, f.add(base, f.mul(at, inner)))
            descending = p.get("descending", False)
            order.put(sort_key(f, dtype, value, order.key, descending=descending), at)

        strip(f, 0, length, width, fill)
        done = order.sort()

        def answer(at: Value, count: int) -> None:
            f.store(order.places(f.add(done, at), count), out, f.add(base, f.mul(at, inner)))

        strip(f, 0, length, width, answer)

    def tile(t: Value, _: list[Value]) -> None:
        low = f.mul(t, per_tile)
        f.loop(low, upper(f, low, per_tile, lines), 1, line)

    f.loop(begin, end, 1, tile)
    return Lowered(f, -(-lines // per_tile), order.size, lines * order.cost)
