"""Functions that treat every element alike: arithmetic, comparison, logic, mathematics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.engine.handle import Handle
from tenor.engine.macro import macro
from tenor.engine.trace import record
from tenor.errors import ArgumentError, DTypeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.operands import (
    Number,
    cast,
    constant,
    fitted,
    floating,
    refuse_bools,
    result_type,
    spread,
    stored,
)
from tenor.tensor.operators import binary, unary

if TYPE_CHECKING:
    from tenor.tensor.tensor import Tensor

__all__ = [
    "abs",
    "absolute",
    "add",
    "addcdiv",
    "addcmul",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "clamp",
    "clip",
    "cos",
    "div",
    "divide",
    "eq",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "frac",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "heaviside",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lerp",
    "less",
    "less_equal",
    "log",
    "log1p",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "multiply",
    "nan_to_num",
    "ne",
    "neg",
    "negative",
    "not_equal",
    "pow",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "square",
    "sub",
    "subtract",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]  # fmt: skip

# -- one tensor, one primitive ------------------------------------------------------------------
neg = unary("neg", ops.NEG, "Return -x.", floats=False)
exp = unary("exp", ops.EXP, "Return e to the x.")
expm1 = unary("expm1", ops.EXPM1, "Return e to the x, minus 1, exact near 0.")
log = unary("log", ops.LOG, "Return the natural logarithm.")
log1p = unary("log1p", ops.LOG1P, "Return log(1 + x), exact near 0.")
sqrt = unary("sqrt", ops.SQRT, "Return the square root; NaN below 0.")
rsqrt = unary("rsqrt", ops.RSQRT, "Return 1 / sqrt(x).")
sin = unary("sin", ops.SIN, "Return the sine; x in radians.")
cos = unary("cos", ops.COS, "Return the cosine; x in radians.")
tanh = unary("tanh", ops.TANH, "Return the hyperbolic tangent.")
erf = unary("erf", ops.ERF, "Return the error function.")
sigmoid = unary("sigmoid", ops.SIGMOID, "Return 1 / (1 + exp(-x)).")
negative = neg

# -- operators: a tensor, and a tensor or a number ------------------------------------------------
add_ = binary("add", ops.ADD, "Return a + b.")
sub_ = binary("sub", ops.SUB, "Return a - b.", kinds="numbers")
rsub_ = binary("sub", ops.SUB, "Return b - a.", kinds="numbers", swap=True)
mul_ = binary("mul", ops.MUL, "Return a * b.")
div_ = binary("div", ops.DIV, "Return a / b, in floats.", kinds="float")
rdiv_ = binary("div", ops.DIV, "Return b / a, in floats.", kinds="float", swap=True)
floordiv_ = binary("floor_divide", ops.FLOORDIV, "Return floor(a / b).")
rfloordiv_ = binary("floor_divide", ops.FLOORDIV, "Return floor(b / a).", swap=True)
mod_ = binary("remainder", ops.MOD, "Return a - floor(a / b) * b, of b's sign.")
rmod_ = binary("remainder", ops.MOD, "Return b - floor(b / a) * a, of a's sign.", swap=True)
power_ = binary("pow", ops.POW, "Return a to the power b.")
rpow_ = binary("pow", ops.POW, "Return b to the power a.", swap=True)
eq_ = binary("eq", ops.EQ, "Return whether a == b, element by element.")
ne_ = binary("ne", ops.NE, "Return whether a != b, element by element.")
lt_ = binary("lt", ops.LT, "Return whether a < b, element by element.")
le_ = binary("le", ops.LE, "Return whether a <= b, element by element.")
gt_ = binary("gt", ops.LT, "Return whether a > b, element by element.", swap=True)
ge_ = binary("ge", ops.LE, "Return whether a >= b, element by element.", swap=True)
and_ = binary("bitwise_and", ops.AND, "Return a & b; logical for bools.", kinds="bits")
or_ = binary("bitwise_or", ops.OR, "Return a | b; logical for bools.", kinds="bits")
xor_ = binary("bitwise_xor", ops.XOR, "Return a ^ b; logical for bools.", kinds="bits")
shl_ = binary("left_shift", ops.SHL, "Return a << b.", kinds="bits")
rshl_ = binary("left_shift", ops.SHL, "Return b << a.", kinds="bits", swap=True)
shr_ = binary("right_shift", ops.SHR, "Return a >> b, keeping the sign.", kinds="bits")
rshr_ = binary("right_shift", ops.SHR, "Return b >> a, keeping the sign.", kinds="bits", swap=True)
maximum_ = binary("maximum", ops.MAXIMUM, "Return the larger; NaN if either is.")
minimum_ = binary("minimum", ops.MINIMUM, "Return the smaller; NaN if either is.")


# -- arithmetic by name -------------------------------------------------------------------------
def add(x: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Return x + alpha * other.

    Raises:
        DTypeError: alpha is a float and the result holds integers.
    """
    return x + (other if alpha == 1 else _scaled("add", x, other, alpha))


def sub(x: Tensor, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Return x - alpha * other.

    Raises:
        DTypeError: an operand is bool, or alpha is a float and the result holds integers.
    """
    refuse_bools("sub", x, other)
    return x - (other if alpha == 1 else _scaled("sub", x, other, alpha))


def _scaled(name: str, x: Tensor, other: Tensor | Number, alpha: Number) -> Tensor:
    """Return alpha * other in the dtype of x and other together, which alpha has no say in."""
    dtype = result_type(x, other)
    if isinstance(alpha, float) and dtype.kind != "float":
        raise DTypeError(
            f"{name}: alpha must be an integer where the result holds integers.",
            came=f"alpha={alpha} for {dtype.name}",
            fix="multiply the operand first, which makes it floating",
        )
    return fitted(other, dtype) * (bool(alpha) if dtype is dt.bool_ else alpha)


def mul(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x * other."""
    return x * other


def div(x: Tensor, other: Tensor | Number, *, rounding_mode: str | None = None) -> Tensor:
    """Return x / other; rounded down ("floor") or to zero ("trunc") if asked, keeping integers."""
    if rounding_mode is None:
        return x / other
    if rounding_mode == "floor":
        return x // other
    if rounding_mode != "trunc":
        raise ArgumentError(
            "div: rounding_mode must be None, 'floor' or 'trunc'.",
            came=repr(rounding_mode),
            fix="choose one of the three",
        )
    if result_type(x, other).kind == "float":
        return trunc(x / other)
    down = x // other
    # Floor and truncation differ by one where the quotient is negative and not whole.
    uneven = ((x < 0) ^ _negative(other)) & (down * other != x)
    return down + cast(uneven, down.element_type)


def _negative(x: Tensor | Number) -> Tensor | bool:
    return x < 0


def floor_divide(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return floor(x / other)."""
    return x // other


def remainder(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x - floor(x / other) * other: Python's %, of the divisor's sign."""
    return x % other


def fmod(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x - trunc(x / other) * other: C's fmod, of the dividend's sign."""
    dtype = result_type(x, other)
    x, divisor = cast(x, dtype), fitted(other, dtype)
    if dtype.kind == "float":
        rest = abs(x) % abs(divisor)
        return where((x < 0) | (1.0 / where(x == 0, x, 1.0) < 0), -rest, rest)  # type: ignore[no-any-return]
    rest = x % divisor
    if dtype.kind == "uint":
        return rest
    return where((rest != 0) & ((x < 0) ^ (divisor < 0)), rest - divisor, rest)  # type: ignore[no-any-return]


def _magnitude(number: Number) -> Number:
    return -number if number < 0 else number


def pow(x: Tensor | Number, exponent: Tensor | Number) -> Tensor:
    """Return x to the power exponent; small constant powers are products and roots."""
    return x**exponent  # type: ignore[return-value]


def power(x: Tensor, exponent: Any) -> Tensor:
    """Return x**exponent: 2, 3, 1/2, -1/2 and -1 as products, roots and quotients.

    Raises:
        ArgumentError: an integer tensor to a negative integer power, which has no integer value.
    """
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        static = POWERS.get(exponent)
        whole = isinstance(exponent, int) and x.element_type.kind != "float"
        if whole and exponent < 0:
            raise ArgumentError(
                "pow: an integer to a negative power is no integer.",
                came=f"{x.element_type.name} ** {exponent}",
                fix="convert with .float() first",
            )
        if static is not None and x.element_type.kind != "bool":
            found: Tensor = static(x if isinstance(exponent, int) else floating(x))
            return found
    if result_type(x, exponent) is dt.bool_:
        return truth(x) | logical_not(truth(exponent))  # 0 ** 0 is 1
    return power_(x, exponent)


def square(x: Tensor) -> Tensor:
    """Return x * x; bools count as integers."""
    x = cast(x, dt.int64) if x.element_type is dt.bool_ else x
    return x * x


def reciprocal(x: Tensor) -> Tensor:
    """Return 1 / x."""
    x = floating(x)
    made: Tensor = record(ops.DIV, (constant(1, x.element_type), x))
    return made


POWERS: dict[float, Any] = {
    2: square, 3: lambda x: x * x * x, 0.5: sqrt, -0.5: rsqrt, -1: reciprocal,
}  # fmt: skip


def maximum(x: Tensor, other: Tensor) -> Tensor:
    """Return the larger of two, element by element; NaN if either is."""
    return maximum_(x, other)


def minimum(x: Tensor, other: Tensor) -> Tensor:
    """Return the smaller of two, element by element; NaN if either is."""
    return minimum_(x, other)


@macro
def addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """Return x + value * tensor1 * tensor2."""
    return add(x, tensor1 * tensor2, alpha=value)


def addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """Return x + value * tensor1 / tensor2."""
    return add(x, tensor1 / tensor2, alpha=value)


@macro
def lerp(x: Tensor, end: Tensor, weight: Tensor | Number) -> Tensor:
    """Return x + weight * (end - x); worked out from the nearer end, so that both are exact."""
    apart = end - x
    if not isinstance(weight, Handle):
        return x + apart * weight if weight < 0.5 else end - apart * (1.0 - weight)
    near: Tensor = where(weight < 0.5, x + apart * weight, end - apart * (1.0 - weight))
    return near


# -- rounding and sign --------------------------------------------------------------------------
def _whole(x: Tensor, op: Any) -> Tensor:
    """Record a rounding; integers are whole already."""
    made: Tensor = record(op, (x,)) if x.element_type.kind == "float" else x.clone()
    return made


def floor(x: Tensor) -> Tensor:
    """Return the largest integer not above x."""
    return _whole(x, ops.FLOOR)


def ceil(x: Tensor) -> Tensor:
    """Return the smallest integer not below x."""
    return _whole(x, ops.CEIL)


def trunc(x: Tensor) -> Tensor:
    """Return x without its fraction."""
    return _whole(x, ops.TRUNC)


def frac(x: Tensor) -> Tensor:
    """Return x - trunc(x)."""
    return x - trunc(x)


def round(x: Tensor, *, decimals: int = 0) -> Tensor:
    """Return the nearest number of so many decimals; a half goes to the even neighbour."""
    if decimals == 0:
        return _whole(x, ops.ROUND)
    if x.element_type.kind != "float":
        raise DTypeError(
            "round: decimals are for floating dtypes.",
            came=f"decimals={decimals} for {x.element_type.name}",
            fix="convert with .float() first",
        )
    scale, wide = 10.0 ** _magnitude(decimals), cast(x, x.element_type.compute)
    near = round(wide * scale) / scale if decimals > 0 else round(wide / scale) * scale
    return cast(near, x.element_type)


def abs(x: Tensor) -> Tensor:
    """Return |x|."""
    unsigned = x.element_type.kind == "uint"
    made: Tensor = x.clone() if unsigned else record(ops.ABS, (x,))
    return made


@macro
def sign(x: Tensor) -> Tensor:
    """Return -1, 0 or 1, and 0 for NaN as in PyTorch; the gradient is 0."""
    if x.element_type is dt.bool_:
        return x.clone()
    made: Tensor = record(ops.SIGN, (x,))
    return where(x == x, made, 0) if x.element_type.kind == "float" else made


@macro
def heaviside(x: Tensor, values: Tensor) -> Tensor:
    """Return 0 below 0, values at 0, and 1 above."""
    return where(x == 0, values, cast(x > 0, x.element_type))  # type: ignore[no-any-return]


# -- bounds ------------------------------------------------------------------------------------
@macro
def relu(x: Tensor) -> Tensor:
    """Return max(x, 0); the gradient at 0 is 0.

    Raises:
        DTypeError: x is bool.
    """
    if x.element_type is dt.bool_:
        raise DTypeError("relu: is defined for numbers.", came="bool", fix="convert with .float()")
    zero = constant(0, x.element_type)
    made: Tensor = record(ops.WHERE, (record(ops.LE, (x, zero)), zero, x))
    return made


@macro
def clamp(
    x: Tensor, min: Tensor | Number | None = None, max: Tensor | Number | None = None
) -> Tensor:
    """Return x held between min and max; NaN stays NaN.

    Raises:
        ArgumentError: neither bound is given.
    """
    if min is None and max is None:
        raise ArgumentError(
            "clamp: needs a lower or an upper bound.", came="neither", fix="give min= or max="
        )
    dtype = result_type(*[v for v in (x, min, max) if v is not None])
    low = None if min is None else fitted(min, dtype)
    high = None if max is None else fitted(max, dtype)
    # By WHERE rather than MAXIMUM: at a bound itself the gradient goes to x, as in PyTorch.
    x = cast(x, dtype)
    if low is not None:
        x = where(_or_nan(x < low, min, low), low, x)
    return x if high is None else where(_or_nan(x > high, max, high), high, x)


def _or_nan(beyond: Tensor, bound: Any, held: Tensor) -> Tensor:
    """Return where a bound holds: beyond it, or everywhere where it is NaN."""
    ordered = bound == bound if not isinstance(bound, Handle) else held.element_type.kind != "float"
    return beyond if ordered else beyond | ne_(held, held)


@macro
def nan_to_num(
    x: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Return x with NaN and infinities replaced; infinities by the dtype's extremes by default."""
    if x.element_type.kind != "float":
        return x.clone()
    largest = LARGEST[x.element_type.name]
    x = where(x != x, nan, x)
    x = where(x == math.inf, largest if posinf is None else posinf, x)
    low = -largest if neginf is None else neginf
    return where(x == -math.inf, low, x)  # type: ignore[no-any-return]


LARGEST = {
    "float64": 1.7976931348623157e308, "float32": 3.4028234663852886e38, "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
}  # fmt: skip


# -- comparison ---------------------------------------------------------------------------------
def eq(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return whether x == other, element by element."""
    return eq_(x, other)


def ne(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return whether x != other, element by element."""
    return ne_(x, other)


def lt(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return whether x < other, element by element."""
    return lt_(x, other)


def le(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return whether x <= other, element by element."""
    return le_(x, other)


def gt(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return whether x > other, element by element."""
    return gt_(x, other)


def ge(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return whether x >= other, element by element."""
    return ge_(x, other)


@macro
def isnan(x: Tensor) -> Tensor:
    """Return where x is not a number."""
    return ne_(x, x)


@macro
def isinf(x: Tensor) -> Tensor:
    """Return where x is an infinity."""
    if x.element_type.kind != "float":
        return ne_(x, x)
    return eq_(abs(x), math.inf)


@macro
def isfinite(x: Tensor) -> Tensor:
    """Return where x is neither an infinity nor NaN."""
    if x.element_type.kind != "float":
        return eq_(x, x)
    return lt_(abs(x), math.inf)


@macro
def isclose(
    x: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Return where |x - other| <= atol + rtol * |other|; infinities are close to themselves.

    Raises:
        DTypeError: the dtypes differ.
    """
    if x.element_type is not other.element_type:
        raise DTypeError(
            "isclose: both tensors must have one dtype.",
            came=f"{x.element_type.name} and {other.element_type.name}",
            fix="convert one of them with .to()",
        )
    close = x == other
    if x.element_type.kind == "bool":
        return close
    near = abs(x - other) <= abs(other) * rtol + atol
    close = close | (near & isfinite(x) & isfinite(other))
    return close | (isnan(x) & isnan(other)) if equal_nan else close


# -- logic --------------------------------------------------------------------------------------
def truth(x: Tensor | Number) -> Tensor:
    """Return x as bools: whether each element differs from 0."""
    if not isinstance(x, Handle):
        return constant(bool(x), dt.bool_)
    tensor: Tensor = x
    return tensor if x.element_type is dt.bool_ else ne_(tensor, 0)


def logical_not(x: Tensor) -> Tensor:
    """Return whether x is zero."""
    made: Tensor = record(ops.NOT, (truth(x),))
    return made


def logical_and(x: Tensor, other: Tensor) -> Tensor:
    """Return whether both differ from zero."""
    return truth(x) & truth(other)


def logical_or(x: Tensor, other: Tensor) -> Tensor:
    """Return whether either differs from zero."""
    return truth(x) | truth(other)


def logical_xor(x: Tensor, other: Tensor) -> Tensor:
    """Return whether just one differs from zero."""
    return truth(x) ^ truth(other)


def bitwise_not(x: Tensor) -> Tensor:
    """Return ~x; logical for bools."""
    made: Tensor = record(ops.NOT, (x,))
    return made


def bitwise_and(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x & other."""
    return x & other


def bitwise_or(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x | other."""
    return x | other


def bitwise_xor(x: Tensor, other: Tensor | Number) -> Tensor:
    """Return x ^ other."""
    return x ^ other


# -- choice -------------------------------------------------------------------------------------
@macro
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Return input where condition holds, else other.

    With a condition alone: the positions where it is not zero, one tensor for each dim.

    Raises:
        DTypeError: the condition is not bool.
        ShapeError: the shapes do not broadcast.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if condition.element_type is not dt.bool_:
        raise DTypeError(
            "where: the condition must be bool.",
            came=condition.element_type.name,
            fix="tn.where(condition, a, b), or a.where(condition, b); compare to get a condition",
        )
    dtype = result_type(input, other)
    parts = spread("where", (condition, fitted(input, dtype), fitted(other, dtype)))
    return record(ops.WHERE, parts)


def where_method(x: Tensor, condition: Tensor, other: Tensor | Number) -> Tensor:
    """Return x where condition holds, else other."""
    return where(condition, x, other)  # type: ignore[no-any-return]


@macro
def masked_fill(x: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """Return x with value where mask holds; of x's dtype.

    Raises:
        DTypeError: the mask is not bool.
        ArgumentError: the value is a tensor with dims.
    """
    if isinstance(value, Handle):
        if value.shape_tuple:
            raise ArgumentError(
                "masked_fill: the value must be a number or a tensor of no dims.",
                came=f"shape {value.shape_tuple}",
                fix="use tn.where(mask, values, x)",
            )
        filler = cast(value, x.element_type)
    else:
        filler = stored("masked_fill", value, x.element_type)
    return where(mask, filler, x)  # type: ignore[no-any-return]


# -- other names for the same ---------------------------------------------------------------------
absolute, clip, multiply, subtract = abs, clamp, mul, sub
divide = true_divide = div
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
