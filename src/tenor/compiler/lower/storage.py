"""What the templates share: a kernel's frame, and elements in memory and in registers."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.ir import dtype as dt
from tenor.ir.loops import Function, Value, lanes, vector
from tenor.ir.program import ABI

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Kernel

__all__ = ["LINE", "ROWS", "Scratch", "ask_for", "compute_type", "entry", "load_element",
           "memory_type", "plus", "repeat", "store_element", "strip", "upper"]  # fmt: skip

LINE: Final = 64
"""Bytes of a cache line, which every buffer begins at."""
ROWS: Final = 8
"""Rows ahead of its use that one at an index is asked for."""
MOST: Final = 256
"""Bytes of such a row that are asked for; the machine foresees the others."""


def entry(kernel: Kernel) -> tuple[Function, list[Value], Value, Value, Value]:
    """Begin a kernel function: the function, its buffers, begin, end and scratch."""
    f = Function(kernel.kind, ABI, exported=True)
    args, begin, end, scratch, _status = f.params
    buffers = [f.load("ptr", args, k) for k in range(len(kernel.buffers))]
    return f, buffers, begin, end, scratch


class Scratch:
    """Scratch memory, taken piece by piece, each on cache lines of its own.

    Attributes:
        used: The bytes of all pieces.
    """

    def __init__(self, f: Function, start: Value) -> None:
        self.f, self.start, self.used = f, start, 0

    def take(self, nbytes: int) -> Value:
        """Return where a piece of so many bytes begins."""
        at, self.used = self.used, self.used + ceil(nbytes / LINE) * LINE
        return self.f.gep(self.start, at, "i8")


def ask_for(f: Function, dtype: DType, pointer: Value, at: Value, count: int) -> None:
    """Ask for a row of so many elements that is read, or added to, some rows later."""
    for line in range(0, min(count * dtype.itemsize, MOST), LINE):
        f.prefetch(pointer, f.add(at, line // dtype.itemsize), memory_type(dtype))


def upper(f: Function, low: Value, step: int, limit: int) -> Value:
    """Return min(low + step, limit)."""
    return f.op("smin", f.add(low, step), limit)


def memory_type(dtype: DType) -> str:
    """Return the scalar type an element is stored as; bfloat16 as its 16 bits, bool as a byte."""
    if dtype is dt.bfloat16:
        return "i16"
    return dtype.text if dtype.kind == "float" else f"i{8 * dtype.itemsize}"


def compute_type(dtype: DType) -> str:
    """Return the scalar type arithmetic on a dtype is done in."""
    return memory_type(dtype.compute)


def load_element(
    f: Function, dtype: DType, pointer: Value, at: Value | int, count: int = 1,
    *, align: int = 0, mask: Value | None = None,
) -> Value:  # fmt: skip
    """Load `count` elements and widen them to the type they are computed in."""
    x = f.load(vector(memory_type(dtype), count), pointer, at, align=align, mask=mask)
    if dtype is dt.bfloat16:
        wide = f.op("shl", f.convert("zext", x, vector("i32", count)), 16)
        return f.convert("bitcast", wide, vector("f32", count))
    return f.convert("fpext", x, vector("f32", count)) if dtype is dt.float16 else x


def store_element(
    f: Function, dtype: DType, x: Value, pointer: Value, at: Value | int,
    *, align: int = 0, mask: Value | None = None, stream: bool = False,
) -> None:  # fmt: skip
    """Round elements to their dtype and store them."""
    if dtype is dt.bfloat16:
        x = round_bfloat16(f, x)
    elif dtype is dt.float16:
        x = f.convert("fptrunc", x, vector("f16", lanes(x.type)))
    f.store(x, pointer, at, align=align, mask=mask, stream=stream)


def round_bfloat16(f: Function, x: Value) -> Value:
    """Return the bits of the nearest bfloat16, ties to even; every NaN becomes the quiet one.

    Done on the bits, because most machines have no instruction for it.
    """
    bits = f.convert("bitcast", x, vector("i32", lanes(x.type)))
    even = f.op("and", f.op("lshr", bits, 16), 1)
    rounded = f.op("lshr", f.add(bits, f.add(even, 0x7FFF)), 16)
    rounded = f.select(f.compare("uno", x, x), f.const(0x7FC0, rounded.type), rounded)
    return f.convert("trunc_int", rounded, vector("i16", lanes(x.type)))


def plus(f: Function, dtype: DType, a: Value, b: Value) -> Value:
    """Return a + b; or for bool."""
    return f.op("or" if dtype.kind == "bool" else "add", a, b)


def strip(
    f: Function, low: Value | int, high: Value | int, width: int, body: Callable[[Value, int], None]
) -> None:
    """Run `body(i, lanes)` over [low, high): `width` lanes at a time, the rest one by one."""
    first = low if isinstance(low, Value) else f.const(low, "i64")
    last = high if isinstance(high, Value) else f.const(high, "i64")
    full = f.sub(last, f.op("srem", f.sub(last, first), width))
    repeat(f, first, full, width, lambda i: body(i, width))
    repeat(f, full, last, 1, lambda i: body(i, 1))


def repeat(f: Function, low: Value, high: Value, step: int, body: Callable[[Value], None]) -> None:
    """Run `body(i)` for i in range(low, high, step); written out where that is once or never."""
    if low.const is not None and high.const is not None and high.const <= low.const + step:
        if low.const < high.const:
            body(low)
        return
    f.loop(low, high, step, lambda i, _: body(i))
