"""sin and cos for every float32 and float64: reduction by pi/2, then minimax polynomials.

Both formats are reduced in float64, where every float32 is exact. Below 2^20 pi/2 is taken off
in three parts of 33 bits, whose multiples are exact (Cody and Waite); beyond, the fraction of a
turn is cut from a product with as many bits of 1/(2 pi) as matter (Payne and Hanek, "Radian
reduction for trigonometric functions", 1983), which runs only where some lane needs it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.formats import F64, any_lane, bits, format_of, horner, two_sum
from tenor.ir.loops import Function, lanes, vector

if TYPE_CHECKING:
    from tenor.ir.loops import Value

__all__ = ["cos", "sin"]

SIN: Final = {
    "f32": (-0.00019516670727171004, 0.008332173340022564, -0.16666655242443085),
    "f64": (1.5896512469211026e-10, -2.505075338998682e-08, 2.7557313662828944e-06,
            -0.00019841269829727333, 0.008333333333322318, -0.16666666666666632),
}  # fmt: skip
"""p with sin(r) = r + r^3 p(r^2) for |r| <= pi/4; minimax."""
COS: Final = {
    "f32": (2.4432431018794887e-05, -0.0013887309469282627, 0.04166664555668831),
    "f64": (-1.1358315776323723e-11, 2.0875696672512574e-09, -2.755731414934198e-07,
            2.4801587288750612e-05, -0.00138888888888729, 0.041666666666666595),
}  # fmt: skip
"""p with cos(r) = 1 - r^2/2 + r^4 p(r^2) for |r| <= pi/4; minimax."""
HALF_PI: Final = (1.5707963267948966, 6.123233995736766e-17)
PARTS: Final = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21,
                8.4784276603689e-32)  # fmt: skip
"""pi/2: three parts of 33 bits and the rest."""
NEAR: Final = 2.0**20
TURN: Final = (
    0x0000000000000000, 0x28BE60DB9391054A, 0x7F09D5F47D4D3770, 0x36D8A5664F10E410,
    0x7F9458EAF7AEF158, 0x6DC91B8E909374B8, 0x01924BBA82746487, 0x3F877AC72C4A69CF,
    0xBA208D7D4BAED121, 0x3A671C09AD17DF90, 0x4E64758E60D4CE7D, 0x272117E2EF7E4A0E,
    0xC7FE25FFF7816603, 0xFBCBC462D6829B47, 0xDB4D9FB3C9F2C26D, 0xD3D18FD9A797FA8B,
    0x5D49EEB1FAF97C5E, 0xCF41CE7DE294A4BA, 0x9AFED7EC47E35742, 0x1580CC11BF1EDAEA,
)  # fmt: skip
"""1/(2 pi) in words of 64 bits, one word of zeros in front."""


def near_angle(f: Function, x: Value, *, exact: bool) -> list[Value]:
    """Return quarter turns (mod 4) and the rest r + r_low in [-pi/4, pi/4], for |x| < 2^20.

    A float32 lies so far from every multiple of pi/2 that r alone, not exact, has bits to spare.
    """
    magic = f.const(F64.magic, x.type)
    shifted = f.fma(x, f.const(2 / math.pi, x.type), magic)
    n = f.sub(shifted, magic)
    r = f.sub(x, f.mul(n, PARTS[0]))
    if not exact:
        r = f.sub(f.sub(r, f.mul(n, PARTS[1])), f.mul(n, PARTS[2]))
        return [bits(f, shifted), r, f.const(0.0, x.type)]
    r, lost = two_sum(f, r, f.unary("fneg", f.mul(n, PARTS[1])))
    r, lost2 = two_sum(f, r, f.unary("fneg", f.mul(n, PARTS[2])))
    low = f.sub(f.add(lost, lost2), f.mul(n, PARTS[3]))
    high = f.add(r, low)
    return [bits(f, shifted), high, f.sub(low, f.sub(high, r))]


def pick_words(f: Function, position: Value, count: int) -> list[Value]:
    """Return `count` words of TURN from a bit position in [0, 1088) on."""
    index = f.op("lshr", position, 6)
    words: list[Value] = [f.const(w - (w >> 63 << 64), position.type) for w in TURN]
    width = 16
    while width:
        hit = f.compare("ne", f.op("and", index, width), 0)
        need = count + width  # the smaller steps still to come reach count + width - 1 further
        words = [
            f.select(hit, words[i + width], w) if i + width < len(words) else w
            for i, w in enumerate(words[:need])
        ]
        width //= 2
    shift = f.op("and", position, 63)
    back = f.sub(63, shift)
    return [
        f.op("or", f.op("shl", a, shift), f.op("lshr", f.op("lshr", b, 1), back))
        for a, b in pairwise(words)
    ]


def multiply_high(f: Function, a: Value, b: Value) -> Value:
    """Return the upper 64 bits of the product of two unsigned 64-bit integers."""
    mask = 0xFFFFFFFF
    a_low, a_high = f.op("and", a, mask), f.op("lshr", a, 32)
    b_low, b_high = f.op("and", b, mask), f.op("lshr", b, 32)
    carry = f.add(f.mul(a_high, b_low), f.op("lshr", f.mul(a_low, b_low), 32))
    middle = f.add(f.mul(a_low, b_high), f.op("and", carry, mask))
    upper = f.add(f.mul(a_high, b_high), f.op("lshr", carry, 32))
    return f.add(upper, f.op("lshr", middle, 32))


def add_carry(f: Function, high: Value, low: Value, more: Value) -> tuple[Value, Value]:
    """Return the 128-bit sum (high, low) + more."""
    total = f.add(low, more)
    carry = f.convert("zext", f.compare("ult", total, more), low.type)
    return f.add(high, carry), total


def far_angle(f: Function, x: Value) -> list[Value]:
    """Return what `near_angle` returns, for any finite |x| >= 2^20.

    x = m 2^e, so x/(2 pi) = m (2^e/(2 pi)), whose integer part is turns of no interest: 192 bits
    from the right place on leave a fraction of a turn right to 2^-126.
    """
    i = bits(f, x)
    exponent = f.op("and", f.op("lshr", i, 52), 0x7FF)
    m = f.op("or", f.op("and", i, (1 << 52) - 1), 1 << 52)
    g = pick_words(f, f.op("smax", f.sub(exponent, 1075 - 64), 0), 3)
    high = f.add(f.mul(m, g[0]), multiply_high(f, m, g[1]))
    high, low = add_carry(f, high, f.mul(m, g[1]), multiply_high(f, m, g[2]))
    quarter = f.op("lshr", f.add(high, 1 << 61), 62)
    high = f.sub(high, f.op("shl", quarter, 62))
    turns = (
        f.mul(f.convert("sitofp", f.op("ashr", high, 32), x.type), 2.0**-30),
        f.mul(f.convert("uitofp", f.op("and", high, 0xFFFFFFFF), x.type), 2.0**-62),
        f.mul(f.convert("uitofp", f.op("lshr", low, 11), x.type), 2.0**-115),
    )
    s = f.add(turns[0], turns[1])
    rest = f.add(f.sub(turns[1], f.sub(s, turns[0])), turns[2])
    t = f.add(s, rest)
    t_low = f.sub(rest, f.sub(t, s))
    pi2, pi2_low = (f.const(c, x.type) for c in HALF_PI)
    r = f.mul(t, pi2)
    r_low = f.fma(t, pi2, f.unary("fneg", r), exact=True)
    r_low = f.fma(t, pi2_low, f.fma(t_low, pi2, r_low))
    negative = f.compare("slt", i, 0)
    quarter = f.select(negative, f.sub(0, quarter), quarter)
    signed = [f.select(negative, f.unary("fneg", v), v) for v in (r, r_low)]
    return [quarter, *signed]


def far_function() -> Function:
    """Return `far_angle` as a function of one number; its results are lanes of a vector.

    It is several times the code of everything else, for a case so rare: a kernel has it once.
    """
    made = Function("far_angle", [("x", "f64")])
    quarter, *rest = far_angle(made, made.params[0])
    together = made.const(0.0, "f64x4")
    for k, part in enumerate([made.convert("sitofp", quarter, "f64"), *rest]):
        together = made.insert(together, k, part)
    made.result = together
    return made


def reduce_angle(f: Function, x: Value, *, exact: bool) -> list[Value]:
    """Return quarter turns (mod 4) and the rest r + r_low of any finite float64."""
    near = near_angle(f, x, exact=exact)
    far = f.compare("oge", f.unary("fabs", x), NEAR)
    return f.if_(any_lane(f, far), lambda: _far_lanes(f, x, near), lambda: near)


def _far_lanes(f: Function, x: Value, near: list[Value]) -> list[Value]:
    """Return the angles with those of far lanes put in, one lane after another."""
    count = lanes(x.type)

    function = far_function()

    def put(i: Value, held: list[Value]) -> list[Value]:
        one = f.extract(x, i) if count > 1 else x
        here = f.compare("eq", f.iota(vector("i64", count)), f.splat(i, count))

        def angle() -> list[Value]:
            together = f.apply(function, [one])
            quarter, *rest = (f.extract(together, k) for k in range(3))
            made = [f.convert("fptosi", quarter, "i64"), *rest]
            if count == 1:
                return made
            every = zip(made, held, strict=True)
            return [f.select(here, f.splat(new, count), old) for new, old in every]

        return f.if_(f.compare("oge", f.unary("fabs", one), NEAR), angle, lambda: held)

    return f.loop(0, count, 1, put, near)


def sin_kernel(f: Function, r: Value, low: Value | None) -> Value:
    """Return sin(r + low) for |r| <= pi/4."""
    z = f.mul(r, r)
    rest = f.mul(f.mul(z, r), horner(f, z, SIN[format_of(r).type]))
    if low is not None:
        rest = f.add(rest, f.fma(f.mul(z, -0.5), low, low))
    return f.add(r, rest)


def cos_kernel(f: Function, r: Value, low: Value | None) -> Value:
    """Return cos(r + low) for |r| <= pi/4; what rounding 1 - r^2/2 loses is added back."""
    z = f.mul(r, r)
    half = f.mul(z, 0.5)
    w = f.sub(1.0, half)
    rest = f.mul(f.mul(z, z), horner(f, z, COS[format_of(r).type]))
    if low is not None:
        rest = f.fma(f.unary("fneg", r), low, rest)
    return f.add(w, f.add(f.sub(f.sub(1.0, w), half), rest))


def circular(f: Function, x: Value, turn: int) -> Value:
    """Return sin(x + turn pi/2)."""
    wide = vector("f64", lanes(x.type))
    exact = x.type == wide
    quarter, r, low = reduce_angle(f, f.convert("fpext", x, wide), exact=exact)
    r, tail = (r, low) if exact else (f.convert("fptrunc", r, x.type), None)
    if turn:
        quarter = f.add(quarter, turn)
    odd = f.compare("ne", f.op("and", quarter, 1), 0)
    result = f.select(odd, cos_kernel(f, r, tail), sin_kernel(f, r, tail))
    negate = f.compare("ne", f.op("and", quarter, 2), 0)
    result = f.select(negate, f.unary("fneg", result), result)
    finite = f.compare("olt", f.unary("fabs", x), math.inf)
    return f.select(finite, result, f.const(math.nan, x.type))


def sin(f: Function, x: Value) -> Value:
    """Return the sine; the sign of -0 is kept."""
    return f.select(f.compare("oeq", x, 0.0), x, circular(f, x, 0))


def cos(f: Function, x: Value) -> Value:
    """Return the cosine."""
    return circular(f, x, 1)
