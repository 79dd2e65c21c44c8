"""Mathematics of the loops: one rule for each primitive that no machine instruction computes.

A rule takes scalars or vectors of any number of lanes and treats every lane alike, with nothing
but arithmetic, fma, sqrt, floor, trunc and integer operations: a lane's bits never depend on its
neighbours or on the target's width. Floats come as float32 or float64; float16 and bfloat16 are
widened by the caller. The bounds in ulps stand in `docs/numerics.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tenor.compiler.lower import division
from tenor.compiler.lower.exponential import erf, exp, expm1, log, log1p, sigmoid, tanh
from tenor.compiler.lower.philox import philox
from tenor.compiler.lower.power import power
from tenor.compiler.lower.trigonometry import cos, sin
from tenor.ir.dtype import DType
from tenor.ir.loops import Function, Value

__all__ = ["MATH", "Rule", "philox"]

Rule = Callable[[Function, list[Value], DType], Value]
"""Builds the value of a primitive from its arguments and its dtype."""


def _unary(build: Callable[[Function, Value], Value]) -> Rule:
    """Make a rule of a function of one float."""
    return lambda f, args, _dtype: build(f, args[0])


def _binary(
    floats: Callable[[Function, Value, Value], Value],
    integers: Callable[[Function, Value, Value, DType], Value],
) -> Rule:
    """Make a rule of a function of two floats and one of two integers."""

    def rule(f: Function, args: list[Value], dtype: DType) -> Value:
        a, b = args
        return floats(f, a, b) if dtype.kind == "float" else integers(f, a, b, dtype)

    return rule


def rsqrt(f: Function, x: Value) -> Value:
    """Return 1 / sqrt(x), two correctly rounded steps."""
    return f.op("fdiv", 1.0, f.unary("sqrt", x))


MATH: Final[dict[str, Rule]] = {
    "exp": _unary(exp),
    "expm1": _unary(expm1),
    "log": _unary(log),
    "log1p": _unary(log1p),
    "sin": _unary(sin),
    "cos": _unary(cos),
    "tanh": _unary(tanh),
    "erf": _unary(erf),
    "sigmoid": _unary(sigmoid),
    "rsqrt": _unary(rsqrt),
    "pow": _binary(power, division.int_power),
    "floordiv": _binary(division.float_floordiv, division.int_floordiv),
    "mod": _binary(division.float_mod, division.int_mod),
}
