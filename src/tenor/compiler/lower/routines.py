"""What the instructions of small machines lack, as functions: C compilers bring these along.

LLVM calls them by the names of the C library, of ARM's run-time ABI (IHI 0043) or of libgcc. They
work on bits, so that none calls another. A float64 that an ABI passes in integer registers is
"i64" here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.ir.loops import Function

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.loops import Value

__all__ = ["BIAS", "MANTISSA", "PAIRS", "ROUTINES", "TOP", "from_integer", "given_out",
           "kept_bits", "packed", "routine", "to_integer"]  # fmt: skip

MANTISSA: Final = {32: 23, 64: 52}
BIAS: Final = {32: 127, 64: 1023}
TOP: Final = 62
"""Where the first bit of a number stands before it is rounded."""


def routine(name: str, params: tuple[str, ...], body: Callable[..., Value]) -> Function:
    """Return a function whose numbers are data."""
    f = Function(name, [(f"x{i}", kind) for i, kind in enumerate(params)])
    f.wide = True
    f.result = body(f, *f.params)
    return f


# -- rounding to whole numbers ------------------------------------------------------------------
def _whole(mode: str, size: int) -> Callable[[str], Function]:
    """Return the maker of a function that rounds a float to a whole number."""
    kind, word = f"f{size}", f"i{size}"
    m, bias = MANTISSA[size], BIAS[size]

    def body(f: Function, x: Value) -> Value:
        bits = f.convert("bitcast", x, word)
        sign = f.op("and", bits, -(1 << (size - 1)))
        rest = f.op("xor", bits, sign)
        exponent = f.sub(f.op("lshr", rest, m), bias)
        inside = f.compare("ult", exponent, m)
        below = f.select(inside, f.sub(m, exponent), f.const(1, word))
        unit = f.op("shl", f.const(1, word), below)
        fraction = f.sub(unit, 1)
        negative = f.compare("ne", sign, 0)
        zero, one = f.const(0, word), f.const(bias << m, word)
        some = f.compare("ne", rest, 0)
        if mode == "roundeven":
            odd = f.op("and", f.op("lshr", rest, below), 1)
            more = f.add(f.sub(f.op("lshr", unit, 1), 1), odd)
            small = f.select(f.compare("ugt", rest, (bias - 1) << m), one, zero)
        else:
            away = {"trunc": f.const(0, "i1"), "floor": negative,
                    "ceil": f.op("xor", negative, 1)}[mode]  # fmt: skip
            more = f.select(away, fraction, zero)
            small = f.select(f.op("and", away, some), one, zero)
        near = f.op("and", f.add(rest, more), f.op("xor", fraction, -1))
        made = f.select(inside, near, f.select(f.compare("slt", exponent, 0), small, rest))
        return f.convert("bitcast", f.op("or", sign, made), kind)

    return lambda name: routine(name, (kind,), body)


# -- 64-bit division ----------------------------------------------------------------------------
def _divided(f: Function, a: Value, b: Value) -> Value:
    """Return a / b without signs, bit by bit; where both are short, as the machine does it."""
    short = f.compare("eq", f.op("lshr", f.op("or", a, b), 32), 0)

    def quick() -> list[Value]:
        x, y = (f.convert("trunc_int", v, "i32") for v in (a, b))
        return [f.convert("zext", f.op("udiv", x, y), "i64")]

    def step(_: Value, held: list[Value]) -> list[Value]:
        a, rest, quotient = held
        over = f.compare("slt", rest, 0)  # the bit that is shifted out
        rest = f.op("or", f.op("shl", rest, 1), f.op("lshr", a, 63))
        fits = f.op("or", over, f.compare("uge", rest, b))
        rest = f.select(fits, f.sub(rest, b), rest)
        bit = f.convert("zext", fits, "i64")
        return [f.op("shl", a, 1), rest, f.op("or", f.op("shl", quotient, 1), bit)]

    def long() -> list[Value]:
        zero = f.const(0, "i64")
        return [f.loop(0, 64, 1, step, [a, zero, zero])[2]]

    return f.if_(short, quick, long)[0]


def _size(f: Function, a: Value) -> Value:
    return f.select(f.compare("slt", a, 0), f.sub(0, a), a)


def _signed(f: Function, a: Value, b: Value) -> Value:
    quotient = _divided(f, _size(f, a), _size(f, b))
    negative = f.compare("slt", f.op("xor", a, b), 0)
    return f.select(negative, f.sub(0, quotient), quotient)


def _rest(divide: Callable[[Function, Value, Value], Value]) -> Callable[..., Value]:
    return lambda f, a, b: f.sub(a, f.mul(divide(f, a, b), b))


def _of_two(body: Callable[..., Value]) -> Callable[[str], Function]:
    return lambda name: routine(name, ("i64", "i64"), body)


# -- floats as bits -----------------------------------------------------------------------------
def kept_bits(f: Function, x: Value, by: Value) -> Value:
    """Shift right; the last bit tells whether any that was lost is set."""
    by = f.op("umin", by, 63)
    moved = f.op("lshr", x, by)
    lost = f.compare("ne", f.op("shl", moved, by), x)
    return f.op("or", moved, f.convert("zext", lost, "i64"))


def packed(f: Function, sign: Value, exponent: Value, m: Value, size: int) -> Value:
    """Return sign * m * 2^(exponent - bias - 62) rounded to nearest even, as bits in an "i64".

    `m` has its first bit at place 62, or is 0; `sign` is 0 or 1.
    """
    places = MANTISSA[size]
    below, most = TOP - places, 2 * BIAS[size] + 1
    normal = f.compare("sgt", exponent, 0)
    m = f.select(normal, m, kept_bits(f, m, f.sub(1, exponent)))
    lead = f.select(normal, f.sub(exponent, 1), 0)
    kept, rest = f.op("lshr", m, below), f.op("and", m, (1 << below) - 1)
    half = 1 << (below - 1)
    tie = f.op("and", f.compare("eq", rest, half), f.compare("ne", f.op("and", kept, 1), 0))
    up = f.op("or", f.compare("ugt", rest, half), tie)
    made = f.add(f.add(f.op("shl", lead, places), kept), f.convert("zext", up, "i64"))
    infinite = f.const(most << places, "i64")
    made = f.select(f.compare("sge", exponent, most), infinite, made)
    made = f.select(f.compare("eq", m, 0), f.const(0, "i64"), made)
    return f.op("or", f.op("shl", sign, size - 1), made)


def from_integer(
    size: int, *, signed: bool, given: int = 64, result: str
) -> Callable[[str], Function]:
    """Return the maker of a conversion of an integer."""

    def body(f: Function, x: Value) -> Value:
        wide = x if given == 64 else f.convert("sext" if signed else "zext", x, "i64")
        sign = f.op("lshr", wide, 63) if signed else f.const(0, "i64")
        value = _size(f, wide) if signed else wide
        zeros = f.unary("ctlz", value)
        # One place further right, so that the first bit is at 62; what that loses is kept.
        moved = f.op("shl", value, f.op("umin", zeros, 63))
        m = f.op("or", f.op("lshr", moved, 1), f.op("and", moved, 1))
        exponent = f.sub(BIAS[size] + 63, zeros)
        made = packed(f, sign, exponent, m, size)
        return given_out(f, made, result)

    return lambda name: routine(name, (f"i{given}",), body)


def given_out(f: Function, bits: Value, result: str) -> Value:
    """Return bits in an "i64" as a value of a type."""
    narrow = bits if result[1:] == "64" else f.convert("trunc_int", bits, f"i{result[1:]}")
    return f.convert("bitcast", narrow, result) if result[0] == "f" else narrow


def to_integer(given: str, *, signed: bool) -> Callable[[str], Function]:
    """Return the maker of a conversion of a float in range to a 64-bit integer."""
    size = int(given[1:])
    m = MANTISSA[size]

    def body(f: Function, x: Value) -> Value:
        raw = f.convert("bitcast", x, f"i{size}") if given[0] == "f" else x
        bits = raw if size == 64 else f.convert("zext", raw, "i64")
        exponent = f.sub(f.op("and", f.op("lshr", bits, m), 2 * BIAS[size] + 1), BIAS[size])
        one = 1 << m
        fraction = f.op("or", f.op("and", bits, one - 1), one)
        left = f.op("shl", fraction, f.op("and", f.sub(exponent, m), 63))
        right = f.op("lshr", fraction, f.op("and", f.sub(m, exponent), 63))
        made = f.select(f.compare("sge", exponent, m), left, right)
        made = f.select(f.compare("slt", exponent, 0), f.const(0, "i64"), made)
        if not signed:
            return made
        negative = f.compare(
            "ne", f.op("and", bits, 1 << (size - 1) if size == 32 else -(1 << 63)), 0
        )
        return f.select(negative, f.sub(0, made), made)

    return lambda name: routine(name, (given,), body)


ROUTINES: Final[dict[str, Callable[[str], Function]]] = {
    **{name + tail: _whole(name, size) for name in ("floor", "ceil", "trunc", "roundeven")
       for tail, size in (("f", 32), ("", 64))},
    "__udivdi3": _of_two(_divided), "__divdi3": _of_two(_signed),
    "__umoddi3": _of_two(_rest(_divided)), "__moddi3": _of_two(_rest(_signed)),
    "__aeabi_l2f": from_integer(32, signed=True, result="i32"),
    "__aeabi_ul2f": from_integer(32, signed=False, result="i32"),
    "__aeabi_l2d": from_integer(64, signed=True, result="i64"),
    "__aeabi_ul2d": from_integer(64, signed=False, result="i64"),
    "__floatdisf": from_integer(32, signed=True, result="f32"),
    "__floatundisf": from_integer(32, signed=False, result="f32"),
    "__aeabi_f2lz": to_integer("i32", signed=True),
    "__aeabi_f2ulz": to_integer("i32", signed=False),
    "__aeabi_d2lz": to_integer("i64", signed=True),
    "__aeabi_d2ulz": to_integer("i64", signed=False),
    "__fixsfdi": to_integer("f32", signed=True),
    "__fixunssfdi": to_integer("f32", signed=False),
}  # fmt: skip
"""Each by the name it is called by; given the name, its maker returns the function."""
PAIRS: Final = {"__aeabi_ldivmod": "__divdi3", "__aeabi_uldivmod": "__udivdi3"}
"""Functions that return a quotient and a remainder, by the one that gives the quotient."""
