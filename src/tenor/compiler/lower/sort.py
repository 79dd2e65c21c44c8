"""Template of argsort: a stable bottom-up merge sort of (key, position) pairs in scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.storage import entry, strip, upper
from tenor.ir.loops import element, lanes, vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["argsort"]

GRAIN: Final = 1 << 12
"""Elements a tile is worth handing to another thread for."""
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
    types = ("i32" if dtype.itemsize <= 4 else "i64", "i32" if length < 1 << 31 else "i64")
    # One more than the length, since a merge looks at the element after the last run.
    stride = -(-(length + 1) // 16) * 16
    key_bytes, place_bytes = (2 * stride * int(t[1:]) // 8 for t in types)
    arrays = (scratch, f.gep(scratch, key_bytes, "i8"))
    raw = f"i{8 * dtype.itemsize}"
    width = target.lanes(int(types[0][1:])) if inner == 1 else 1
    per_tile = max(1, GRAIN // max(1, length))

    def line(n: Value, _: list[Value]) -> None:
        start = f.mul(f.op("sdiv", n, inner), length * inner)
        base = f.add(start, f.op("srem", n, inner))

        def fill(at: Value, count: int) -> None:
            value = f.load(vector(raw, count), x, f.add(base, f.mul(at, inner)))
            key = sort_key(f, dtype, value, types[0], descending=p.get("descending", False))
            f.store(key, arrays[0], at)

        def number(at: Value, _: list[Value]) -> None:
            f.store(f.convert("trunc_int", at, types[1]), arrays[1], at)

        strip(f, 0, length, width, fill)
        f.loop(0, length, 1, number)
        done = merge_sort(f, arrays, types, length, stride)

        def answer(at: Value, _: list[Value]) -> None:
            place = f.load(types[1], arrays[1], f.add(done, at))
            f.store(f.convert("sext", place, "i64"), out, f.add(base, f.mul(at, inner)))

        f.loop(0, length, 1, answer)

    def tile(t: Value, _: list[Value]) -> None:
        low = f.mul(t, per_tile)
        f.loop(low, upper(f, low, per_tile, lines), 1, line)

    f.loop(begin, end, 1, tile)
    passes = max(1, (length - 1).bit_length())
    cost = 4 * lines * length * passes
    return Lowered(f, -(-lines // per_tile), key_bytes + place_bytes, cost)
