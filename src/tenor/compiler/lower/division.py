"""Division that rounds down, its remainder, and integer powers. No operand traps.

Floats follow torch.floor_divide and torch.remainder, on an exact fmod; integers divided by zero
give 0, and the smallest integer divided by -1 wraps to itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.compiler.lower.formats import any_lane, bits, format_of, power_of_two, with_sign

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.ir.loops import Function, Value

__all__ = ["float_floordiv", "float_mod", "int_floordiv", "int_mod", "int_power"]


# -- floats -----------------------------------------------------------------------------------
def fmod(f: Function, a: Value, b: Value) -> Value:
    """Return a - trunc(a/b) b exactly, with the sign of a; NaN where b is 0 or a infinite.

    A quotient below 2^mantissa makes a - q b representable, so fma gives it exactly, at worst one
    b off. Larger quotients take off q 2^shift b first, `mantissa` bits a round; nearly always
    there is one round in all.
    """
    fmt = format_of(a)
    x, y = f.unary("fabs", a), f.unary("fabs", b)
    usable = f.op("and", f.compare("olt", x, math.inf), f.compare("ogt", y, 0.0))
    divides = f.op("and", usable, f.compare("olt", y, math.inf))
    dividend = f.select(divides, x, f.const(0.0, a.type))
    divisor = f.select(divides, y, f.const(1.0, a.type))
    y_exponent = f.op("lshr", bits(f, divisor), fmt.mantissa)

    def step(carried: list[Value]) -> list[Value]:
        r = carried[0]
        exponent = f.op("lshr", bits(f, f.unary("fabs", r)), fmt.mantissa)
        shift = f.op("smax", f.sub(f.sub(exponent, y_exponent), fmt.mantissa - 2), 0)
        half = f.op("ashr", shift, 1)
        scaled = f.mul(divisor, power_of_two(f, fmt, half))
        scaled = f.mul(scaled, power_of_two(f, fmt, f.sub(shift, half)))
        q = f.unary("trunc", f.op("fdiv", r, scaled))
        return [f.fma(f.unary("fneg", q), scaled, r, exact=True)]

    def unfinished(carried: list[Value]) -> Value:
        return any_lane(f, f.compare("oge", f.unary("fabs", carried[0]), divisor))

    r = f.while_([dividend], unfinished, step)[0]
    r = f.select(f.compare("olt", r, 0.0), f.add(r, divisor), r)
    r = f.select(divides, r, x)  # a finite number divided by infinity remains
    r = f.select(usable, r, f.const(math.nan, a.type))
    return with_sign(f, r, a)


def crosses(f: Function, r: Value, b: Value) -> Value:
    """Return whether a remainder is not 0 and has another sign than the divisor."""
    signs = f.op("xor", f.compare("olt", r, 0.0), f.compare("olt", b, 0.0))
    return f.op("and", signs, f.compare("une", r, 0.0))


def float_mod(f: Function, a: Value, b: Value) -> Value:
    """Return a - floor(a/b) b, exact before the one rounding of a sum; the sign of b."""
    r = fmod(f, a, b)
    return f.select(crosses(f, r, b), f.add(r, b), r)


def float_floordiv(f: Function, a: Value, b: Value) -> Value:
    """Return floor(a/b) of the exact quotient, as Python and torch do; a/b where b is 0."""
    r = fmod(f, a, b)
    quotient = f.op("fdiv", a, b)
    exact = f.op("fdiv", f.sub(a, r), b)
    exact = f.select(crosses(f, r, b), f.sub(exact, 1.0), exact)
    down = f.unary("floor", exact)
    up = f.compare("ogt", f.sub(exact, down), 0.5)
    down = f.select(up, f.add(down, 1.0), down)
    zero = with_sign(f, f.const(0.0, a.type), quotient)
    down = f.select(f.compare("oeq", exact, 0.0), zero, down)
    return f.select(f.compare("oeq", b, 0.0), quotient, down)


# -- integers ---------------------------------------------------------------------------------
def guarded(f: Function, a: Value, b: Value, *, signed: bool) -> tuple[Value, Value]:
    """Return operands with the same quotient that cannot trap: divisors 0 and -1 become 1."""
    one = f.const(1, b.type)
    divisor = f.select(f.compare("eq", b, 0), one, b)
    if not signed:
        return a, divisor
    negate = f.compare("eq", b, -1)
    return f.select(negate, f.sub(0, a), a), f.select(negate, one, divisor)


def int_floordiv(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """Return floor(a/b); 0 where b is 0."""
    x, y = guarded(f, a, b, signed=dtype.kind == "int")
    zero = f.const(0, a.type)
    if dtype.kind != "int":
        return f.select(f.compare("eq", b, 0), zero, f.op("udiv", x, y))
    q = f.op("sdiv", x, y)
    r = f.sub(x, f.mul(q, y))
    down = f.op("and", f.compare("ne", r, 0), f.compare("slt", f.op("xor", r, y), 0))
    q = f.select(down, f.sub(q, 1), q)
    return f.select(f.compare("eq", b, 0), zero, q)


def int_mod(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """Return a - floor(a/b) b, with the sign of b; 0 where b is 0."""
    x, y = guarded(f, a, b, signed=dtype.kind == "int")
    zero = f.const(0, a.type)
    if dtype.kind != "int":
        return f.select(f.compare("eq", b, 0), zero, f.op("urem", x, y))
    r = f.op("srem", x, y)
    up = f.op("and", f.compare("ne", r, 0), f.compare("slt", f.op("xor", r, y), 0))
    r = f.select(up, f.add(r, y), r)
    return f.select(f.compare("eq", b, 0), zero, r)


def int_power(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """Return a^b modulo the type's size; a negative b gives 1/a^-b rounded towards 0, and 0 for 0.

    By squaring: as many rounds as the largest exponent of any lane has bits.
    """
    one = f.const(1, a.type)

    def step(carried: list[Value]) -> list[Value]:
        result, base, exponent = carried
        use = f.compare("ne", f.op("and", exponent, 1), 0)
        result = f.select(use, f.mul(result, base), result)
        return [result, f.mul(base, base), f.op("lshr", exponent, 1)]

    def more(carried: list[Value]) -> Value:
        return any_lane(f, f.compare("ne", carried[2], 0))

    if dtype.kind != "int":
        return f.while_([one, a, b], more, step)[0]
    negative = f.compare("slt", b, 0)
    unit = f.op("or", f.compare("eq", a, 1), f.compare("eq", a, -1))
    # 1 and -1 are their own inverses, so the parity of b decides; all others vanish.
    exponent = f.select(negative, f.op("and", b, 1), b)
    result = f.while_([one, a, exponent], more, step)[0]
    vanishes = f.op("and", negative, f.op("xor", unit, 1))
    return f.select(vanishes, f.const(0, a.type), result)
