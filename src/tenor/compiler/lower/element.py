"""Elementwise primitives on registers: one row each, for every dtype.

In registers floats are f32 or f64 (float16 and bfloat16 as f32, rounded after every operation, so
that a fused kernel gives the bits separate kernels give), integers have their own width, and bool
is one bit. Integers wrap around; dividing one by zero gives 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.math import MATH
from tenor.compiler.lower.storage import compute_type, round_bfloat16
from tenor.ir import dtype as dt
from tenor.ir.loops import Function, Value, element, lanes, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType

__all__ = [
    "COST",
    "ELEMENT",
    "cast",
    "from_bits",
    "quantized",
    "register_type",
    "rounded",
    "to_bits",
]


WHOLE: Final = 1.5 * 2.0**23
"""float32s next to it are whole numbers, apart by 1, and its lowest 22 bits are 0."""


def register_type(dtype: DType, count: int = 1) -> str:
    """Return the type of `count` elements in registers."""
    return vector("i1" if dtype.kind == "bool" else compute_type(dtype), count)


def rounded(f: Function, x: Value, dtype: DType) -> Value:
    """Round a float32 register to float16 or bfloat16; other dtypes are exact already."""
    count = lanes(x.type)
    if dtype is dt.float16:
        return f.convert("fpext", f.convert("fptrunc", x, vector("f16", count)), x.type)
    if dtype is dt.bfloat16:
        wide = f.convert("zext", round_bfloat16(f, x), vector("i32", count))
        return f.convert("bitcast", f.op("shl", wide, 16), x.type)
    return x


# -- memory -----------------------------------------------------------------------------------
def from_bits(f: Function, dtype: DType, raw: Value) -> Value:
    """Turn a loaded memory word into a register."""
    count = lanes(raw.type)
    if dtype.kind == "bool":
        return f.compare("ne", raw, 0)
    if dtype is dt.bfloat16:
        wide = f.op("shl", f.convert("zext", raw, vector("i32", count)), 16)
        return f.convert("bitcast", wide, vector("f32", count))
    return f.convert("fpext", raw, vector("f32", count)) if dtype is dt.float16 else raw


def to_bits(f: Function, dtype: DType, x: Value) -> Value:
    """Turn a register into the memory word that is stored."""
    count = lanes(x.type)
    if dtype.kind == "bool":
        return f.convert("zext", x, vector("i8", count))
    if dtype is dt.bfloat16:
        return round_bfloat16(f, x)
    return f.convert("fptrunc", x, vector("f16", count)) if dtype is dt.float16 else x


# -- casts ------------------------------------------------------------------------------------
def cast(f: Function, x: Value, source: DType, dtype: DType) -> Value:
    """Convert a register between dtypes; a float goes to an integer by truncation."""
    count = lanes(x.type)
    wanted = register_type(dtype, count)
    if dtype.kind == "bool":
        if source.kind == "bool":
            return x
        return f.compare("une" if source.kind == "float" else "ne", x, 0)
    if source.kind == "bool":
        kind = "uitofp" if dtype.kind == "float" else "zext"
        return f.convert(kind, x, wanted)
    if source.kind == "float":
        return _from_float(f, x, dtype, wanted, count)
    if dtype.kind == "float":
        made = f.convert("sitofp" if source.kind == "int" else "uitofp", x, wanted)
        return rounded(f, made, dtype)
    return _resized(f, x, source, wanted)


def _from_float(f: Function, x: Value, dtype: DType, wanted: str, count: int) -> Value:
    if dtype.kind == "float":
        wide = element(x.type) == "f64" and element(wanted) == "f32"
        made = f.convert("fptrunc" if wide else "fpext", x, wanted)
        return rounded(f, made, dtype)
    if element(x.type) == "f32" and dtype.itemsize < 8:
        return f.convert("trunc_int", _low_word(f, x, byte=dtype.itemsize == 1), wanted)
    whole = f.convert("fptosi", x, vector("i64", count))
    if dtype is dt.uint64:
        big = f.convert("fptoui", x, vector("i64", count))
        return f.select(f.compare("oge", x, 2.0**63), big, whole)
    return f.convert("trunc_int", whole, wanted)


def _low_word(f: Function, x: Value, *, byte: bool) -> Value:
    """Return the lower half of a float32 truncated to 64 bits, which few machines do in vectors.

    Below 2^31 that is the truncation to 32 bits; from there on the fraction, shifted up (by 8 at
    least, so of a `byte` nothing is left); from 2^63 on half of the nearest 64-bit number.
    """
    kind, size = vector("i32", lanes(x.type)), f.unary("fabs", x)
    near = f.compare("olt", size, 2.0**31)
    small = f.convert("fptosi_inside", f.select(near, x, 0.0), kind)
    large = f.const(0, kind) if byte else _shifted(f, f.convert("bitcast", x, kind))
    large = f.select(f.compare("oge", size, 2.0**63), 0, large)
    return f.select(near, small, f.select(f.compare("oge", x, 2.0**63), -1, large))


def _shifted(f: Function, bits: Value) -> Value:
    """Return the low 32 bits of a whole float32 from 2^23 on."""
    shift = f.sub(f.op("and", f.op("lshr", bits, 23), 255), 150)
    fraction = f.op("or", f.op("and", bits, 0x7FFFFF), 0x800000)
    inside = f.compare("ult", shift, 32)
    moved = f.select(inside, f.op("shl", fraction, f.select(inside, shift, 0)), 0)
    return f.select(f.compare("slt", bits, 0), f.sub(0, moved), moved)


def quantized(f: Function, x: Value, zero_point: int, low: int, high: int) -> Value:
    """Return float32 as int8: rounded to nearest, ties to even, plus zero_point, in [low, high].

    Clamped first, x + 1.5 * 2^23 rounds to a whole number that stands in the lowest bits: no
    machine needs a function for that. NaN becomes low (where LLVM takes minima for WebAssembly's
    relaxed ones, some number in the range).
    """
    count = lanes(x.type)
    inside = f.op("fmin", f.op("fmax", x, float(low - zero_point)), float(high - zero_point))
    # Adding an even number first leaves ties as they are.
    before, after = (0, zero_point) if zero_point % 2 else (zero_point, 0)
    bits = f.convert("bitcast", f.add(inside, WHOLE + before), vector("i32", count))
    return f.convert("trunc_int", f.add(bits, after), vector("i8", count))


def _resized(f: Function, x: Value, source: DType, wanted: str) -> Value:
    old, new = int(element(x.type)[1:]), int(element(wanted)[1:])
    if new <= old:
        return f.convert("trunc_int", x, wanted)
    return f.convert("sext" if source.kind == "int" else "zext", x, wanted)


# -- operations -------------------------------------------------------------------------------
Rule = "Callable[[Function, list[Value], DType], Value]"


def _plain(float_op: str, int_op: str, bool_op: str) -> Callable[..., Value]:
    """One machine operation for each kind."""
    table = {"float": float_op, "int": int_op, "uint": int_op, "bool": bool_op}

    def rule(f: Function, args: list[Value], dtype: DType) -> Value:
        return f.op(table[dtype.kind], args[0], args[1])

    return rule


def _neg(f: Function, args: list[Value], dtype: DType) -> Value:
    return f.unary("fneg", args[0]) if dtype.kind == "float" else f.sub(0, args[0])


def _abs(f: Function, args: list[Value], dtype: DType) -> Value:
    if dtype.kind == "float":
        return f.unary("fabs", args[0])
    return f.op("smax", args[0], f.sub(0, args[0])) if dtype.kind == "int" else args[0]


def _sign(f: Function, args: list[Value], dtype: DType) -> Value:
    x = args[0]
    if dtype.kind == "float":
        up = f.select(f.compare("ogt", x, 0.0), f.const(1.0, x.type), f.const(0.0, x.type))
        both = f.select(f.compare("olt", x, 0.0), f.const(-1.0, x.type), up)
        return f.select(f.compare("uno", x, x), x, both)
    one, zero = f.const(1, x.type), f.const(0, x.type)
    if dtype.kind == "uint":
        return f.select(f.compare("eq", x, 0), zero, one)
    up = f.select(f.compare("sgt", x, 0), one, zero)
    return f.select(f.compare("slt", x, 0), f.const(-1, x.type), up)


def _unary(name: str) -> Callable[..., Value]:
    def rule(f: Function, args: list[Value], _dtype: DType) -> Value:
        return f.unary(name, args[0])

    return rule


def _not(f: Function, args: list[Value], dtype: DType) -> Value:
    return f.op("xor", args[0], 1 if dtype.kind == "bool" else -1)


def _extreme(float_test: str, int_op: str, uint_op: str, bool_op: str) -> Callable[..., Value]:
    """The larger or smaller; NaN where either is NaN."""

    def rule(f: Function, args: list[Value], dtype: DType) -> Value:
        a, b = args
        if dtype.kind == "float":
            chosen = f.select(f.compare(float_test, a, b), a, b)
            return f.select(f.compare("uno", a, a), a, chosen)
        return f.op({"int": int_op, "uint": uint_op, "bool": bool_op}[dtype.kind], a, b)

    return rule


def _compare(floats: str, ints: str, uints: str) -> Callable[..., Value]:
    table = {"float": floats, "int": ints, "uint": uints, "bool": uints}

    def rule(f: Function, args: list[Value], dtype: DType) -> Value:
        return f.compare(table[dtype.kind], args[0], args[1])

    return rule


def _shift(int_op: str, uint_op: str) -> Callable[..., Value]:
    """Shift; by the width or more gives what shifting bit by bit would."""

    def rule(f: Function, args: list[Value], dtype: DType) -> Value:
        a, b = args
        width = int(element(a.type)[1:])
        if int_op == "ashr" and dtype.kind == "int":
            return f.op("ashr", a, f.op("umin", b, width - 1))
        moved = f.op(uint_op if dtype.kind == "uint" else int_op, a, f.op("umin", b, width - 1))
        return f.select(f.compare("ult", b, width), moved, f.const(0, a.type))

    return rule


def _where(f: Function, args: list[Value], _dtype: DType) -> Value:
    return f.select(args[0], args[1], args[2])


def _math(name: str) -> Callable[..., Value]:
    return MATH[name]


ELEMENT: Final[dict[str, Callable[..., Value]]] = {
    "neg": _neg, "abs": _abs, "sign": _sign, "sqrt": _unary("sqrt"), "floor": _unary("floor"),
    "ceil": _unary("ceil"), "trunc": _unary("trunc"), "round": _unary("roundeven"), "not": _not,
    "add": _plain("add", "add", "or"), "sub": _plain("sub", "sub", "xor"),
    "mul": _plain("mul", "mul", "and"), "div": _plain("fdiv", "sdiv", "and"),
    "maximum": _extreme("ogt", "smax", "umax", "or"),
    "minimum": _extreme("olt", "smin", "umin", "and"),
    "eq": _compare("oeq", "eq", "eq"), "ne": _compare("une", "ne", "ne"),
    "lt": _compare("olt", "slt", "ult"), "le": _compare("ole", "sle", "ule"),
    "and": _plain("and", "and", "and"), "or": _plain("or", "or", "or"),
    "xor": _plain("xor", "xor", "xor"), "shl": _shift("shl", "shl"), "shr": _shift("ashr", "lshr"),
    "where": _where,
    **{name: _math(name) for name in MATH},
}  # fmt: skip
"""By primitive; the dtype given is the operands' (for `where` the branches')."""

COST: Final[dict[str, int]] = {
    **dict.fromkeys(ELEMENT, 1), "div": 5, "sqrt": 6, "rsqrt": 10, "exp": 14, "expm1": 20,
    "log": 16, "log1p": 20, "sin": 24, "cos": 24, "tanh": 20, "erf": 24, "sigmoid": 18, "pow": 60,
    "quantize": 5, "floordiv": 20, "mod": 20, "random": 60,
}  # fmt: skip
"""Rough instructions an element costs."""
