"""float64 for machines that have float32 alone, on the bits, rounded as IEEE 754 says.

A number is taken apart into sign, exponent and a 64-bit m whose first bit is at place 62:
(-1)^sign * m * 2^(exponent - 1023 - 62). A product or sum is 128 bits, high and low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tenor.compiler.lower.routines import (
    BIAS,
    MANTISSA,
    from_integer,
    given_out,
    kept_bits,
    packed,
    routine,
    to_integer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.loops import Function, Value

__all__ = ["SOFT_DOUBLE"]

INFINITY: Final = 2047 << 52
NAN: Final = 4095 << 51
LOW: Final = (1 << 32) - 1


class Parts(NamedTuple):
    """A float taken apart."""

    bits: Value
    sign: Value
    exponent: Value
    m: Value
    nan: Value
    infinite: Value
    zero: Value


def parts(f: Function, bits: Value, size: int = 64) -> Parts:
    """Take a float's bits, in an "i64", apart."""
    places, most = MANTISSA[size], 2 * BIAS[size] + 1
    sign = f.op("and", f.op("lshr", bits, size - 1), 1)
    raw = f.op("and", f.op("lshr", bits, places), most)
    fraction = f.op("and", bits, (1 << places) - 1)
    tiny = f.compare("eq", raw, 0)
    m = f.select(tiny, fraction, f.op("or", fraction, 1 << places))
    zeros = f.op("umin", f.unary("ctlz", m), 63)
    exponent = f.sub(f.add(f.select(tiny, f.const(1, "i64"), raw), 63 - places), zeros)
    last, some = f.compare("eq", raw, most), f.compare("ne", fraction, 0)
    return Parts(bits, sign, exponent, f.op("shl", m, f.sub(zeros, 1)),
                 f.op("and", last, some), f.op("and", last, f.op("xor", some, 1)),
                 f.compare("eq", m, 0))  # fmt: skip


def _flag(f: Function, x: Value) -> Value:
    return f.convert("zext", x, "i64")


def _either(f: Function, *flags: Value) -> Value:
    made = flags[0]
    for flag in flags[1:]:
        made = f.op("or", made, flag)
    return made


def _signed(f: Function, sign: Value, bits: int) -> Value:
    return f.op("or", f.op("shl", sign, 63), bits)


def _right(f: Function, high: Value, low: Value, by: Value) -> tuple[Value, Value]:
    """Shift 128 bits right; the last bit tells whether any that was lost is set."""
    far = f.compare("uge", by, 64)
    inside = f.op("and", by, 63)
    some = f.compare("ne", inside, 0)
    across = f.op("shl", high, f.op("and", f.sub(0, by), 63))
    across = f.select(some, across, f.const(0, "i64"))
    near_low = f.op("or", kept_bits(f, low, inside), across)
    lost = _flag(f, f.compare("ne", low, 0))
    far_low = f.op("or", kept_bits(f, high, f.sub(by, 64)), lost)
    return (f.select(far, f.const(0, "i64"), f.op("lshr", high, inside)),
            f.select(far, far_low, near_low))  # fmt: skip


def _left(f: Function, high: Value, low: Value, by: Value) -> tuple[Value, Value]:
    """Shift 128 bits left by less than 128."""
    inside = f.op("and", by, 63)
    across = f.op("lshr", f.op("lshr", low, 1), f.op("xor", inside, 63))
    near = f.op("or", f.op("shl", high, inside), across)
    far, moved = f.compare("uge", by, 64), f.op("shl", low, inside)
    return f.select(far, moved, near), f.select(far, f.const(0, "i64"), moved)


class Wide(NamedTuple):
    """A finite number of 128 bits; the first one is at place 126, or all are 0."""

    sign: Value
    exponent: Value
    high: Value
    low: Value


def _sum(f: Function, a: Wide, b: Wide) -> Value:
    """Return the sum of two finite numbers, rounded once."""
    far = f.const(-9999, "i64")
    a, b = (x._replace(exponent=f.select(f.compare("eq", x.high, 0), far, x.exponent))
            for x in (a, b))  # fmt: skip
    level = f.compare("eq", a.exponent, b.exponent)
    alike = f.op("and", level, f.compare("eq", a.high, b.high))
    swap = _either(
        f, f.compare("slt", a.exponent, b.exponent),
        f.op("and", level, f.compare("ult", a.high, b.high)),
        f.op("and", alike, f.compare("ult", a.low, b.low)),
    )  # fmt: skip
    large = Wide(*(f.select(swap, y, x) for x, y in zip(a, b, strict=True)))
    small = Wide(*(f.select(swap, x, y) for x, y in zip(a, b, strict=True)))
    distance = f.op("umin", f.sub(large.exponent, small.exponent), 127)
    high, low = _right(f, small.high, small.low, distance)
    same = f.compare("eq", a.sign, b.sign)
    plus_low = f.add(large.low, low)
    plus_high = f.add(f.add(large.high, high), _flag(f, f.compare("ult", plus_low, low)))
    less_low = f.sub(large.low, low)
    less_high = f.sub(f.sub(large.high, high), _flag(f, f.compare("ult", large.low, low)))
    high, low = f.select(same, plus_high, less_high), f.select(same, plus_low, less_low)
    empty = f.compare("eq", f.op("or", high, low), 0)
    sign = f.select(f.op("and", empty, f.op("xor", same, 1)), f.const(0, "i64"), large.sign)
    return _rounded(f, Wide(sign, large.exponent, high, low))


def _rounded(f: Function, x: Wide) -> Value:
    """Return a finite number whose first bit may be anywhere."""
    zeros = f.select(f.compare("eq", x.high, 0), f.add(f.unary("ctlz", x.low), 64),
                     f.unary("ctlz", x.high))  # fmt: skip
    zeros = f.op("umin", zeros, 127)
    high, low = _left(f, x.high, x.low, zeros)
    # The first bit is at 127 now: one place further right.
    rest = f.op("or", f.op("and", high, 1), low)
    m = f.op("or", f.op("lshr", high, 1), _flag(f, f.compare("ne", rest, 0)))
    return packed(f, x.sign, f.sub(f.add(x.exponent, 1), zeros), m, 64)


def _product(f: Function, a: Parts, b: Parts) -> Wide:
    """Return the exact product of two finite numbers."""
    (ah, al), (bh, bl) = ((f.op("lshr", x.m, 32), f.op("and", x.m, LOW)) for x in (a, b))
    ll, lh, hl, hh = f.mul(al, bl), f.mul(al, bh), f.mul(ah, bl), f.mul(ah, bh)
    middle = f.add(f.op("lshr", ll, 32), f.add(f.op("and", lh, LOW), f.op("and", hl, LOW)))
    low = f.op("or", f.op("shl", middle, 32), f.op("and", ll, LOW))
    high = f.add(
        f.add(hh, f.op("lshr", middle, 32)), f.add(f.op("lshr", lh, 32), f.op("lshr", hl, 32))
    )
    by = f.op("umin", f.sub(f.unary("ctlz", high), 1), 2)
    high, low = _left(f, high, low, by)
    exponent = f.sub(f.add(f.add(a.exponent, b.exponent), 2 - BIAS[64]), by)
    return Wide(f.op("xor", a.sign, b.sign), exponent, high, low)


def _wide(f: Function, x: Parts) -> Wide:
    return Wide(x.sign, x.exponent, x.m, f.const(0, "i64"))


def add(f: Function, x: Value, y: Value) -> Value:
    """Return x + y."""
    a, b = parts(f, x), parts(f, y)
    made = _sum(f, _wide(f, a), _wide(f, b))
    made = f.select(b.infinite, y, made)
    made = f.select(a.infinite, x, made)
    opposed = f.op("and", f.op("and", a.infinite, b.infinite), f.compare("ne", x, y))
    return f.select(_either(f, a.nan, b.nan, opposed), f.const(NAN, "i64"), made)


def subtract(f: Function, x: Value, y: Value) -> Value:
    """Return x - y."""
    return add(f, x, f.op("xor", y, -(1 << 63)))


def multiply(f: Function, x: Value, y: Value) -> Value:
    """Return x * y."""
    a, b = parts(f, x), parts(f, y)
    product = _product(f, a, b)
    made = _rounded(f, product)
    infinite, zero = f.op("or", a.infinite, b.infinite), f.op("or", a.zero, b.zero)
    made = f.select(infinite, _signed(f, product.sign, INFINITY), made)
    bad = _either(f, a.nan, b.nan, f.op("and", infinite, zero))
    return f.select(bad, f.const(NAN, "i64"), made)


def divide(f: Function, x: Value, y: Value) -> Value:
    """Return x / y, bit by bit."""
    a, b = parts(f, x), parts(f, y)

    def step(_: Value, held: list[Value]) -> list[Value]:
        rest, quotient = held
        fits = f.compare("uge", rest, b.m)
        rest = f.select(fits, f.sub(rest, b.m), rest)
        return [f.op("shl", rest, 1), f.op("or", f.op("shl", quotient, 1), _flag(f, fits))]

    rest, quotient = f.loop(0, 63, 1, step, [a.m, f.const(0, "i64")])
    sign = f.op("xor", a.sign, b.sign)
    m = f.op("or", quotient, _flag(f, f.compare("ne", rest, 0)))
    exponent = f.add(f.sub(a.exponent, b.exponent), BIAS[64])
    short = f.compare("eq", f.op("lshr", m, 62), 0)
    m = f.select(short, f.op("shl", m, 1), m)
    made = packed(f, sign, f.sub(exponent, _flag(f, short)), m, 64)
    made = f.select(f.op("or", a.infinite, b.zero), _signed(f, sign, INFINITY), made)
    made = f.select(f.op("or", b.infinite, a.zero), f.op("shl", sign, 63), made)
    bad = _either(f, a.nan, b.nan, f.op("and", a.infinite, b.infinite),
                  f.op("and", a.zero, b.zero))  # fmt: skip
    made = f.select(f.op("and", a.infinite, f.op("xor", b.infinite, 1)),
                    _signed(f, sign, INFINITY), made)  # fmt: skip
    return f.select(bad, f.const(NAN, "i64"), made)


def fma(f: Function, *operands: Value) -> Value:
    """Return x * y + z, rounded once."""
    x, y, z = (f.convert("bitcast", v, "i64") for v in operands)
    a, b, c = parts(f, x), parts(f, y), parts(f, z)
    product = _product(f, a, b)
    made = _sum(f, product, _wide(f, c))
    infinite = f.op("or", a.infinite, b.infinite)
    made = f.select(c.infinite, z, made)
    made = f.select(infinite, _signed(f, product.sign, INFINITY), made)
    opposed = f.op("and", f.op("and", infinite, c.infinite), f.compare("ne", product.sign, c.sign))
    none = f.op("and", infinite, f.op("or", a.zero, b.zero))
    made = f.select(_either(f, a.nan, b.nan, c.nan, none, opposed), f.const(NAN, "i64"), made)
    return f.convert("bitcast", made, "f64")


def root(f: Function, x: Value) -> Value:
    """Return the square root, two bits of x for each of the result."""
    bits = f.convert("bitcast", x, "i64")
    a = parts(f, bits)
    power = f.sub(a.exponent, BIAS[64])
    odd = f.op("and", power, 1)

    def step(_: Value, held: list[Value]) -> list[Value]:
        m, rest, found = held
        rest = f.op("or", f.op("shl", rest, 2), f.op("lshr", m, 62))
        trial = f.op("or", f.op("shl", found, 2), 1)
        fits = f.compare("uge", rest, trial)
        rest = f.select(fits, f.sub(rest, trial), rest)
        return [f.op("shl", m, 2), rest, f.op("or", f.op("shl", found, 1), _flag(f, fits))]

    zero = f.const(0, "i64")
    _, rest, found = f.loop(0, 56, 1, step, [f.op("shl", a.m, odd), zero, zero])
    m = f.op("or", f.op("shl", found, 7), _flag(f, f.compare("ne", rest, 0)))
    exponent = f.add(f.op("ashr", f.sub(power, odd), 1), BIAS[64])
    made = packed(f, zero, exponent, m, 64)
    made = f.select(f.op("or", a.infinite, a.zero), bits, made)
    negative = f.op("and", f.compare("ne", a.sign, 0), f.op("xor", a.zero, 1))
    made = f.select(f.op("or", a.nan, negative), f.const(NAN, "i64"), made)
    return f.convert("bitcast", made, "f64")


# -- conversions --------------------------------------------------------------------------------
def _narrowed(f: Function, x: Value) -> Value:
    """Return the nearest float32's bits."""
    a = parts(f, x)
    made = packed(f, a.sign, f.add(a.exponent, BIAS[32] - BIAS[64]), a.m, 32)
    sign = f.op("shl", a.sign, 31)
    made = f.select(a.infinite, f.op("or", sign, 255 << 23), made)
    return f.select(a.nan, f.op("or", sign, 511 << 22), made)


def _widened(f: Function, bits: Value) -> Value:
    """Return a float32's bits, in an "i64", as float64's."""
    a = parts(f, bits, 32)
    made = packed(f, a.sign, f.add(a.exponent, BIAS[64] - BIAS[32]), a.m, 64)
    made = f.select(a.infinite, _signed(f, a.sign, INFINITY), made)
    return f.select(a.nan, _signed(f, a.sign, NAN), made)


def _converted(
    change: Callable[[Function, Value], Value], given: str, result: str
) -> Callable[[str], Function]:
    def body(f: Function, x: Value) -> Value:
        raw = f.convert("bitcast", x, f"i{given[1:]}") if given[0] == "f" else x
        wide = raw if given[1:] == "64" else f.convert("zext", raw, "i64")
        return given_out(f, change(f, wide), result)

    return lambda name: routine(name, (given,), body)


def _short(make: Callable[[str], Function]) -> Callable[[str], Function]:
    """Return the maker of the same conversion to 32 bits."""

    def of(name: str) -> Function:
        f = make(name)
        assert f.result is not None
        f.result = f.convert("trunc_int", f.result, "i32")
        return f

    return of


# -- comparisons --------------------------------------------------------------------------------
def _order(f: Function, x: Value, y: Value) -> tuple[Value, Value]:
    """Return -1, 0 or 1 as x is below, at or above y; and whether one is NaN."""
    sizes = [f.op("and", v, (1 << 63) - 1) for v in (x, y)]
    nan = f.op("or", *(f.compare("ugt", s, INFINITY) for s in sizes))
    keys = [f.select(f.compare("slt", v, 0), f.sub(0, s), s)
            for v, s in zip((x, y), sizes, strict=True)]  # fmt: skip
    above, below = f.compare("sgt", *keys), f.compare("slt", *keys)
    made = f.sub(f.convert("zext", above, "i32"), f.convert("zext", below, "i32"))
    return made, nan


def _compared(test: str) -> Callable[[str], Function]:
    """Return the maker of ARM's comparison: 1 where it holds, 0 where not or one is NaN."""

    def body(f: Function, x: Value, y: Value) -> Value:
        order, nan = _order(f, x, y)
        holds = nan
        if test != "un":
            short = {"eq": "eq", "lt": "slt", "le": "sle", "ge": "sge", "gt": "sgt"}[test]
            holds = f.op("and", f.compare(short, order, 0), f.op("xor", nan, 1))
        return f.convert("zext", holds, "i32")

    return lambda name: routine(name, ("i64", "i64"), body)


def _ordered(unordered: int | None) -> Callable[[str], Function]:
    """Return the maker of libgcc's comparison: the order, or what it gives where one is NaN."""

    def body(f: Function, x: Value, y: Value) -> Value:
        order, nan = _order(f, *(f.convert("bitcast", v, "i64") for v in (x, y)))
        if unordered is None:
            return f.convert("zext", nan, "i32")
        return f.select(nan, f.const(unordered, "i32"), order)

    return lambda name: routine(name, ("f64", "f64"), body)


def _on_bits(body: Callable[..., Value]) -> Callable[[str], Function]:
    return lambda name: routine(name, ("i64", "i64"), body)


def _on_doubles(body: Callable[..., Value]) -> Callable[[str], Function]:
    def whole(f: Function, x: Value, y: Value) -> Value:
        made = body(f, *(f.convert("bitcast", v, "i64") for v in (x, y)))
        return f.convert("bitcast", made, "f64")

    return lambda name: routine(name, ("f64", "f64"), whole)


ARITHMETIC: Final = {"add": add, "sub": subtract, "mul": multiply, "div": divide}
SOFT_DOUBLE: Final[dict[str, Callable[[str], Function]]] = {
    **{f"__aeabi_d{name}": _on_bits(body) for name, body in ARITHMETIC.items()},
    **{f"__{name}df3": _on_doubles(body) for name, body in ARITHMETIC.items()},
    **{f"__aeabi_dcmp{t}": _compared(t) for t in ("eq", "lt", "le", "ge", "gt", "un")},
    "__eqdf2": _ordered(1), "__nedf2": _ordered(1), "__ltdf2": _ordered(1),
    "__ledf2": _ordered(1), "__gtdf2": _ordered(-1), "__gedf2": _ordered(-1),
    "__unorddf2": _ordered(None),
    "fma": lambda name: routine(name, ("f64", "f64", "f64"), fma),
    "sqrt": lambda name: routine(name, ("f64",), root),
    "__aeabi_d2f": _converted(_narrowed, "i64", "i32"),
    "__aeabi_f2d": _converted(_widened, "i32", "i64"),
    "__truncdfsf2": _converted(_narrowed, "f64", "f32"),
    "__extendsfdf2": _converted(_widened, "f32", "f64"),
    "__aeabi_i2d": from_integer(64, signed=True, given=32, result="i64"),
    "__aeabi_ui2d": from_integer(64, signed=False, given=32, result="i64"),
    "__floatsidf": from_integer(64, signed=True, given=32, result="f64"),
    "__floatunsidf": from_integer(64, signed=False, given=32, result="f64"),
    "__floatdidf": from_integer(64, signed=True, result="f64"),
    "__floatundidf": from_integer(64, signed=False, result="f64"),
    "__aeabi_d2iz": _short(to_integer("i64", signed=True)),
    "__aeabi_d2uiz": _short(to_integer("i64", signed=False)),
    "__fixdfsi": _short(to_integer("f64", signed=True)),
    "__fixunsdfsi": _short(to_integer("f64", signed=False)),
    "__fixdfdi": to_integer("f64", signed=True),
    "__fixunsdfdi": to_integer("f64", signed=False),
}  # fmt: skip
"""Each by the name it is called by; ARM's take the bits in integer registers."""
