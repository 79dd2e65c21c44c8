"""Vjp rules of elementwise operations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.autograd.tape import Cotangents, Rule, Tape, total
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.ir.node import Node

__all__ = [
    "abs_", "add", "cast", "cos", "div", "erf", "exp", "expm1", "flat", "log", "log1p", "maximum",
    "minimum", "mod", "mul", "neg", "pow_", "rsqrt", "sigmoid", "sin", "sqrt", "sub", "tanh",
    "where",
]  # fmt: skip


def _number(t: Tape, value: float) -> Node:
    return t.b.const(value, t.g.dtype)


# -- one input ----------------------------------------------------------------------------------
def neg(t: Tape) -> Node:
    """Return -g."""
    return t.b.neg(t.g)


def abs_(t: Tape) -> Node:
    """Return g * sign(x); 0 at 0."""
    return t.b.mul(t.g, t.b.sign(t.x(0)))


def exp(t: Tape) -> Node:
    """Return g * y."""
    return t.b.mul(t.g, t.y())


def expm1(t: Tape) -> Node:
    """Return g * (y + 1)."""
    return t.b.mul(t.g, t.b.add(t.y(), _number(t, 1)))


def log(t: Tape) -> Node:
    """Return g / x."""
    return t.b.div(t.g, t.x(0))


def log1p(t: Tape) -> Node:
    """Return g / (x + 1)."""
    return t.b.div(t.g, t.b.add(t.x(0), _number(t, 1)))


def sqrt(t: Tape) -> Node:
    """Return g / (2 y)."""
    return t.b.div(t.g, t.b.mul(t.y(), _number(t, 2)))


def rsqrt(t: Tape) -> Node:
    """Return -g/2 * y^3."""
    y = t.y()
    return t.b.mul(t.b.mul(t.g, _number(t, -0.5)), t.b.mul(y, t.b.mul(y, y)))


def sin(t: Tape) -> Node:
    """Return g * cos(x)."""
    return t.b.mul(t.g, t.b.cos(t.x(0)))


def cos(t: Tape) -> Node:
    """Return -g * sin(x)."""
    return t.b.mul(t.g, t.b.neg(t.b.sin(t.x(0))))


def tanh(t: Tape) -> Node:
    """Return g * (1 - y^2)."""
    y = t.y()
    return t.b.mul(t.g, t.b.sub(_number(t, 1), t.b.mul(y, y)))


def erf(t: Tape) -> Node:
    """Return g * 2/sqrt(pi) * exp(-x^2)."""
    x = t.x(0)
    bell = t.b.exp(t.b.neg(t.b.mul(x, x)))
    return t.b.mul(t.g, t.b.mul(bell, _number(t, 2 / math.sqrt(math.pi))))


def sigmoid(t: Tape) -> Node:
    """Return g * y * (1 - y)."""
    y = t.y()
    return t.b.mul(t.g, t.b.mul(y, t.b.sub(_number(t, 1), y)))


def cast(t: Tape) -> Cotangents:
    """Return g in the input's dtype; integers have no gradient."""
    dtype = t.node.inputs[0].dtype
    differentiable = dtype.is_floating_point and t.node.dtype.is_floating_point
    return (t.b.cast(t.g, dtype) if differentiable and t.needs(0) else None,)


# -- any number of inputs -------------------------------------------------------------------------
def flat(t: Tape) -> Cotangents:
    """Return zeros: the operation is constant between its steps."""
    return tuple(
        t.b.zeros(x.shape, t.g.dtype) if t.needs(i) else None for i, x in enumerate(t.node.inputs)
    )


# -- two inputs ---------------------------------------------------------------------------------
def add(t: Tape) -> Cotangents:
    """Return (g, g)."""
    return tuple(total(t, i, t.g) if t.needs(i) else None for i in (0, 1))


def sub(t: Tape) -> Cotangents:
    """Return (g, -g)."""
    a = total(t, 0, t.g) if t.needs(0) else None
    return a, t.b.neg(total(t, 1, t.g)) if t.needs(1) else None


def mul(t: Tape) -> Cotangents:
    """Return (g * b, g * a)."""
    return tuple(total(t, i, t.b.mul(t.g, t.x(1 - i))) if t.needs(i) else None for i in (0, 1))


def div(t: Tape) -> Cotangents:
    """Return (g / b, -(g / b) * (a / b)); as in PyTorch the quotient itself may be written over."""
    share = t.b.div(t.g, t.x(1))
    a = total(t, 0, share) if t.needs(0) else None
    if not t.needs(1):
        return a, None
    return a, total(t, 1, t.b.neg(t.b.mul(share, t.b.div(t.x(0), t.x(1)))))


def mod(t: Tape) -> Cotangents:
    """Return (g, -g * floor(a / b)): the quotient counts as a constant."""
    a = total(t, 0, t.g) if t.needs(0) else None
    if not t.needs(1):
        return a, None
    quotient = t.b.emit(ops.FLOORDIV, (t.x(0), t.x(1)))
    return a, total(t, 1, t.b.neg(t.b.mul(t.g, quotient)))


def pow_(t: Tape) -> Cotangents:
    """Return (g * b * a^(b-1), g * y * log(a)).

    As in PyTorch, the first is 0 where b == 0 and the second where a == 0 <= b. What would be
    0 * inf there is kept from arising at all, so second derivatives are finite as well.
    """
    base, exponent = t.x(0), t.x(1)
    zero, one = _number(t, 0), _number(t, 1)
    at_zero = t.b.eq(base, zero)
    a = b = None
    if t.needs(0):
        both = t.b.emit(ops.AND, (at_zero, t.b.eq(exponent, zero)))
        lower = t.b.sub(t.b.where(both, one, exponent), one)
        a = total(t, 0, t.b.mul(t.g, t.b.mul(exponent, t.b.pow(base, lower))))
    if t.needs(1):
        flat = t.b.emit(ops.AND, (at_zero, t.b.le(zero, exponent)))
        slope = t.b.mul(t.y(), t.b.log(t.b.where(flat, one, base)))
        b = total(t, 1, t.b.mul(t.g, slope))
    return a, b


def _chosen(larger: bool) -> Rule:
    """Return the rule of maximum or minimum: all to the one chosen, half each where they tie."""

    def rule(t: Tape) -> Cotangents:
        pair = (t.x(0), t.x(1))
        half, zero = t.b.mul(t.g, _number(t, 0.5)), _number(t, 0)
        shared = t.b.eq(*pair)

        def partial(i: int) -> Node:
            mine, other = pair[i], pair[1 - i]
            lost = t.b.lt(mine, other) if larger else t.b.lt(other, mine)
            return total(t, i, t.b.where(shared, half, t.b.where(lost, zero, t.g)))

        return tuple(partial(i) if t.needs(i) else None for i in (0, 1))

    return rule


maximum = _chosen(larger=True)
minimum = _chosen(larger=False)


def where(t: Tape) -> Cotangents:
    """Return (None, g where the condition holds, g where it does not).

    A selection, not a product with the mask: an infinite or NaN cotangent stays on its own side.
    """
    a = b = None
    zero = _number(t, 0)
    if t.needs(1):
        a = total(t, 1, t.b.where(t.x(0), t.g, zero))
    if t.needs(2):
        b = total(t, 2, t.b.where(t.x(0), zero, t.g))
    return None, a, b
