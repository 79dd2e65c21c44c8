"""The rows of elementwise primitives, and of constants.

A row appends what computes its node and returns the result's name. Operands come loose: an
expanded one as it was before, since ONNX broadcasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.onnx.elements import CODES, recast
from tenor.export.onnx.sizes import Rows
from tenor.export.onnx.writer import Refused, Writer
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.node import Node

    Row = Callable[[Writer, Node], str]

__all__ = ["ELEMENTWISE"]

BITWISE: Final = 18
"""The first opset with bitwise operations."""


def _operands(w: Writer, node: Node) -> list[str]:
    return w.loose(node.inputs, w.dims(node))


# -- constants --------------------------------------------------------------------------------
def _const(w: Writer, node: Node) -> str:
    return w.number(node.attrs[0], node.dtype)


def _iota(w: Writer, node: Node) -> str:
    length = w.attrs(node)[0]
    if not isinstance(length, Rows):
        return w.constant(recast(np.arange(length), dt.int64, node.dtype), node.dtype, "iota")
    scalar = w.ints([], "scalar")
    stop = w.write("Reshape", [w.size(length), scalar], dt.int64)
    made = w.write("Range", [w.number(0, dt.int64), stop, w.number(1, dt.int64)], dt.int64)
    return w.cast(made, node.dtype)


# -- one ONNX operation -----------------------------------------------------------------------
def _plain(kind: str, out: Any = None) -> Row:
    """Return the row of a primitive that ONNX has as it is."""
    return lambda w, node: w.op(kind, _operands(w, node), out=out)


def _logical(kind: str, of_bools: str, out: Any = None) -> Row:
    """Return the row of a primitive that bools have an operation of their own for."""

    def row(w: Writer, node: Node) -> str:
        bools = node.inputs[0].dtype is dt.bool_
        return w.op(of_bools if bools else kind, _operands(w, node), out=out)

    return row


def _bitwise(kind: str, of_bools: str) -> Row:
    def row(w: Writer, node: Node) -> str:
        if node.dtype is not dt.bool_ and w.opset < BITWISE:
            raise Refused(
                f"ONNX has no bitwise operations on integers below opset {BITWISE}",
                f"export with opset={BITWISE} or above",
            )
        return w.op(of_bools if node.dtype is dt.bool_ else kind, _operands(w, node))

    return row


def _compared(kind: str) -> Row:
    """Return the row of an order; False comes before True."""

    def row(w: Writer, node: Node) -> str:
        held = [w.cast(x, dt.uint8) if w.types[x] is dt.bool_ else x for x in _operands(w, node)]
        return w.op(kind, held, out=dt.bool_)

    return row


def _ne(w: Writer, node: Node) -> str:
    return w.op("Not", [w.op("Equal", _operands(w, node), out=dt.bool_)])


def _cast(w: Writer, node: Node) -> str:
    x = w.value(node.inputs[0])
    if node.dtype is node.inputs[0].dtype:
        return x
    return w.write("Cast", [x], node.dtype, to=CODES[node.dtype])


def _where(w: Writer, node: Node) -> str:
    condition, a, b = _operands(w, node)
    return w.op("Where", [a, b], before=[condition])


def _chosen(w: Writer, condition: str, a: str, b: str) -> str:
    """Return a where a condition holds, else b."""
    return w.op("Where", [a, b], before=[condition])


def _wrap_index(w: Writer, node: Node) -> str:
    """Return an index as it is: ONNX counts negative ones from the end, too, and checks them."""
    (x,) = _operands(w, node)
    extent, what = w.attrs(node)
    if what != "index":
        return x
    length = w.size(extent)
    if not node.shape:
        length = w.write("Reshape", [length, w.ints([], "scalar")], dt.int64)
    low = w.op("Less", [x, w.number(0, dt.int64)], out=dt.bool_)
    return _chosen(w, low, w.op("Add", [x, length]), x)


# -- compositions -----------------------------------------------------------------------------
def _neg(w: Writer, node: Node) -> str:
    (x,) = _operands(w, node)
    if node.dtype.kind == "uint":
        return w.op("Sub", [w.number(0, node.dtype), x])
    return w.op("Neg", [x])


def _sign(w: Writer, node: Node) -> str:
    (x,) = _operands(w, node)
    made = w.op("Sign", [x])
    if node.dtype.kind != "float":
        return made
    return _chosen(w, w.op("IsNaN", [x], out=dt.bool_), x, made)


def _real(compose: Callable[[Writer, Any, str], str]) -> Row:
    """Return the row of a function of floats composed of several: rounded once, in the end."""

    def row(w: Writer, node: Node) -> str:
        (x,) = _operands(w, node)
        held = node.dtype.compute
        return w.cast(compose(w, held, w.cast(x, held)), node.dtype)

    return row


def _expm1(w: Writer, dtype: Any, x: str) -> str:
    """2t / (1 - t) with t = tanh(x / 2), which keeps a small x; e to the x - 1 further off."""
    one, half = w.number(1, dtype), w.number(0.5, dtype)
    t = w.op("Tanh", [w.op("Mul", [x, half])])
    near = w.op("Div", [w.op("Add", [t, t]), w.op("Sub", [one, t])])
    small = w.op("Less", [w.op("Abs", [x]), one], out=dt.bool_)
    return _chosen(w, small, near, w.op("Sub", [w.op("Exp", [x]), one]))


def _log1p(w: Writer, dtype: Any, x: str) -> str:
    """log(u) x / (u - 1) with u = 1 + x near 0, which takes back what 1 + x rounded away."""
    one = w.number(1, dtype)
    u = w.op("Add", [x, one])
    log = w.op("Log", [u])
    near = w.op("Div", [w.op("Mul", [log, x]), w.op("Sub", [u, one])])
    small = w.op("Less", [w.op("Abs", [x]), w.number(0.5, dtype)], out=dt.bool_)
    lost = w.op("Equal", [u, one], out=dt.bool_)
    return _chosen(w, lost, x, _chosen(w, small, near, log))


def _rsqrt(w: Writer, _dtype: Any, x: str) -> str:
    return w.op("Reciprocal", [w.op("Sqrt", [x])])


def _trunc(w: Writer, dtype: Any, x: str) -> str:
    low = w.op("Less", [x, w.number(0, dtype)], out=dt.bool_)
    return _chosen(w, low, w.op("Ceil", [x]), w.op("Floor", [x]))


# -- division ---------------------------------------------------------------------------------
def _divisor(w: Writer, node: Node, b: str) -> tuple[str, str | None, str | None]:
    """Return an integer divisor no machine refuses; where it was 0; where it was -1.

    A division by 0 gives 0, and the smallest number divided by -1 wraps; processors trap both.
    """
    known, dtype = w.known(node.inputs[1]), node.dtype
    if known is not None and not np.isin(known, (0, -1)).any():
        return b, None, None
    zero = w.op("Equal", [b, w.number(0, dtype)], out=dt.bool_)
    if dtype.kind == "uint":
        return _chosen(w, zero, w.number(1, dtype), b), zero, None
    minus = w.op("Equal", [b, w.number(-1, dtype)], out=dt.bool_)
    either = w.op("Or", [zero, minus])
    return _chosen(w, either, w.number(1, dtype), b), zero, minus


def _differ_in_sign(w: Writer, rest: str, b: str, dtype: Any) -> str:
    """Tell where a remainder is neither 0 nor of its divisor's sign."""
    zero = w.number(0, dtype)
    signs = [w.op("Less", [x, zero], out=dt.bool_) for x in (rest, b)]
    some = w.op("Not", [w.op("Equal", [rest, zero], out=dt.bool_)])
    return w.op("And", [some, w.op("Xor", signs)])


def _floordiv(w: Writer, node: Node) -> str:
    a, b = _operands(w, node)
    if node.dtype.kind == "float":
        held = node.dtype.compute
        made = _floordiv_of_floats(w, held, w.cast(a, held), w.cast(b, held))
        return w.cast(made, node.dtype)
    dtype = node.dtype
    safe, zero, minus = _divisor(w, node, b)
    made = w.op("Div", [a, safe])
    if dtype.kind == "int":
        rest = w.op("Sub", [a, w.op("Mul", [made, safe])])
        down = w.cast(_differ_in_sign(w, rest, safe, dtype), dtype)
        made = w.op("Sub", [made, down])
    if minus:
        made = _chosen(w, minus, w.op("Neg", [a]), made)
    return _chosen(w, zero, w.number(0, dtype), made) if zero else made


def _floordiv_of_floats(w: Writer, dtype: Any, a: str, b: str) -> str:
    """(a - mod(a, b)) / b to the nearest integer, as NumPy and Python; a / b where b is 0."""
    quotient, rest = w.op("Div", [a, b]), w.op("Mod", [a, b], fmod=1)
    down = w.cast(_differ_in_sign(w, rest, b, dtype), dtype)
    exact = w.op("Sub", [w.op("Div", [w.op("Sub", [a, rest]), b]), down])
    floor = w.op("Floor", [exact])
    up = w.op("Less", [w.number(0.5, dtype), w.op("Sub", [exact, floor])], out=dt.bool_)
    floor = w.op("Add", [floor, w.cast(up, dtype)])
    return _chosen(w, w.op("Equal", [b, w.number(0, dtype)], out=dt.bool_), quotient, floor)


def _mod(w: Writer, node: Node) -> str:
    a, b = _operands(w, node)
    if node.dtype.kind == "float":
        held = node.dtype.compute
        return w.cast(_mod_of_floats(w, held, w.cast(a, held), w.cast(b, held)), node.dtype)
    return w.op("Mod", [a, _divisor(w, node, b)[0]])


def _mod_of_floats(w: Writer, dtype: Any, a: str, b: str) -> str:
    rest = w.op("Mod", [a, b], fmod=1)
    apart = _differ_in_sign(w, rest, b, dtype)
    return _chosen(w, apart, w.op("Add", [rest, b]), rest)


# -- powers and shifts ------------------------------------------------------------------------
MOST: Final = 64


def _pow(w: Writer, node: Node) -> str:
    if node.dtype.kind == "float":
        return w.op("Pow", _operands(w, node))
    known = w.known(node.inputs[1])
    if known is None or known.size != 1 or not 0 <= int(known.reshape(())) <= MOST:
        raise Refused(
            f"ONNX raises integers to a power as floats, which is exact for small results only; "
            f"exponents written in the model, from 0 to {MOST}, become products",
            "write the exponent as a number, or raise floats",
        )
    exponent = int(known.reshape(()))
    if exponent:
        return _power(w, w.value(node.inputs[0]), exponent)
    return w.spread(w.number(1, node.dtype), w.dims(node))


def _power(w: Writer, x: str, exponent: int) -> str:
    """Return a power by squaring."""
    if exponent == 1:
        return x
    half = _power(w, x, exponent // 2)
    square = w.op("Mul", [half, half])
    return w.op("Mul", [square, x]) if exponent % 2 else square


UNSIGNED: Final = {dt.int8: dt.uint8, dt.int16: dt.uint16, dt.int32: dt.uint32, dt.int64: dt.uint64}


def _shl(w: Writer, node: Node) -> str:
    held = UNSIGNED.get(node.dtype, node.dtype)
    operands = [w.cast(x, held) for x in _operands(w, node)]
    return w.cast(w.op("BitShift", operands, direction="LEFT"), node.dtype)


def _shr(w: Writer, node: Node) -> str:
    """Return x >> b; of a negative x, the complement of its complement shifted."""
    x, b = _operands(w, node)
    dtype = node.dtype
    if dtype.kind == "uint":
        return w.op("BitShift", [x, b], direction="RIGHT")
    held, minus = UNSIGNED[dtype], w.number(-1, dtype)
    low = w.op("Less", [x, w.number(0, dtype)], out=dt.bool_)
    positive = _chosen(w, low, w.op("Sub", [minus, x]), x)
    shifted = w.op("BitShift", [w.cast(positive, held), w.cast(b, held)], direction="RIGHT")
    back = w.cast(shifted, dtype)
    return _chosen(w, low, w.op("Sub", [minus, back]), back)


ELEMENTWISE: Final[dict[str, Row]] = {
    "const": _const, "iota": _iota,
    "neg": _neg, "abs": _plain("Abs"), "sign": _sign, "exp": _plain("Exp"),
    "expm1": _real(_expm1), "log": _plain("Log"), "log1p": _real(_log1p),
    "sqrt": _plain("Sqrt"), "rsqrt": _real(_rsqrt), "sin": _plain("Sin"), "cos": _plain("Cos"),
    "tanh": _plain("Tanh"), "erf": _plain("Erf"), "sigmoid": _plain("Sigmoid"),
    "floor": _plain("Floor"), "ceil": _plain("Ceil"), "trunc": _real(_trunc),
    "round": _plain("Round"), "not": _bitwise("BitwiseNot", "Not"), "cast": _cast,
    "wrap_index": _wrap_index,
    "add": _logical("Add", "Or"), "sub": _plain("Sub"), "mul": _logical("Mul", "And"),
    "div": _plain("Div"), "floordiv": _floordiv, "mod": _mod, "pow": _pow,
    "maximum": _logical("Max", "Or"), "minimum": _logical("Min", "And"),
    "eq": _plain("Equal", dt.bool_), "ne": _ne, "lt": _compared("Less"),
    "le": _compared("LessOrEqual"),
    "and": _bitwise("BitwiseAnd", "And"), "or": _bitwise("BitwiseOr", "Or"),
    "xor": _bitwise("BitwiseXor", "Xor"), "shl": _shl, "shr": _shr, "where": _where,
}  # fmt: skip
