"""The few functions every operator is made by: the recorder's quick test, else the long way.

An operation that was recorded at this position before costs a few pointer comparisons: the
trace's last edge is taken if it has the same op, operands and grad mode. Everything that needs
thought (promotion, broadcasting, leaves, a full trace, immediate mode) is the long way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.handle import Handle
from tenor.engine.macro import PLAIN, macro
from tenor.engine.trace import Local, enter, local, record
from tenor.errors import DTypeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.tensor.conversion import from_array
from tenor.tensor.operands import NUMBERS, cast, fitted, floating, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.engine.trace import Trace
    from tenor.ir.op import Op
    from tenor.tensor.tensor import Tensor

    Unary = Callable[[Tensor], Tensor]
    Binary = Callable[[Tensor, Any], Tensor]

__all__ = ["binary", "unary"]

HALVES = (dt.float16, dt.bfloat16)
UNROUNDED = (ops.MUL, ops.DIV)
SCALAR, INT64 = ops.SCALAR, dt.int64


def lone(operand: Any) -> bool:
    """Tell whether an operand is a number or a tensor of no dims."""
    return not isinstance(operand, Handle) or not operand.shape_tuple


def stored(trace: Trace, x: Tensor) -> bool:
    """Tell whether a tensor lies in memory that is its own, and the trace can go on with it."""
    owner, buffer = x.within, x.buffer
    free = owner is None or owner.done
    return free and buffer is not None and not buffer.shared and not trace.state.boundary


def named(function: Any, name: str, doc: str) -> Any:
    """Give a made function its name and docstring."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def unary(name: str, op: Op, doc: str, *, floats: bool = True) -> Unary:
    """Make an elementwise function of one tensor.

    Args:
        name: Its name.
        op: What it records.
        doc: Its docstring.
        floats: Whether integers are first made floats.
    """

    def operate(x: Tensor) -> Tensor:
        trace = local.trace
        if x.within is trace:
            state = trace.state.last
            if (
                state is not None
                and state.op is op
                and state.a is x.state
                and state.grad is trace.grad
            ):
                trace.state = state
                result = Local.make()
                result.within = trace
                result.state = state
                trace.outs.append(result)
                return result  # type: ignore[return-value]
        return alone(x)

    def thorough(x: Tensor) -> Tensor:
        made: Tensor = record(op, (floating(x) if floats else x,))
        return made

    alone = macro(thorough)
    PLAIN[operate] = thorough
    return named(operate, name, doc)  # type: ignore[no-any-return]


def binary(  # noqa: C901 - the quick test is written out: it is every operation's first cost
    name: str, op: Op, doc: str, *, kinds: str = "any", swap: bool = False
) -> Binary:
    """Make an operator of a tensor and a tensor or number.

    Args:
        name: Its name.
        op: What it records.
        doc: Its docstring.
        kinds: As for `prepare`.
        swap: Whether the operands change places.
    """

    def operate(a: Any, b: Any) -> Any:
        trace = local.trace
        kind = type(b)
        if a.within is not trace and (kind is float or kind is int) and stored(trace, a):
            enter(trace, a)  # first of all, so that the number is the last edge
        if a.within is trace:
            first = a.state
            if kind is float or kind is int:
                second = trace.state.last
                if (
                    second is not None
                    and second.op is SCALAR
                    and (dtype := second.dtype) is first.dtype
                    and (dtype.kind == "float" or (kind is int and dtype is INT64))
                ):
                    state = second.last
                    number = True
                else:
                    return slow(a, b)
            elif getattr(b, "within", None) is trace:
                second = b.state
                state = trace.state.last
                number = False
            else:
                return slow(a, b)
            if swap:
                first, second = second, first
            if (
                state is not None
                and state.op is op
                and state.a is first
                and state.b is second
                and state.grad is trace.grad
            ):
                if number:
                    trace.scalars.append(b)
                trace.state = state
                result = Local.make()
                result.within = trace
                result.state = state
                trace.outs.append(result)
                return result
        return slow(a, b)

    def slow(a: Any, b: Any) -> Any:
        if isinstance(b, np.ndarray):
            b = from_array(b)
        if isinstance(b, Handle) and isinstance(a, Handle):
            return pair(a, b)
        if not isinstance(b, (Handle, *NUMBERS)):
            return NotImplemented
        if not isinstance(a, Handle):
            raise DTypeError(
                f"{name}: the first operand must be a tensor.",
                came=type(a).__name__,
                fix="make one with tn.tensor()",
            )
        return thorough(a, b)

    def thorough(a: Any, b: Any) -> Any:
        x, y = prepare(name, a, b, kinds)
        dtype = x.element_type
        if dtype not in HALVES or op not in UNROUNDED or not (lone(a) or lone(b)):
            return record(op, (y, x) if swap else (x, y))
        # A factor beside halves is not rounded to a half first: 0.1 is 0.1 in float32, as in
        # PyTorch, which rounds the terms of a sum.
        x, y = (fitted(v if lone(v) else w, dt.float32) for v, w in ((a, x), (b, y)))
        return cast(record(op, (y, x) if swap else (x, y)), dtype)

    # With a number the macro would be as new as the number.
    pair = macro(thorough)
    PLAIN[operate] = thorough
    return named(operate, name, doc)  # type: ignore[no-any-return]
