"""Templates of the kernels whose steps follow one another: fold, put, put_along, cumsum, argsort.

Every buffer is contiguous and row-major. A tile writes elements no other tile touches, in an
order that the kernel alone fixes, so any split of the tiles gives the same bits.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.put import put, put_along
from tenor.compiler.lower.select import topk
from tenor.compiler.lower.sort import argsort
from tenor.compiler.lower.storage import (
    compute_type,
    entry,
    load_element,
    memory_type,
    plus,
    repeat,
    store_element,
    strip,
    upper,
)
from tenor.ir.loops import vector
from tenor.ir.program import Lowered

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["TEMPLATES"]

GRAIN: Final = 1 << 14
"""Elements a tile is worth handing to another thread for."""
TOGETHER: Final = 4
"""Rows summed side by side: an addition takes as many cycles."""
UNROLL: Final = 32
"""Entries of a window up to which they are written out."""
BLOCK: Final = 256
"""Columns a tile carries along when it walks down a dim: their running values stay in cache."""


# -- fold -------------------------------------------------------------------------------------
def fold(kernel: Kernel, target: Target) -> Lowered:
    """Lower the transpose of unfold.

    out[o, p, i] = sum of x[o, w, i, k] over all w step + k dilation = p, w ascending.

    Params: outer, length, windows, size, step, dilation; inner (default 1).
    Buffers: x [outer, windows, inner, size], out [outer, length, inner]; one dtype.

    float16 and bfloat16 are added up in float32 in scratch and rounded once.
    """
    p = kernel.params
    inner = p.get("inner", 1)
    plane, patch = p["length"] * inner, inner * p["size"]
    per_tile = max(1, GRAIN // max(1, p["windows"] * patch))
    f, (x, out), begin, end, scratch = entry(kernel)
    dtype = kernel.buffers[0].dtype
    wide = dtype.compute is not dtype
    width = target.lanes(8 * dtype.compute.itemsize)

    def part(o: Value, _: list[Value]) -> None:
        result = f.gep(out, f.mul(o, plane), memory_type(dtype))
        total = scratch if wide else result

        def clear(i: Value, count: int) -> None:
            f.store(f.const(0, vector(compute_type(dtype), count)), total, i)

        def window(w: Value, _: list[Value]) -> None:
            place = f.mul(f.add(f.mul(o, p["windows"]), w), patch)
            source = f.gep(x, place, memory_type(dtype))
            onto = f.gep(total, f.mul(w, p["step"] * inner), compute_type(dtype))
            _add_window(f, kernel, source, onto, width)

        def finish(i: Value, count: int) -> None:
            store_element(f, dtype, load_element(f, dtype.compute, total, i, count), result, i)

        strip(f, 0, plane, width, clear)
        f.loop(0, p["windows"], 1, window)
        if wide:
            strip(f, 0, plane, width, finish)

    def tile(t: Value, _: list[Value]) -> None:
        low = f.mul(t, per_tile)
        f.loop(low, upper(f, low, per_tile, p["outer"]), 1, part)

    f.loop(begin, end, 1, tile)
    cost = p["outer"] * (p["windows"] * patch // 2 + plane // 4)
    return Lowered(f, -(-p["outer"] // per_tile), 4 * plane if wide else 0, cost)


def _add_window(f: Function, kernel: Kernel, source: Value, total: Value, width: int) -> None:
    """Add one window [inner, size] to the totals its entries fall on, `dilation` rows apart."""
    inner, size, dilation = (kernel.params.get(k, 1) for k in ("inner", "size", "dilation"))
    dtype = kernel.buffers[0].dtype
    apart = dilation * inner

    def add(read: Value | int, write: Value | int, count: int) -> None:
        before = load_element(f, dtype.compute, total, write, count)
        value = load_element(f, dtype, source, read, count)
        f.store(plus(f, dtype, before, value), total, write)

    def column(i: Value) -> None:
        read = f.mul(i, size)
        strip(f, 0, size, width if apart == 1 else 1, lambda k, n: add(
            f.add(read, k), f.add(i, f.mul(k, apart)), n))  # fmt: skip

    if inner * size <= UNROLL and not (apart == 1 and size >= width):
        for i, k in product(range(inner), range(size)):
            add(i * size + k, i + k * apart, 1)
    else:
        repeat(f, f.const(0, "i64"), f.const(inner, "i64"), 1, column)


# -- cumsum -----------------------------------------------------------------------------------
def cumsum(kernel: Kernel, target: Target) -> Lowered:
    """Lower the running sum: out[o, l, i] = x[o, 0, i] + ... + x[o, l, i], left to right.

    Params: outer, length, inner; reverse (default False): from the other end.
    Buffers: x and out, both [outer, length, inner]. x and out may be one buffer.

    float16 and bfloat16 are added up in float32; every stored sum is rounded once.
    """
    return (_cumsum_rows if kernel.params["inner"] == 1 else _cumsum_columns)(kernel, target)


def _cumsum_rows(kernel: Kernel, _target: Target) -> Lowered:
    """Lower a running sum along the last dim: a few rows at once, whose sums do not wait."""
    outer, length = kernel.params["outer"], kernel.params["length"]
    per_tile = max(TOGETHER, GRAIN // max(1, length))
    f, (x, out), begin, end, _ = entry(kernel)
    dtype = kernel.buffers[0].dtype
    zero = f.const(0, compute_type(dtype))

    def rows(o: Value, count: int) -> None:
        base = [f.mul(f.add(o, k), length) for k in range(count)]

        def step(n: Value, totals: list[Value]) -> list[Value]:
            place = _backward(f, kernel, n)
            at = [f.add(b, place) for b in base]
            values = [load_element(f, dtype, x, a) for a in at]
            totals = [plus(f, dtype, t, v) for t, v in zip(totals, values, strict=True)]
            for total, a in zip(totals, at, strict=True):
                store_element(f, dtype, total, out, a)
            return totals

        f.loop(0, length, 1, step, [zero] * count)

    def tile(t: Value, _: list[Value]) -> None:
        low = f.mul(t, per_tile)
        strip(f, low, upper(f, low, per_tile, outer), TOGETHER, rows)

    f.loop(begin, end, 1, tile)
    return Lowered(f, -(-outer // per_tile), 0, outer * length)


def _cumsum_columns(kernel: Kernel, target: Target) -> Lowered:
    """Lower a running sum along another dim: a block of columns is carried down in scratch."""
    outer, length, inner = (kernel.params[k] for k in ("outer", "length", "inner"))
    block = max(1, min(BLOCK, inner))
    across = -(-inner // block)
    f, (x, out), begin, end, scratch = entry(kernel)
    dtype = kernel.buffers[0].dtype
    wide = dtype.compute
    width = target.lanes(8 * dtype.compute.itemsize)

    def tile(t: Value, _: list[Value]) -> None:
        o, low = f.op("sdiv", t, across), f.mul(f.op("srem", t, across), block)
        columns = f.op("smin", f.sub(inner, low), block)

        def clear(i: Value, n: int) -> None:
            f.store(f.const(0, vector(compute_type(dtype), n)), scratch, i)

        def step(n: Value, _: list[Value]) -> None:
            row = f.mul(f.add(f.mul(o, length), _backward(f, kernel, n)), inner)
            base = f.add(row, low)

            def part(i: Value, count: int) -> None:
                at = f.add(base, i)
                total = load_element(f, wide, scratch, i, count)
                total = plus(f, dtype, total, load_element(f, dtype, x, at, count))
                f.store(total, scratch, i)
                store_element(f, dtype, total, out, at)

            strip(f, 0, columns, width, part)

        strip(f, 0, columns, width, clear)
        f.loop(0, length, 1, step)

    f.loop(begin, end, 1, tile)
    return Lowered(f, outer * across, block * wide.itemsize, outer * length * inner // 2)


def _backward(f: Function, kernel: Kernel, n: Value) -> Value:
    """Return the place of step n: from the end when reverse."""
    return f.sub(kernel.params["length"] - 1, n) if kernel.params.get("reverse") else n


TEMPLATES: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "fold": fold,
    "put": put,
    "put_along": put_along,
    "cumsum": cumsum,
    "argsort": argsort,
    "topk": topk,
}
"""The lowering of each kind of kernel that is neither a map, a reduction nor a contraction."""
