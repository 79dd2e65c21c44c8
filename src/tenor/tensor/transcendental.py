"""Logarithms, exponentials and their kin that are compositions of primitives.

Each is worked out in a dtype with bits to spare and rounded once, so that the result is as near as
that of a primitive: log2(8) is 3 exactly, and the halves lose nothing between the steps.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.elementwise import abs as magnitude
from tenor.tensor.elementwise import (
    clamp,
    erf,
    exp,
    expm1,
    log,
    log1p,
    rpow_,
    sin,
    where,
)
from tenor.tensor.elementwise import cos as cosine
from tenor.tensor.elementwise import round as nearest
from tenor.tensor.operands import cast, constant, floating, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.tensor.tensor import Tensor

__all__ = [
    "cosh",
    "erfc",
    "exp2",
    "log2",
    "log10",
    "logaddexp",
    "logit",
    "sinh",
    "tan",
]


def widened(x: Tensor) -> Tensor:
    """Return x in a dtype with bits to spare: float64, or float32 for the halves."""
    return cast(x, dt.float32 if x.element_type.itemsize == 2 else dt.float64)


def rounded_once(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Let a composition work in a wider dtype; integers become floats first."""

    @macro
    @functools.wraps(function)
    def call(x: Tensor) -> Tensor:
        x = floating(x)
        return cast(function(widened(x)), x.element_type)

    return call


def _at_powers(base: float, x: Tensor) -> Tensor:
    """Return the logarithm to a base, exact where x is a whole power of it."""
    found = log(x) * (1.0 / math.log(base))
    whole = nearest(found.detach())
    power_of = (rpow_(whole, base) == x) & (magnitude(whole) < math.inf)
    correction: Tensor = where(power_of, whole - found, 0.0)
    return found + correction.detach()


@rounded_once
def log2(x: Tensor) -> Tensor:
    """Return the logarithm to base 2, exact at powers of 2."""
    return _at_powers(2.0, x)


@rounded_once
def log10(x: Tensor) -> Tensor:
    """Return the logarithm to base 10, exact at powers of 10."""
    return _at_powers(10.0, x)


def exp2(x: Tensor) -> Tensor:
    """Return 2 to the x."""
    return rpow_(floating(x), 2.0)


@rounded_once
def tan(x: Tensor) -> Tensor:
    """Return the tangent; x in radians."""
    return sin(x) / cosine(x)


@rounded_once
def sinh(x: Tensor) -> Tensor:
    """Return (exp(x) - exp(-x)) / 2, without cancellation near 0 or early overflow."""
    # sinh(x) = 2 sinh(x/2) cosh(x/2), the halves from expm1.
    up, down = expm1(x * 0.5), expm1(x * -0.5)
    return _finite(x, (up - down) * 0.5 * (up + down + 2.0), x)


@rounded_once
def cosh(x: Tensor) -> Tensor:
    """Return (exp(x) + exp(-x)) / 2, without early overflow."""
    root = exp(x * 0.5)
    return _finite(x, root * 0.5 * root + 0.5 / root / root, magnitude(x))


def _finite(x: Tensor, value: Tensor, otherwise: Tensor) -> Tensor:
    """Return a value where x is finite."""
    return where(magnitude(x) < math.inf, value, otherwise)  # type: ignore[no-any-return]


# log(erfc(z) / t) + z^2 for t = 2 / (2 + z), a Chebyshev series in 2 t - 1; worked out with 50
# digits. The last terms kept are below half a unit of float64.
TAIL = (
    -6.51326859890854717e-01,
    6.41969792356490260e-01,
    1.94764732041858363e-02,
    -9.56151478680863164e-03,
    -9.46595344482036866e-04,
    3.66839497852761452e-04,
    4.25233248069077716e-05,
    -2.02785781125342432e-05,
    -1.62429000464702551e-06,
    1.30365583558052320e-06,
    1.56264417220661432e-08,
    -8.52380959149265425e-08,
    6.52905443909885150e-09,
    5.05934349555146894e-09,
    -9.91364156493033087e-10,
    -2.27365122293183586e-10,
    9.64679110201552680e-11,
    2.39403808303911474e-12,
    -6.88602752649755340e-12,
    8.94487927309072572e-13,
    3.13092139934295808e-13,
    -1.12708223613672524e-13,
    3.81090525518923206e-16,
    7.10609761360923699e-15,
    -1.52302820145710430e-15,
    -9.45749457129123400e-17,
    1.21023718922427899e-16,
    -2.81666308774717697e-17,
)


def _series(u: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return a Chebyshev series at u, by Clenshaw's recurrence."""
    number = functools.partial(constant, dtype=u.element_type)
    twice = u + u
    after, this = number(0.0), number(coefficients[-1])
    for c in coefficients[-2:0:-1]:
        after, this = this, record(ops.ADD, (twice * this - after, number(c)))
    made: Tensor = record(ops.ADD, (u * this - after, number(coefficients[0])))
    return made


@macro
def erfc(x: Tensor) -> Tensor:
    """Return 1 - erf(x), accurate also where it is tiny."""
    x = floating(x)
    wide = cast(x, dt.float64)
    # The halves and float32 need fewer terms than float64 is summed to.
    terms = TAIL if x.element_type is dt.float64 else TAIL[:17]
    here = wide.detach()
    z = magnitude(here)
    t = 2.0 / (z + 2.0)
    tail = t * exp(_series(t * 2.0 - 1.0, terms) - z * z)
    value: Tensor = where(here < 0, 2.0 - tail, tail)
    # The gradient is erf's; what it is taken from adds an exact zero.
    plain = erf(wide)
    return cast(value - (plain - plain.detach()), x.element_type)


@macro
def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """Return log(x / (1 - x)), x first clamped to [eps, 1 - eps] if eps is given."""
    x = floating(x)
    wide = cast(x, x.element_type.compute)
    if eps is not None:
        wide = clamp(wide, eps, 1.0 - eps)
    return cast(log(wide / (1.0 - wide)), x.element_type)


@macro
def logaddexp(x: Tensor, other: Tensor) -> Tensor:
    """Return log(exp(x) + exp(other)), without overflow.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    a, b = prepare("logaddexp", x, other, "float")
    dtype = a.element_type
    a, b = cast(a, dtype.compute), cast(b, dtype.compute)
    high, low = parted(a, b, a > b)
    endless = (high == low) & (magnitude(high) == math.inf)
    return cast(high + log1p(exp(where(endless, 0.0, low - high))), dtype)


def parted(a: Tensor, b: Tensor, larger: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and b, a first where it is said to be the larger.

    By a choice, not as maximum and minimum: at a tie those halve their gradients, which is right
    once but not for derivatives of derivatives.
    """
    return where(larger, a, b), where(larger, b, a)
