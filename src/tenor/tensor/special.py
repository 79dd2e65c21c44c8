"""Functions of angles and signs and other elementwise ones that are compositions of primitives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.engine.trace import record
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.elementwise import (
    abs as magnitude,
)
from tenor.tensor.elementwise import (
    clamp,
    cos,
    erf,
    exp,
    floor,
    isnan,
    log,
    log1p,
    sign,
    sin,
    sqrt,
    trunc,
    where,
)
from tenor.tensor.operands import Number, cast, constant, fitted, floating, result_type
from tenor.tensor.transcendental import parted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = [
    "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "asin", "asinh", "atan", "atan2", "atanh", "bitwise_left_shift", "bitwise_right_shift",
    "clamp_max", "clamp_min", "copysign", "deg2rad", "digamma", "erfinv", "fix", "float_power",
    "fmax", "fmin", "hypot", "isneginf", "isposinf", "isreal", "ldexp", "lgamma", "logaddexp2",
    "positive", "rad2deg", "rsub", "sgn", "signbit", "sinc", "xlogy",
]  # fmt: skip


def _wide(x: Tensor) -> Tensor:
    """Return x in a dtype with bits to spare: float64, or float32 for the halves."""
    return cast(x, dt.float32 if x.element_type.itemsize == 2 else dt.float64)


def _pair(x: Tensor | Number, other: Tensor | Number) -> tuple[Tensor, Tensor, DType]:
    """Return two operands as wide floats, and the dtype of the result."""
    dtype = result_type(x, other)
    dtype = dtype if dtype.kind == "float" else dt.default_float
    return _wide(fitted(x, dtype)), _wide(fitted(other, dtype)), dtype


def _chosen(condition: Tensor, a: Tensor | Number, b: Tensor | Number) -> Tensor:
    made: Tensor = where(condition, a, b)
    return made


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Return a polynomial's value, the highest power's coefficient first."""
    value: Tensor = x * 0.0 + coefficients[0]
    for coefficient in coefficients[1:]:
        value = record(ops.ADD, (value * x, constant(coefficient, x.element_type)))
    return value


# -- signs --------------------------------------------------------------------------------------
def signbit(x: Tensor) -> Tensor:
    """Return where the sign is minus, of -0 too; NaN counts as positive."""
    if x.element_type.kind != "float":
        return x < 0
    safe = _chosen(x == 0, x, 1.0)
    return (x < 0) | (1.0 / safe < 0)


def copysign(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x with another number's sign."""
    dtype = result_type(x, other)
    dtype = dtype if dtype.kind == "float" else dt.default_float
    sized, like = magnitude(cast(x, dtype)), fitted(other, dtype)
    return _chosen(signbit(like), -sized, sized)


def sgn(x: Tensor) -> Tensor:
    """Return the sign of x: -1, 0 or 1."""
    return sign(x)


def positive(x: Tensor) -> Tensor:
    """Return x."""
    return x


def isposinf(x: Tensor) -> Tensor:
    """Return where x is +infinity."""
    return x == math.inf if x.element_type.kind == "float" else x != x


def isneginf(x: Tensor) -> Tensor:
    """Return where x is -infinity."""
    return x == -math.inf if x.element_type.kind == "float" else x != x


def isreal(x: Tensor) -> Tensor:
    """Return where x is real, which it always is."""
    return (x == x) | isnan(x)


def _signed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sign of x as 1 or -1, of zeros too, and |x|; unlike abs it has a slope at 0."""
    unit = _chosen(signbit(x), -1.0, x * 0.0 + 1.0)
    unit = _chosen(magnitude(x) < math.inf, unit, sign(x))
    return unit.detach(), x * unit.detach()


# -- angles -------------------------------------------------------------------------------------
# atan(u) = u - u z (a0 + a1 z + ...), z = u^2, |u| < 7/16; the last coefficient first.
# Source: fdlibm, Sun Microsystems, 1993.
ARCTAN = (
    1.62858201153657823623e-02, -3.65315727442169155270e-02, 4.97687799461593236017e-02,
    -5.83357013379057348645e-02, 6.66107313738753120669e-02, -7.69187620504482999495e-02,
    9.09088713343650656196e-02, -1.11111104054623557880e-01, 1.42857142725034663711e-01,
    -1.99999999998764832476e-01, 3.33333333333329318027e-01,
)  # fmt: skip
EIGHTH = math.tan(math.pi / 8)


def _small_angle(r: Tensor) -> Tensor:
    """Return atan(r) for r in [0, 1]: above tan(pi/8) it is pi/4 + atan((r - 1) / (r + 1))."""
    steep = r > EIGHTH
    u = _chosen(steep, (r - 1.0) / (r + 1.0), r)
    z = u * u
    angle = u - u * z * _polynomial(z, ARCTAN)
    return _chosen(steep, angle + math.pi / 4, angle)


def _angle(y: Tensor, x: Tensor) -> Tensor:
    """Return atan2(y, x) of wide operands."""
    (up, a), (right, b) = _signed(y), _signed(x)
    steep = a > b
    high, low = parted(a, b, steep)
    # 0/0 counts as 0 and inf/inf as 1; NaN is neither.
    nothing = (high == low) & ((high == 0) | (high == math.inf))
    even = _chosen(high == 0, 0.0, 1.0)
    ratio = _chosen(nothing, even, low / _chosen(nothing, 1.0, high))
    angle = _small_angle(ratio)
    angle = _chosen(steep, math.pi / 2 - angle, angle)
    return _chosen(right < 0, math.pi - angle, angle) * up


def atan2(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return the angle of the point (other, x) from the first axis, in [-pi, pi]."""
    y, horizontal, dtype = _pair(x, other)
    return cast(_angle(y, horizontal), dtype)


def atan(x: Tensor) -> Tensor:
    """Return the inverse tangent, in [-pi/2, pi/2]."""
    x = floating(x)
    wide = _wide(x)
    up, a = _signed(wide)
    steep = a > 1.0
    angle = _small_angle(_chosen(steep, 1.0 / _chosen(steep, a, 1.0), a))
    return cast(_chosen(steep, math.pi / 2 - angle, angle) * up, x.element_type)


def asin(x: Tensor) -> Tensor:
    """Return the inverse sine, in [-pi/2, pi/2]; NaN outside [-1, 1]."""
    x = floating(x)
    wide = _wide(x)
    return cast(_angle(wide, sqrt(1.0 - wide) * sqrt(1.0 + wide)), x.element_type)


def acos(x: Tensor) -> Tensor:
    """Return the inverse cosine, in [0, pi]; NaN outside [-1, 1]."""
    x = floating(x)
    wide = _wide(x)
    return cast(_angle(sqrt(1.0 - wide) * sqrt(1.0 + wide), wide), x.element_type)


def deg2rad(x: Tensor) -> Tensor:
    """Return degrees as radians."""
    return floating(x) * (math.pi / 180)


def rad2deg(x: Tensor) -> Tensor:
    """Return radians as degrees."""
    return floating(x) * (180 / math.pi)


def sinc(x: Tensor) -> Tensor:
    """Return sin(pi x) / (pi x), 1 at 0."""
    x = floating(x)
    wide = _wide(x) * math.pi
    safe = _chosen(wide == 0, 1.0, wide)
    # Near 0 the gradient is that of the series, so that it is right at 0 too.
    near = magnitude(wide) < 1e-4
    return cast(_chosen(near, 1.0 - wide * wide / 6.0, sin(safe) / safe), x.element_type)


# -- hyperbolic angles ----------------------------------------------------------------------------
LARGE = 2.0**28


def asinh(x: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine."""
    x = floating(x)
    wide = _wide(x)
    up, a = _signed(wide)
    large = a > LARGE
    low = _chosen(large, 1.0, a)
    square = low * low
    small = log1p(low + square / (1.0 + sqrt(1.0 + square)))
    value = _chosen(large, log(_chosen(large, a, 1.0)) + math.log(2.0), small)
    return cast(value * up, x.element_type)


def acosh(x: Tensor) -> Tensor:
    """Return the inverse hyperbolic cosine; NaN below 1."""
    x = floating(x)
    wide = _wide(x)
    large = wide > LARGE
    over = _chosen(large, 2.0, wide) - 1.0
    small = log1p(over + sqrt(over) * sqrt(over + 2.0))
    value = _chosen(large, log(_chosen(large, wide, 1.0)) + math.log(2.0), small)
    return cast(value, x.element_type)


def atanh(x: Tensor) -> Tensor:
    """Return the inverse hyperbolic tangent; NaN outside [-1, 1]."""
    x = floating(x)
    wide = _wide(x)
    return cast((log1p(wide) - log1p(-wide)) * 0.5, x.element_type)


# -- lengths, powers, logarithms ------------------------------------------------------------------
def hypot(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return sqrt(x^2 + other^2), without overflow."""
    a, b, dtype = _pair(x, other)
    high, low = parted(a, b, magnitude(a) > magnitude(b))
    top = magnitude(high)
    plain = (top > 0) & (top < math.inf)
    ratio = low / _chosen(plain, high, 1.0)
    length = _chosen(plain, top * sqrt(1.0 + ratio * ratio), magnitude(a) + magnitude(b))
    endless = (magnitude(a) == math.inf) | (magnitude(b) == math.inf)
    return cast(_chosen(endless, math.inf, length), dtype)


def float_power(x: Tensor | Number, exponent: Tensor | Number) -> Tensor:
    """Return x to the power exponent in float64."""
    base, power = fitted(x, dt.float64), fitted(exponent, dt.float64)
    return base**power


def ldexp(x: Tensor, other: Tensor) -> Tensor:
    """Return x times 2 to the power other."""
    return x * 2.0**other


def logaddexp2(x: Tensor, other: Tensor) -> Tensor:
    """Return log2(2^x + 2^other), without overflow."""
    high, low = parted(x, other, x > other)
    endless = (high == low) & (magnitude(high) == math.inf)
    gap = _chosen(endless, 0.0, low - high)
    made: Tensor = high + log1p(exp(gap * math.log(2.0))) * (1 / math.log(2.0))
    return made


def xlogy(x: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Return x log(other); 0 where x is 0, unless other is NaN."""
    dtype = result_type(x, other)
    dtype = dtype if dtype.kind == "float" else dt.default_float
    a, b = fitted(x, dtype), fitted(other, dtype)
    zero = (a == 0) & ~isnan(b)
    return _chosen(zero, 0.0, a * log(_chosen(zero, 1.0, b)))


# erfinv(x) = x p(w), w = -log(1 - x^2), in the middle and in the tails.
# Source: Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011.
MIDDLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def erfinv(x: Tensor) -> Tensor:
    """Return the inverse of the error function; infinite at -1 and 1, NaN outside."""
    x = floating(x)
    wide = _wide(x)
    ends = magnitude(wide) >= 1.0
    inner = _chosen(ends, 0.0, wide)
    w = -log((1.0 - inner) * (1.0 + inner))
    tail = w >= 5.0
    p = _chosen(
        tail,
        _polynomial(sqrt(_chosen(tail, w, 9.0)) - 3.0, TAIL),
        _polynomial(_chosen(tail, 0.0, w - 2.5), MIDDLE),
    )
    y = p * inner
    for _ in range(2):  # Newton: erf'(y) = 2 / sqrt(pi) exp(-y^2)
        y = y - (erf(y) - inner) * exp(y * y) * (math.sqrt(math.pi) / 2)
    outer = _chosen(wide == 1.0, math.inf, _chosen(wide == -1.0, -math.inf, math.nan))
    return cast(_chosen(ends, outer, y), x.element_type)


# Stirling's series: lgamma(z) - (z - 1/2) log z + z - log(2 pi)/2 in 1/z, and digamma(z) - log z.
STIRLING = (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
DIGAMMA = (691 / 32760, -1 / 132, 1 / 240, -1 / 252, 1 / 120, -1 / 12)
FAR = 10.0  # where the series are exact to the last bits


def _raised_argument(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return which arguments are too small for a series, and all of them moved up."""
    near = x < FAR
    return near, _chosen(near, x + FAR, x)


def lgamma(x: Tensor) -> Tensor:
    """Return the logarithm of |gamma(x)|; infinite at 0, -1, -2 ..."""
    x = floating(x)
    wide = _wide(x)
    low = wide < 0.5
    a = _chosen(low, 1.0 - wide, wide)
    near, z = _raised_argument(a)
    product = a
    for k in range(1, int(FAR)):
        product = product * (a + float(k))
    inverse = 1.0 / z
    tail = _polynomial(inverse * inverse, STIRLING) * inverse
    value = (z - 0.5) * log(z) - z + (0.5 * math.log(2 * math.pi)) + tail
    value = value - log(_chosen(near, product, 1.0))
    value = _chosen(a == math.inf, math.inf, value)
    # |gamma(x) gamma(1 - x)| = pi / |sin(pi x)|
    turn = magnitude(sin((wide - floor(wide)) * math.pi))
    mirrored = math.log(math.pi) - log(_chosen(low, turn, 1.0)) - value
    return cast(_chosen(wide == -math.inf, math.inf, _chosen(low, mirrored, value)), x.element_type)


def digamma(x: Tensor) -> Tensor:
    """Return the derivative of lgamma; NaN at -1, -2 ... and infinite at 0."""
    x = floating(x)
    wide = _wide(x)
    low = wide < 0.5
    a = _chosen(low, 1.0 - wide, wide)
    near, z = _raised_argument(a)
    below = 1.0 / a
    for k in range(1, int(FAR)):
        below = below + 1.0 / (a + float(k))
    inverse = 1.0 / z
    square = inverse * inverse
    value = log(z) - inverse * 0.5 + _polynomial(square, DIGAMMA) * square
    value = value - _chosen(near, below, 0.0)
    part = wide - floor(wide)
    whole = part == 0
    turn = _chosen(low & ~whole, part, 0.25) * math.pi
    value = _chosen(low, value - cos(turn) / sin(turn) * math.pi, value)
    value = _chosen(low & whole, math.nan, value)
    zero = _chosen(signbit(wide), math.inf, -math.inf)
    return cast(_chosen(wide == 0, zero, value), x.element_type)


# -- bounds and small variants --------------------------------------------------------------------
def fmax(x: Tensor, other: Tensor) -> Tensor:
    """Return the larger; the other where one is NaN. Where they tie, the gradient is x's."""
    return _chosen((x >= other) | isnan(other), x, other)


def fmin(x: Tensor, other: Tensor) -> Tensor:
    """Return the smaller; the other where one is NaN. Where they tie, the gradient is x's."""
    return _chosen((x <= other) | isnan(other), x, other)


def clamp_min(x: Tensor, min: Tensor | Number) -> Tensor:
    """Return x, not below a bound."""
    return clamp(x, min=min)


def clamp_max(x: Tensor, max: Tensor | Number) -> Tensor:
    """Return x, not above a bound."""
    return clamp(x, max=max)


def rsub(x: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Return other - alpha * x."""
    return other - (x if alpha == 1 else x * alpha)


def bitwise_left_shift(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x << other."""
    return x << other


def bitwise_right_shift(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x >> other, keeping the sign."""
    return x >> other


# -- other names for the same ---------------------------------------------------------------------
arccos, arccosh, arcsin, arcsinh = acos, acosh, asin, asinh
arctan, arctan2, arctanh, fix = atan, atan2, atanh, trunc
