"""Elementwise primitives as WGSL expressions, one row each.

In registers a float is f32 (float16 and bfloat16 rounded after every operation, as on the CPU), a
signed integer i32 (int8 and int16 with their signs spread, int64 cut to its lower half), an
unsigned one u32, a bool bool. In memory a bool is u32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import DTypeError
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.ir.shader import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.dtype import DType

__all__ = [
    "CARRIED",
    "ELEMENT",
    "Written",
    "cast",
    "literal",
    "register",
    "rounded",
    "wrapped",
    "zero",
]

CARRIED: Final = frozenset(
    (
        dt.float32,
        dt.float16,
        dt.bfloat16,
        dt.int64,
        dt.int32,
        dt.int16,
        dt.int8,
        dt.uint32,
        dt.uint16,
        dt.uint8,
        dt.bool_,
    )
)
"""The dtypes a shader can hold."""


class Written(str):
    """An expression's text, and the functions it calls."""

    __slots__ = ("calls",)

    calls: tuple[str, ...]

    def __new__(cls, text: str, *calls: str) -> Written:
        """Return a text with its callees."""
        made = str.__new__(cls, text)
        made.calls = calls
        return made


def register(dtype: DType) -> str:
    """Return the type of a value in a register."""
    return "bool" if dtype.kind == "bool" else cell(dtype)


def zero(dtype: DType) -> str:
    """Return nothing, as a literal."""
    return {"float": "0.0", "int": "0i", "uint": "0u", "bool": "false"}[dtype.kind]


def rounded(value: str, dtype: DType) -> str:
    """Return a float expression rounded to its dtype, where that is narrower than f32."""
    if dtype.compute is dtype:
        return value
    name = f"round_{dtype.text}"
    return Written(f"{name}({value})", name, *getattr(value, "calls", ()))


def wrapped(text: str, dtype: DType) -> str:
    """Return an integer expression cut to the width of its dtype."""
    if dtype in (dt.int8, dt.int16):
        spare = 32 - 8 * dtype.itemsize
        return f"(({text}) << {spare}u) >> {spare}u"
    if dtype in (dt.uint8, dt.uint16):
        return f"({text}) & {(1 << 8 * dtype.itemsize) - 1}u"
    return text


def literal(value: Any, dtype: DType) -> Written:
    """Return a number as an expression.

    Raises:
        DTypeError: It is an int64 of more than 32 bits.
    """
    if dtype.kind == "bool":
        return Written("true" if value else "false")
    if dtype.kind == "float":
        return _float(value, dtype)
    number = int(np.array(int(value)).astype(dtype.numpy))
    if dtype.kind == "uint":
        return Written(f"{number}u")
    if not -(1 << 31) <= number < 1 << 31:
        raise DTypeError(
            "webgpu: an int64 has 32 bits on the device.",
            came=f"the literal {number}",
            fix="use numbers below 2^31, or run on the CPU",
        )
    return Written(f"{number}i" if number >= 0 else f"bitcast<i32>({number & 0xFFFFFFFF:#x}u)")


def _float(value: float, dtype: DType) -> Written:
    with np.errstate(all="ignore"):
        number = np.float32(value)
        if dtype is dt.float16:
            number = np.float32(np.float16(number))
        elif dtype is dt.bfloat16:
            number = np.float32(from_bfloat16(to_bfloat16(number)))
    if not np.isfinite(number) or (number == 0 and math.copysign(1, number) < 0):
        word = 0x7FC00000 if np.isnan(number) else int(number.view(np.uint32))
        return Written(f"bits({word:#x}u)", "bits")
    text = f"{float(number)!r}f"
    return Written(f"({text})" if number < 0 else text)


# -- casts ----------------------------------------------------------------------------------------
def cast(x: str, source: DType, dtype: DType) -> Written:
    """Convert a register; a float goes to an integer by truncation."""
    if dtype.kind == "bool":
        return Written(x if source.kind == "bool" else f"!({x} == {zero(source)})")
    if source.kind == "bool":
        return Written(f"select({zero(dtype)}, {literal(1, dtype)}, {x})")
    if source.kind == "float":
        return _from_float(x, dtype)
    if dtype.kind == "float":
        return Written(f"f32({x})")
    moved = x if cell(source) == cell(dtype) else f"bitcast<{cell(dtype)}>({x})"
    narrower = dtype.itemsize < source.itemsize or dtype.kind != source.kind
    return Written(wrapped(moved, dtype) if narrower else moved)


def _from_float(x: str, dtype: DType) -> Written:
    if dtype.kind == "float":
        return Written(x)
    if dtype.kind == "int":
        return Written(wrapped(f"i32({x})", dtype))
    return Written(wrapped(f"bitcast<u32>(word_of({x}))", dtype), "word_of")


# -- operations -----------------------------------------------------------------------------------
Rule = "Callable[[Sequence[str], DType], Written]"


def _infix(floats: str, integers: str, bools: str) -> Callable[..., Written]:
    """One operator for each kind."""

    def rule(args: Sequence[str], dtype: DType) -> Written:
        sign = {"float": floats, "bool": bools}.get(dtype.kind, integers)
        return Written(wrapped(f"{args[0]} {sign} {args[1]}", dtype))

    return rule


def _compare(text: str, bools: str) -> Callable[..., Written]:
    """A comparison. `!=` is written as not `==`: some compilers take it to be false for NaN."""

    def rule(args: Sequence[str], dtype: DType) -> Written:
        form = bools if dtype.kind == "bool" else text
        if dtype.kind == "float" and args[0] == args[1] and text != "{0} < {1}":
            # A comparison with itself asks for NaN, and could be folded away.
            same = f"is_nan({args[0]})"
            return Written(same if text.startswith("!") else f"!{same}", "is_nan")
        return Written(form.format(*args))

    return rule


def _neg(args: Sequence[str], dtype: DType) -> Written:
    return Written(wrapped(f"0u - {args[0]}" if dtype.kind == "uint" else f"-{args[0]}", dtype))


def _abs(args: Sequence[str], dtype: DType) -> Written:
    return Written(wrapped(f"abs({args[0]})", dtype))


def _sign(args: Sequence[str], dtype: DType) -> Written:
    if dtype.kind == "float":
        return Written(f"sign_of({args[0]})", "sign_of")
    if dtype.kind == "uint":
        return Written(f"select(0u, 1u, {args[0]} != 0u)")
    return Written(f"sign({args[0]})")


def _not(args: Sequence[str], dtype: DType) -> Written:
    return Written(f"!{args[0]}" if dtype.kind == "bool" else wrapped(f"~{args[0]}", dtype))


def _built_in(name: str) -> Callable[..., Written]:
    return lambda args, _dtype: Written(f"{name}({args[0]})")


def _ours(name: str) -> Callable[..., Written]:
    return lambda args, _dtype: Written(f"{name}({', '.join(args)})", name)


def _rsqrt(args: Sequence[str], _dtype: DType) -> Written:
    return Written(f"1.0 / sqrt({args[0]})")


def _extreme(name: str, short: str, bools: str) -> Callable[..., Written]:
    def rule(args: Sequence[str], dtype: DType) -> Written:
        if dtype.kind == "float":
            return Written(f"{name}({args[0]}, {args[1]})", name)
        if dtype.kind == "bool":
            return Written(f"{args[0]} {bools} {args[1]}")
        return Written(f"{short}({args[0]}, {args[1]})")

    return rule


def _by_kind(name: str) -> Callable[..., Written]:
    """A function of ours, one for floats and one for each integer type."""

    def rule(args: Sequence[str], dtype: DType) -> Written:
        chosen = name if dtype.kind == "float" else f"{name}_{cell(dtype)}"
        return Written(wrapped(f"{chosen}({args[0]}, {args[1]})", dtype), chosen)

    return rule


def _shift_left(args: Sequence[str], dtype: DType) -> Written:
    moved = f"select({zero(dtype)}, {args[0]} << (u32({args[1]}) & 31u), u32({args[1]}) < 32u)"
    return Written(wrapped(moved, dtype))


def _shift_right(args: Sequence[str], dtype: DType) -> Written:
    if dtype.kind == "int":
        return Written(f"{args[0]} >> min(u32({args[1]}), 31u)")
    return Written(f"select(0u, {args[0]} >> (u32({args[1]}) & 31u), u32({args[1]}) < 32u)")


def _where(args: Sequence[str], _dtype: DType) -> Written:
    return Written(f"select({args[2]}, {args[1]}, {args[0]})")


def _pow(args: Sequence[str], dtype: DType) -> Written:
    x, y = args
    if dtype.kind == "float":
        # The exponents that a few operations give more exactly.
        simple = {"1.0f": x, "2.0f": f"{x} * {x}", "3.0f": f"{x} * {x} * {x}"}
        if y in simple:
            return Written(simple[y])
        if y == "(-1.0f)":
            return Written(f"1.0 / {x}")
    return _by_kind("power")(args, dtype)


ELEMENT: Final[dict[str, Callable[..., Written]]] = {
    "neg": _neg, "abs": _abs, "sign": _sign, "not": _not,
    "sqrt": _built_in("sqrt"), "rsqrt": _rsqrt, "floor": _built_in("floor"),
    "ceil": _built_in("ceil"), "trunc": _built_in("trunc"), "round": _built_in("round"),
    "exp": _ours("exponential"), "expm1": _ours("exponential_less_one"),
    "log": _ours("logarithm"), "log1p": _ours("logarithm_of_one_more"),
    "sin": _ours("sine"), "cos": _ours("cosine"), "tanh": _ours("hyperbolic_tangent"),
    "erf": _ours("error_function"), "sigmoid": _ours("logistic"),
    "add": _infix("+", "+", "|"), "sub": _infix("-", "-", "!="), "mul": _infix("*", "*", "&"),
    "div": _infix("/", "/", "&"),
    "floordiv": _by_kind("floor_divide"), "mod": _by_kind("modulo"), "pow": _pow,
    "maximum": _extreme("maximum", "max", "|"), "minimum": _extreme("minimum", "min", "&"),
    "eq": _compare("{0} == {1}", "{0} == {1}"), "ne": _compare("!({0} == {1})", "{0} != {1}"),
    "lt": _compare("{0} < {1}", "!{0} & {1}"), "le": _compare("{0} <= {1}", "!{0} | {1}"),
    "and": _infix("&", "&", "&"), "or": _infix("|", "|", "|"), "xor": _infix("^", "^", "!="),
    "shl": _shift_left, "shr": _shift_right, "where": _where,
}  # fmt: skip
"""By primitive; the dtype given is the operands' (for `where` the branches'). `cast` and
`wrap_index` have attributes: see `expression`."""
