"""exp, log and what is made of them, for float32 and float64.

Method: Cody and Waite's reduction by a multiple of ln 2, then a minimax polynomial (Remez,
weighted for relative error of the whole function). Constants of the reduction and the form of
log in float64 are fdlibm's (Sun Microsystems, 1993). Bounds: `docs/numerics.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.formats import (
    F32,
    Format,
    bits,
    format_of,
    from_bits,
    horner,
    power_of_two,
    with_sign,
)

if TYPE_CHECKING:
    from tenor.ir.loops import Function, Value

__all__ = ["erf", "exp", "exp_parts", "expm1", "log", "log1p", "sigmoid", "split", "tanh"]


@dataclass(frozen=True, slots=True)
class Table:
    """What differs between the formats.

    Attributes:
        ln2: High and low part of ln 2; a reduction's multiple of the high part is exact.
        exp: p with e^r = 1 + r + r^2 p(r) for |r| <= ln(2)/2.
        underflow, overflow: Where exp is 0 and where it is infinite.
        ones: Where expm1 is -1, and where tanh is 1.
        tanh: p with tanh(x) = x + x^3 p(x^2) for |x| < 9/16.
        log: float32: p with log(1 + f) = f - f^2/2 + f^3 p(f) for |f| <= 1/3.
            float64: R with log(1 + f) = 2s + s^3 R(s^2), s = f/(2 + f), for 1 + f in
            [sqrt(1/2), sqrt(2)).
        log_low: The representation of the low end of the mantissa's interval for log.
        erf_small: p with erf(x) = x + x p(x^2) for |x| < 15/16.
        erf_tail: p with erfc(x) = e^(x p(x)) for 15/16 <= x <= erf_limit.
        erf_limit: Where erf is 1.
    """

    ln2: tuple[float, float]
    exp: tuple[float, ...]
    underflow: float
    overflow: float
    ones: tuple[float, float]
    tanh: tuple[float, ...]
    log: tuple[float, ...]
    log_low: int
    erf_small: tuple[float, ...]
    erf_tail: tuple[float, ...]
    erf_limit: float


TABLES: Final = {
    "f32": Table(
        ln2=(0.693359375, -2.12194440e-4),
        exp=(0.0013814577832818031, 0.008368726819753647, 0.04166838899254799, 0.1666652113199234,
             0.4999999403953552),
        underflow=-104.0, overflow=89.0, ones=(-18.0, 10.0),
        tanh=(-0.006179815623909235, 0.021007463335990906, -0.053837429732084274,
              0.1333245187997818, -0.3333331346511841),
        log=(0.12007138133049011, -0.1284506469964981, 0.10754239559173584, -0.12195776402950287,
             0.14304456114768982, -0.1667957901954651, 0.1999959796667099, -0.24999819695949554,
             0.3333333432674408),
        log_low=0x3F2AAAAB,
        erf_small=(8.2674618170131e-05, -0.0008118075202219188, 0.005198829807341099,
                   -0.02685849741101265, 0.1128367930650711, -0.37612631916999817,
                   0.12837916612625122),
        erf_tail=(-1.1890397217939608e-05, 0.00032942110556177795, -0.0036694544833153486,
                  0.023819364607334137, -0.10630366206169128, -0.6351107954978943,
                  -1.1286585330963135),
        erf_limit=4.0,
    ),
    "f64": Table(
        ln2=(6.93147180369123816490e-01, 1.90821492927058770002e-10),
        exp=(2.5000046193010787e-08, 2.763026923055135e-07, 2.7557586528750633e-06,
             2.480149304513617e-05, 0.00019841269506288824, 0.0013888888943676876,
             0.008333333333494647, 0.04166666666653, 0.16666666666666413, 0.5000000000000011),
        underflow=-746.0, overflow=710.0, ones=(-40.0, 22.0),
        tanh=(-1.8903951360307074e-05, 8.23609085375321e-05, -0.000232716203046891,
              0.0005881836419195559, -0.0014554796399495608, 0.0035920822496354585,
              -0.008863231637127381, 0.021869488327271005, -0.05396825396172413,
              0.13333333333323133, -0.33333333333333276),
        log=(0.14795949480581486, 0.15314050575057558, 0.18183564325173926, 0.22222198573204127,
             0.28571428742387406, 0.3999999999941468, 0.6666666666666734),
        log_low=0x3FE6A09E667F3BCD,
        erf_small=(-8.219852872410765e-10, 1.3929306896351897e-08, -1.6253040353354933e-07,
                   1.6452780522594644e-06, -1.4925136101576408e-05, 0.00012055313985344773,
                   -0.0008548326559851876, 0.005223977618248847, -0.026866170644470937,
                   0.11283791670951986, -0.3761263890318369, 0.12837916709551256),
        erf_tail=(-2.03656018107457e-13, 1.0062427230283044e-11, -2.3428156114467793e-10,
                  3.417226429175554e-09, -3.499286449771813e-08, 2.6687190271151945e-07,
                  -1.5658662814974708e-06, 7.171453406228442e-06, -2.5522322153259605e-05,
                  6.796065156830015e-05, -0.00011743156984893304, 3.315013060618454e-05,
                  0.0005373575950805363, -0.0016588746737577107, 0.0001887589247479517,
                  0.01913679290612543, -0.1027749957117841, -0.6366193431990812,
                  -1.128379203323718),
        erf_limit=6.0,
    ),
}  # fmt: skip

INF: Final = math.inf
NAN: Final = math.nan


def clamp(f: Function, x: Value, low: float, high: float) -> Value:
    """Return x limited to [low, high]; the constant stands first, so that NaN passes."""
    return f.op("fmax", low, f.op("fmin", high, x))


def exp_parts(f: Function, x: Value, low: Value | None = None) -> tuple[Value, Value]:
    """Return integer k and q with e^(x + low) = 2^k (1 + q), |q| < 0.42.

    Adding the magic number rounds to an integer in the low bits, where NaN does no harm; a
    conversion of NaN to an integer would be undefined.
    """
    fmt, table = format_of(x), TABLES[format_of(x).type]
    magic = f.const(fmt.magic, x.type)
    shifted = f.fma(x, f.const(1 / math.log(2), x.type), magic)
    n = f.sub(shifted, magic)
    r = f.fma(n, f.const(-table.ln2[0], x.type), x)
    r = f.fma(n, f.const(-table.ln2[1], x.type), r)
    if low is not None:
        r = f.add(r, low)
    q = f.fma(f.mul(r, r), horner(f, r, table.exp), r)
    return f.sub(bits(f, shifted), fmt.magic_bits), q


def scale(f: Function, x: Value, k: Value) -> Value:
    """Return x * 2^k by two factors, so that it overflows and underflows in one rounding."""
    fmt = format_of(x)
    half = f.op("ashr", k, 1)
    x = f.mul(x, power_of_two(f, fmt, half))
    return f.mul(x, power_of_two(f, fmt, f.sub(k, half)))


def exp(f: Function, x: Value) -> Value:
    """Return e^x; where it vanishes nothing is scaled, for subnormals are slow to come by."""
    table = TABLES[format_of(x).type]
    nothing, zero = f.compare("olt", x, table.underflow), f.const(0.0, x.type)
    k, q = exp_parts(f, f.op("fmin", table.overflow, f.select(nothing, zero, x)))
    return f.select(nothing, zero, scale(f, f.add(q, 1.0), k))


def expm1(f: Function, x: Value) -> Value:
    """Return e^x - 1 = 2 (2^(k-1) q + (2^(k-1) - 1/2)); half of 2^128 is still finite."""
    fmt, table = format_of(x), TABLES[format_of(x).type]
    k, q = exp_parts(f, clamp(f, x, table.ones[0], table.overflow))
    half = power_of_two(f, fmt, f.sub(k, 1))
    result = f.mul(f.fma(half, q, f.sub(half, 0.5)), 2.0)
    # Where rounding is coarser than x itself the sum would lose it, and the sign of -0.
    return f.select(f.compare("olt", f.unary("fabs", x), fmt.min_normal), x, result)


def sigmoid(f: Function, x: Value) -> Value:
    """Return 1 / (1 + e^-x): t = 1 / (1 + e^|x|) for negative x, 1 - t else, which adds no error.

    1 + e^|x| is 2^k + (2^k q + 1), where only the last rounding weighs. Both parts of the fraction
    are scaled by c = 2^-(mantissa + 1): 2^k stays finite down to where the result vanishes.
    """
    fmt, table = format_of(x), TABLES[format_of(x).type]
    k, q = exp_parts(f, f.op("fmin", -table.underflow, f.unary("fabs", x)))
    c = 2.0 ** -(fmt.mantissa + 1)
    power = power_of_two(f, fmt, f.sub(k, fmt.mantissa + 1))
    t = f.op("fdiv", c, f.add(power, f.fma(power, q, f.const(c, x.type))))
    return f.select(f.compare("olt", x, 0.0), t, f.sub(1.0, t))


def tanh(f: Function, x: Value) -> Value:
    """Return x + x^3 p(x^2) near 0, 1 - 2 / (e^(2|x|) + 1) beyond, with the sign of x."""
    fmt, table = format_of(x), TABLES[format_of(x).type]
    a = f.op("fmin", table.ones[1], f.unary("fabs", x))
    z = f.mul(a, a)
    small = f.fma(f.mul(z, a), horner(f, z, table.tanh), a)
    k, q = exp_parts(f, f.add(a, a))
    power = power_of_two(f, fmt, k)
    large = f.sub(1.0, f.op("fdiv", 2.0, f.fma(power, q, f.add(power, 1.0))))
    return with_sign(f, f.select(f.compare("olt", a, 0.5625), small, large), x)


def erf(f: Function, x: Value) -> Value:
    """Return the error function: x + x p(x^2) near 0, 1 - e^(|x| q(|x|)) beyond."""
    fmt, table = format_of(x), TABLES[format_of(x).type]
    a = f.op("fmin", table.erf_limit, f.unary("fabs", x))
    small = f.fma(a, horner(f, f.mul(a, a), table.erf_small), a)
    k, q = exp_parts(f, f.mul(a, horner(f, a, table.erf_tail)))
    power = power_of_two(f, fmt, k)
    tail = f.fma(f.unary("fneg", power), q, f.sub(1.0, power))
    return with_sign(f, f.select(f.compare("olt", a, 0.9375), small, tail), x)


def split(f: Function, fmt: Format, x: Value, low: int) -> tuple[Value, Value]:
    """Return integer e and m with x = 2^e m, the representation of m in [low, low + 2^mantissa).

    Meaningful for finite x > 0, subnormals included; harmless for the rest.
    """
    tiny = f.compare("olt", x, fmt.min_normal)
    up = fmt.mantissa + 1
    i = bits(f, f.select(tiny, f.mul(x, 2.0**up), x))
    e = f.op("ashr", f.sub(i, low), fmt.mantissa)
    m = from_bits(f, fmt, f.sub(i, f.op("shl", e, fmt.mantissa)))
    return f.sub(e, f.select(tiny, f.const(up, e.type), f.const(0, e.type))), m


def log_parts(f: Function, fmt: Format, e: Value, y: Value) -> Value:
    """Return e ln 2 + log(1 + y) for a float e that is an integer."""
    table = TABLES[fmt.type]
    high, low = (f.const(c, y.type) for c in table.ln2)
    if fmt is F32:
        z = f.mul(y, y)
        rest = f.mul(f.mul(y, z), horner(f, y, table.log))
        rest = f.fma(e, low, rest)
        rest = f.fma(z, f.const(-0.5, y.type), rest)
        return f.fma(e, high, f.add(y, rest))
    s = f.op("fdiv", y, f.add(y, 2.0))
    half = f.mul(f.mul(y, y), 0.5)
    z = f.mul(s, s)
    series = f.mul(s, f.fma(z, horner(f, z, table.log), half))
    rest = f.sub(half, f.fma(e, low, series))
    return f.fma(e, high, f.sub(y, rest))


def log_edges(f: Function, x: Value, result: Value) -> Value:
    """Return the result for finite x > 0; infinity, -infinity at 0, NaN for negative x and NaN."""
    edge = f.select(f.compare("oeq", x, 0.0), f.const(-INF, x.type), f.const(NAN, x.type))
    result = f.select(f.compare("oeq", x, INF), x, result)
    return f.select(f.compare("ogt", x, 0.0), result, edge)


def log(f: Function, x: Value) -> Value:
    """Return the natural logarithm."""
    fmt = format_of(x)
    e, m = split(f, fmt, x, TABLES[fmt.type].log_low)
    result = log_parts(f, fmt, f.convert("sitofp", e, x.type), f.sub(m, 1.0))
    return log_edges(f, x, result)


def log1p(f: Function, x: Value) -> Value:
    """Return log(1 + x): what rounding 1 + x lost is put back into the reduced argument."""
    fmt = format_of(x)
    u = f.add(x, 1.0)
    lost = f.sub(x, f.sub(u, 1.0))
    e, m = split(f, fmt, u, TABLES[fmt.type].log_low)
    # Beyond 2^64 the loss is far below the result; the bound keeps 2^-e a normal number.
    shrink = power_of_two(f, fmt, f.sub(0, f.op("smin", e, 64)))
    y = f.fma(lost, shrink, f.sub(m, 1.0))
    result = log_edges(f, u, log_parts(f, fmt, f.convert("sitofp", e, x.type), y))
    result = f.select(f.compare("oeq", x, INF), x, result)
    return f.select(f.compare("olt", f.unary("fabs", x), fmt.min_normal), x, result)
