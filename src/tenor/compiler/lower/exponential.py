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

__all__ = ["erf", "exp", "exp_finite", "exp_normal", "expm1", "log", "log1p", "sigmoid", "split",
           "tanh"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """What differs between the formats.

    Attributes:
        ln2: High and low part of ln 2; a reduction's multiple of the high part is exact.
        exp: p with e^r = 1 + r + r^2 p(r) for |r| <= ln(2)/2.
        underflow, overflow: Where exp is 0 and where it is infinite.
        ones: Where expm1 is -1, and where tanh is 1.
        tanh: p with tanh(x) = x + x^3 p(x^2) for |x| < 11/16.
        log: float32: p with log(1 + f) = f - f^2/2 + f^3 p(f) for |f| <= 1/3.
            float64: R with log(1 + f) = 2s + s^3 R(s^2), s = f/(2 + f), for 1 + f in
            [sqrt(1/2), sqrt(2)).
        log_low: The representation of the low end of the mantissa's interval for log.
        erf_small: p with erf(x) = x + x p(x^2 - 3/4) for |x| < 5/4.
        erf_tail: q with erfc(x) = q(x - 1)^4 for 5/4 <= x <= erf_limit.
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
        tanh=(-0.005233587231487036, 0.02019272930920124, -0.053595349192619324,
              0.13329625129699707, -0.3333321213722229),
        log=(0.12007138133049011, -0.1284506469964981, 0.10754239559173584, -0.12195776402950287,
             0.14304456114768982, -0.1667957901954651, 0.1999959796667099, -0.24999819695949554,
             0.3333333432674408),
        log_low=0x3F2AAAAB,
        erf_small=(-6.666611170658143e-06, 6.400573329301551e-05, -0.00045661130570806563,
                   0.002846968360245228, -0.015130825340747833, 0.06691890954971313,
                   -0.2445884346961975, -0.100108802318573),
        erf_tail=(-0.00019496715685818344, 0.002089893911033869, -0.006900268141180277,
                  -0.0022403509356081486, 0.04989331588149071, 0.004644795320928097,
                  -0.4155438244342804, 0.6297737956047058),
        erf_limit=4.0,
    ),
    "f64": Table(
        ln2=(6.93147180369123816490e-01, 1.90821492927058770002e-10),
        exp=(2.5000046193010787e-08, 2.763026923055135e-07, 2.7557586528750633e-06,
             2.480149304513617e-05, 0.00019841269506288824, 0.0013888888943676876,
             0.008333333333494647, 0.04166666666653, 0.16666666666666413, 0.5000000000000011),
        underflow=-746.0, overflow=710.0, ones=(-40.0, 22.0),
        tanh=(4.994926271825234e-06, -2.760435340819064e-05, 8.877108259375789e-05,
              -0.00023528384366179597, 0.0005887729736543305, -0.0014555500677800968,
              0.0035920836856115222, -0.008863230889796885, 0.021869488225806796,
              -0.053968253956051856, 0.13333333333309214, -0.33333333333333165),
        log=(0.14795949480581486, 0.15314050575057558, 0.18183564325173926, 0.22222198573204127,
             0.28571428742387406, 0.3999999999941468, 0.6666666666666734),
        log_low=0x3FE6A09E667F3BCD,
        erf_small=(-3.2618776551026293e-12, 4.7564719342041554e-11, -6.176137865480842e-10,
                   7.479197560709242e-09, -8.321155858004507e-08, 8.436952310642148e-07,
                   -7.725334123311695e-06, 6.318505370920628e-05, -0.00045549123891907087,
                   0.0028472083349676434, -0.01513114470010571, 0.06691888796466305,
                   -0.24458841374655804, -0.10010880203447822),
        erf_tail=(-3.2017079541759896e-14, 1.285561349755189e-12, -2.2640594958443312e-11,
                  2.2363937633364389e-10, -1.2904393284309997e-09, 3.897932114853129e-09,
                  -3.59360595881269e-09, 9.136429655427122e-09, -1.7514736140789077e-07,
                  3.251127136734799e-07, 3.5452370540985615e-06, -9.418834926998599e-06,
                  -7.347050854397384e-05, 0.00029615818142597367, 0.0007767740276848505,
                  -0.004930821923790454, -0.004030981665832878, 0.050890549856248225,
                  0.004315721669362215, -0.4154853221570236, 0.6297695139032421),
        erf_limit=6.0,
    ),
}  # fmt: skip

INF: Final = math.inf
NAN: Final = math.nan


def clamp(f: Function, x: Value, low: float, high: float) -> Value:
    """Return x limited to [low, high]; the constant stands first, so that NaN passes."""
    return f.op("fmax", low, f.op("fmin", high, x))


def reduced(f: Function, x: Value, bias: int, times: int = 1) -> tuple[Value, Value]:
    """Return an integer whose lowest bits are k + bias, and r: e^(times x) is 2^k e^(times r).

    Adding the magic number rounds to an integer in the low bits, where NaN does no harm; a
    conversion of NaN to an integer would be undefined. |times r| is at most ln(2)/2; times, a
    power of two, goes into the constants and changes no rounding.
    """
    fmt, table = format_of(x), TABLES[format_of(x).type]
    magic = f.const(fmt.magic + bias, x.type)
    shifted = f.fma(x, f.const(times / math.log(2), x.type), magic)
    n = f.sub(shifted, magic)
    r = f.fma(n, f.const(-table.ln2[0] / times, x.type), x)
    return bits(f, shifted), f.fma(n, f.const(-table.ln2[1] / times, x.type), r)


def two_to(f: Function, fmt: Format, i: Value) -> Value:
    """Return 2^k for an integer whose lowest bits are k + fmt.bias; the rest is shifted out."""
    return from_bits(f, fmt, f.op("shl", i, fmt.mantissa))


def exp_parts(f: Function, x: Value, shift: int = 0) -> tuple[Value, Value]:
    """Return 2^(k + shift) and q with e^x = 2^k (1 + q), |q| < 0.42."""
    fmt = format_of(x)
    i, r = reduced(f, x, fmt.bias + shift)
    q = f.fma(f.mul(r, r), horner(f, r, TABLES[fmt.type].exp), r)
    return two_to(f, fmt, i), q


def exp_near(f: Function, r: Value, times: int = 1) -> Value:
    """Return e^(times r) for |times r| <= ln(2)/2."""
    terms = (*TABLES[format_of(r).type].exp, 1.0, 1.0)
    return horner(f, r, [c * times**k for k, c in zip(range(len(terms))[::-1], terms, strict=True)])


def exp_normal(f: Function, x: Value) -> Value:
    """Return e^x, which is to be a normal number below 2^bias."""
    fmt = format_of(x)
    i, r = reduced(f, x, fmt.bias)
    return f.mul(exp_near(f, r), two_to(f, fmt, i))


def exp_finite(f: Function, x: Value, low: Value | None = None) -> Value:
    """Return e^(x + low) between underflow and overflow.

    2^k comes as two factors, so that the result overflows and underflows in one rounding.
    """
    fmt = format_of(x)
    i, r = reduced(f, x, 2 * fmt.bias)
    r = r if low is None else f.add(r, low)
    half = f.op("lshr", i, 1)
    result = f.mul(exp_near(f, r), two_to(f, fmt, half))
    return f.mul(result, two_to(f, fmt, f.sub(i, half)))


def exp(f: Function, x: Value) -> Value:
    """Return e^x; where it vanishes nothing is scaled, for subnormals are slow to come by."""
    table = TABLES[format_of(x).type]
    some, zero = f.compare("uge", x, table.underflow), f.const(0.0, x.type)
    result = exp_finite(f, f.select(some, f.op("fmin", table.overflow, x), zero))
    return f.select(some, result, zero)


def expm1(f: Function, x: Value) -> Value:
    """Return e^x - 1 = 2 (2^(k-1) q + (2^(k-1) - 1/2)); half of 2^128 is still finite."""
    fmt, table = format_of(x), TABLES[format_of(x).type]
    half, q = exp_parts(f, clamp(f, x, table.ones[0], table.overflow), shift=-1)
    result = f.mul(f.fma(half, q, f.sub(half, 0.5)), 2.0)
    # Where rounding is coarser than x itself the sum would lose it, and the sign of -0.
    return f.select(f.compare("olt", f.unary("fabs", x), fmt.min_normal), x, result)


def sigmoid(f: Function, x: Value) -> Value:
    """Return 1 / (1 + e^-x): t = 1 / (1 + e^|x|) for negative x, 1 - t else, which adds no error.

    1 + e^|x| is 2^k + (2^k q + 1), where only the last rounding weighs. Both parts of the fraction
    are scaled by c = 2^-(mantissa + 1): 2^k stays finite down to where the result vanishes.
    """
    fmt, table = format_of(x), TABLES[format_of(x).type]
    a = f.op("fmin", -table.underflow, f.unary("fabs", x))
    scaled, q = exp_parts(f, a, shift=-(fmt.mantissa + 1))
    c = 2.0 ** -(fmt.mantissa + 1)
    t = f.op("fdiv", c, f.add(scaled, f.fma(scaled, q, f.const(c, x.type))))
    return f.select(f.compare("olt", x, 0.0), t, f.sub(1.0, t))


def tanh(f: Function, x: Value) -> Value:
    """Return x + x^3 p(x^2) near 0, 1 - 2 / (e^(2|x|) + 1) beyond, with the sign of x."""
    fmt, table = format_of(x), TABLES[format_of(x).type]
    one = f.const(1.0, x.type)
    a = f.op("fmin", table.ones[1], f.unary("fabs", x))
    z = f.mul(a, a)
    small = f.fma(f.mul(z, a), horner(f, z, table.tanh), a)
    i, r = reduced(f, a, fmt.bias, times=2)
    large = f.sub(one, f.op("fdiv", 2.0, f.fma(two_to(f, fmt, i), exp_near(f, r, times=2), one)))
    return with_sign(f, f.select(f.compare("uge", a, 0.6875), large, small), x)


def erf(f: Function, x: Value) -> Value:
    """Return the error function: x + x p(x^2 - 3/4) near 0, 1 - q(|x| - 1)^4 beyond.

    A polynomial comes near the fourth root of erfc, and erfc is small where the power magnifies
    its errors. Taken about 3/4 and 1, the last step of each rounds little where that shows most.
    """
    table = TABLES[format_of(x).type]
    a = f.op("fmin", table.erf_limit, f.unary("fabs", x))
    z = f.fma(a, a, f.const(-0.75, x.type))
    small = f.fma(a, horner(f, z, table.erf_small), a)
    root = horner(f, f.sub(a, 1.0), table.erf_tail)
    square = f.mul(root, root)
    tail = f.fma(f.unary("fneg", square), square, f.const(1.0, x.type))
    return with_sign(f, f.select(f.compare("olt", a, 1.25), small, tail), x)


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
