"""Floating-point powers: x^y = e^(y log x) with a logarithm of more than working precision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.exponential import TABLES, clamp, exp, exp_finite, log, split
from tenor.compiler.lower.formats import F64, format_of, horner, two_sum, with_sign
from tenor.ir.loops import lanes, vector

if TYPE_CHECKING:
    from tenor.ir.loops import Function, Value

__all__ = ["power"]

Pair = tuple["Value", "Value"]

SERIES: Final = (0.06598107597880473, 0.06628414655411188, 0.07693378433174225,
                 0.09090892188221912, 0.11111111259913156, 0.14285714285050027,
                 0.20000000000001128)  # fmt: skip
"""T with atanh(s) = s + s^3/3 + s^5 T(s^2) for |s| <= (sqrt(2) - 1)/(sqrt(2) + 1); minimax."""
LN2: Final = (0.6931471805599453, 2.319046813846299577e-17)
THIRD: Final = (1 / 3, 1.850371707708594e-17)
HUGE: Final = 2.0**66
"""|y log x| exceeds every exponent for such y, unless x is 1."""


def product(f: Function, a: Value, b: Value) -> Pair:
    """Return a * b rounded, and what the rounding lost."""
    p = f.mul(a, b)
    return p, f.fma(a, b, f.unary("fneg", p), exact=True)


def product2(f: Function, a: Pair, b: Pair) -> Pair:
    """Return the product of two unevaluated sums; relative error about 2^-104."""
    p, low = product(f, a[0], b[0])
    return p, f.fma(a[0], b[1], f.fma(a[1], b[0], low))


def log2parts(f: Function, x: Value) -> Pair:
    """Return log x as an unevaluated sum, for finite float64 x > 0; relative error below 2^-62.

    log x = e ln 2 + 2 atanh(s), s = (m - 1)/(m + 1), each sum carrying what rounding loses.
    """
    e, m = split(f, F64, x, TABLES["f64"].log_low)
    y = f.sub(m, 1.0)
    d, d_low = two_sum(f, m, f.const(1.0, x.type))
    s = f.op("fdiv", y, d)
    remainder = f.fma(f.unary("fneg", s), d, y, exact=True)
    s_low = f.op("fdiv", f.sub(remainder, f.mul(s, d_low)), d)
    z = product2(f, (s, s_low), (s, s_low))
    inner, inner_low = two_sum(f, f.const(THIRD[0], x.type), f.mul(z[0], horner(f, z[0], SERIES)))
    cube = product2(f, z, (inner, f.add(inner_low, THIRD[1])))
    cube = product2(f, cube, (s, s_low))
    total, low = two_sum(f, s, cube[0])
    low = f.add(low, f.add(s_low, cube[1]))
    n = f.convert("sitofp", e, x.type)
    part, part_low = product(f, n, f.const(LN2[0], x.type))
    part_low = f.fma(n, f.const(LN2[1], x.type), part_low)
    high, rest = two_sum(f, part, f.add(total, total))
    rest = f.add(rest, f.fma(low, f.const(2.0, x.type), part_low))
    sum_ = f.add(high, rest)
    return sum_, f.sub(rest, f.sub(sum_, high))


def magnitude64(f: Function, x: Value, y: Value) -> Value:
    """Return x^y for float64, finite x > 0."""
    high, low = log2parts(f, x)
    y = clamp(f, y, -HUGE, HUGE)
    p, lost = product(f, y, high)
    lost = f.fma(y, low, lost)
    table = TABLES["f64"]
    inside = f.compare("olt", f.unary("fabs", p), -table.underflow)
    lost = f.select(inside, lost, f.const(0.0, x.type))
    return exp_finite(f, clamp(f, p, table.underflow, table.overflow), lost)


def magnitude(f: Function, x: Value, y: Value) -> Value:
    """Return x^y for finite x > 0; float32 by way of float64, which has the bits to spare."""
    if format_of(x) is F64:
        return magnitude64(f, x, y)
    wide = vector("f64", lanes(x.type))
    x, y = (f.convert("fpext", v, wide) for v in (x, y))
    y = clamp(f, y, -HUGE, HUGE)
    return f.convert("fptrunc", exp(f, f.mul(y, log(f, x))), vector("f32", lanes(wide)))


def constant_power(f: Function, x: Value, y: float) -> Value | None:
    """Return x^y for the exponents that a few operations give more exactly, else None."""
    if y == 1:
        return x
    if y == 2:
        return f.mul(x, x)
    if y == 3:
        return f.mul(f.mul(x, x), x)
    if y == -1:
        return f.op("fdiv", 1.0, x)
    return None


def power(f: Function, x: Value, y: Value) -> Value:
    """Return x^y with the special cases of C99's Annex F."""
    if y.const is not None:
        simple = constant_power(f, x, float(y.const))
        if simple is not None:
            return simple
    a = f.unary("fabs", x)
    positive = f.compare("ogt", y, 0.0)
    zero, inf, nan = (f.const(c, x.type) for c in (0.0, math.inf, math.nan))
    result = magnitude(f, a, y)
    result = f.select(f.compare("oeq", a, inf), f.select(positive, inf, zero), result)
    result = f.select(f.compare("oeq", a, zero), f.select(positive, zero, inf), result)
    half = f.mul(y, 0.5)
    broken = f.compare("une", f.unary("floor", y), y)
    odd = f.op("and", f.op("xor", broken, 1), f.compare("une", f.unary("floor", half), half))
    result = f.select(odd, with_sign(f, result, x), result)
    # A negative base has a power only for a whole exponent; -infinity and -0 have all of them.
    negative = f.op("and", f.compare("olt", x, 0.0), f.compare("olt", a, inf))
    bad = f.op("and", negative, broken)
    result = f.select(f.op("or", bad, f.compare("uno", x, y)), nan, result)
    plain = f.op("or", f.compare("oeq", x, 1.0), f.compare("oeq", y, 0.0))
    return f.select(plain, f.const(1.0, x.type), result)
