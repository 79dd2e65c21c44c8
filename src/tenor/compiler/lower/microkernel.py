"""The innermost step of every contraction: multiply and add, in any dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.ir.loops import Function, Value

__all__ = ["multiply_add"]


def multiply_add(f: Function, dtype: DType, a: Value, b: Value, c: Value) -> Value:
    """Return a * b + c; floats round once, integers wrap, bools: (a and b) or c."""
    if dtype.kind == "float":
        return f.fma(a, b, c)
    if dtype.kind == "bool":
        return f.op("or", f.op("and", a, b), c)
    return f.add(f.mul(a, b), c)
