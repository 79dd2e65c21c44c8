"""The two formats arithmetic is done in, and the bit-level moves every function shares.

All functions here take scalars or vectors of any number of lanes and treat every lane alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.ir.loops import element, lanes, vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.loops import Function, Value

__all__ = ["F32", "F64", "Format", "any_lane", "bits", "format_of", "from_bits", "horner",
           "power_of_two", "two_sum", "with_sign"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Format:
    """An IEEE binary format.

    Attributes:
        type: The element type, "f32" or "f64".
        int_type: The integer type of the same width.
        mantissa: Bits of the stored fraction.
        bias: Of the exponent.
        min_normal: The smallest normal number.
        magic: 1.5 * 2**mantissa: adding it rounds to an integer, which stands in the low bits.
    """

    type: str
    int_type: str
    mantissa: int
    bias: int
    min_normal: float

    @property
    def magic(self) -> float:
        """1.5 * 2**mantissa."""
        return 1.5 * 2.0**self.mantissa

    @property
    def sign_bit(self) -> int:
        """The representation of -0.0, as a signed integer."""
        return -(1 << (self.mantissa + (8 if self.type == "f32" else 11)))


F32: Final = Format("f32", "i32", 23, 127, 2.0**-126)
F64: Final = Format("f64", "i64", 52, 1023, 2.0**-1022)


def format_of(x: Value) -> Format:
    """Return the format of a scalar or vector of floats."""
    return F32 if element(x.type) == "f32" else F64


def bits(f: Function, x: Value) -> Value:
    """Return the representation of a float as an integer."""
    return f.convert("bitcast", x, vector(format_of(x).int_type, lanes(x.type)))


def from_bits(f: Function, fmt: Format, i: Value) -> Value:
    """Return the float a representation stands for."""
    return f.convert("bitcast", i, vector(fmt.type, lanes(i.type)))


def power_of_two(f: Function, fmt: Format, k: Value) -> Value:
    """Return 2**k for an integer k in (-bias, bias]."""
    return from_bits(f, fmt, f.op("shl", f.add(k, fmt.bias), fmt.mantissa))


def with_sign(f: Function, magnitude: Value, x: Value) -> Value:
    """Return a non-negative value with the sign of x: copysign."""
    fmt = format_of(x)
    sign = f.op("and", bits(f, x), fmt.sign_bit)
    return from_bits(f, fmt, f.op("or", bits(f, magnitude), sign))


def horner(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """Return the polynomial in x; the coefficient of the highest power comes first."""
    result = f.const(coefficients[0], x.type)
    for c in coefficients[1:]:
        result = f.fma(result, x, f.const(c, x.type))
    return result


def two_sum(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """Return a + b rounded, and what the rounding lost (Knuth)."""
    s = f.add(a, b)
    t = f.sub(s, a)
    return s, f.add(f.sub(a, f.sub(s, t)), f.sub(b, t))


def any_lane(f: Function, mask: Value) -> Value:
    """Return whether any lane of a mask is set."""
    count = lanes(mask.type)
    if count == 1:
        return mask
    while count % 2 == 0 and count > 2:
        count //= 2
        low = f.shuffle(mask, mask, range(count))
        mask = f.op("or", low, f.shuffle(mask, mask, range(count, 2 * count)))
    result = f.extract(mask, 0)
    for lane in range(1, count):
        result = f.op("or", result, f.extract(mask, lane))
    return result
