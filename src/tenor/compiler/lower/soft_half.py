"""Half precision where a machine has no instruction for it: conversions by their bits.

Both are what IEEE 754 says: exact one way, to nearest even the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.routines import routine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.loops import Function, Value

__all__ = ["SOFT_HALF"]

REBIAS: Final = (127 - 15) << 23
"""What exponents differ by, where float32 has it."""
INFINITY: Final = 0x7F800000
SMALLEST: Final = 0x38800000
"""The smallest normal half, as a float32."""
TOO_LARGE: Final = 0x477FF000
"""The first float32 that rounds to infinity."""


def _widened(f: Function, h: Value) -> Value:
    """Return a half, in the low bits of an "i32", as a float32."""
    sign = f.op("shl", f.op("and", h, 0x8000), 16)
    rest = f.op("and", h, 0x7FFF)
    moved = f.op("shl", rest, 13)
    beyond = f.compare("uge", rest, 0x7C00)
    quiet = f.select(f.compare("ugt", rest, 0x7C00), f.const(0x400000, "i32"), 0)
    special = f.op("or", f.op("or", moved, INFINITY), quiet)
    # Below the normal ones a half is a whole number of 2^-24.
    unit = f.op("mul", f.convert("sitofp", rest, "f32"), f.const(2.0**-24, "f32"))
    small = f.convert("bitcast", unit, "i32")
    made = f.select(f.compare("ult", rest, 0x400), small, f.add(moved, REBIAS))
    made = f.select(beyond, special, made)
    return f.convert("bitcast", f.op("or", made, sign), "f32")


def _narrowed(f: Function, x: Value) -> Value:
    """Return a float32 as a half, in the low bits of an "i32"."""
    bits = f.convert("bitcast", x, "i32")
    sign = f.op("and", f.op("lshr", bits, 16), 0x8000)
    size = f.op("and", bits, 0x7FFFFFFF)
    near = f.sub(size, REBIAS)
    odd = f.op("and", f.op("lshr", near, 13), 1)
    made = f.op("lshr", f.add(f.add(near, 0xFFF), odd), 13)
    # The last place of a half is 2^-24 there, and so is that of what is added to it.
    half = f.add(f.convert("bitcast", size, "f32"), f.const(0.5, "f32"))
    small = f.sub(f.convert("bitcast", half, "i32"), 0x3F000000)
    made = f.select(f.compare("ult", size, SMALLEST), small, made)
    made = f.select(f.compare("uge", size, TOO_LARGE), f.const(0x7C00, "i32"), made)
    payload = f.op("or", f.op("and", f.op("lshr", size, 13), 0x3FF), 0x7E00)
    made = f.select(f.compare("ugt", size, INFINITY), payload, made)
    return f.op("or", made, sign)


SOFT_HALF: Final[dict[str, Callable[[str], Function]]] = {
    "__extendhfsf2": lambda name: routine(name, ("i32",), _widened),
    "__truncsfhf2": lambda name: routine(name, ("f32",), _narrowed),
}
"""Each by the name it is called by; a half is passed in the low bits of an integer."""
