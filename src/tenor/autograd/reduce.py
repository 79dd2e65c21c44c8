"""Vjp rules of reductions and running sums."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.autograd.tape import Tape
    from tenor.ir.build import Builder
    from tenor.ir.node import Node

__all__ = ["cumsum", "max_", "min_", "prod", "sum_"]


def sum_(t: Tape) -> Node:
    """Return g at every place that was summed."""
    return t.b.expand(t.g, t.node.inputs[0].shape)


def cumsum(t: Tape) -> Node:
    """Return the running sum of g from the other end."""
    dim, reverse = t.node.attrs
    return t.b.cumsum(t.g, dim, reverse=not reverse)


# -- reductions over several dims, seen as one over a last dim ------------------------------------
def _order(t: Tape) -> tuple[int, ...]:
    """Return the permutation that puts the reduced dims last."""
    dims = t.node.attr("dims")
    kept = [d for d in range(len(t.node.shape)) if d not in dims]
    return (*kept, *dims)


def _gathered(t: Tape, x: Node) -> Node:
    """Return x of shape (kept..., reduced dims in one)."""
    order = _order(t)
    moved = t.b.permute(x, order)
    kept = moved.shape[: len(order) - len(t.node.attr("dims"))]
    return t.b.reshape(moved, (*kept, math.prod(moved.shape[len(kept) :])))


def _spread(t: Tape, x: Node) -> Node:
    """Undo `_gathered`."""
    order, shape = _order(t), t.node.inputs[0].shape
    moved = t.b.reshape(x, tuple(shape[d] for d in order))
    return t.b.permute(moved, sorted(range(len(order)), key=order.__getitem__))


# -- product --------------------------------------------------------------------------------------
def _shifted(b: Builder, x: Node, by: int) -> Node:
    """Return x moved along its last dim, to the end for positive `by`; ones move in."""
    lead, length = x.shape[:-1], x.shape[-1]
    zeros = (0,) * len(lead)
    kept = max(length - abs(by), 0)
    starts, ones = (*zeros, max(-by, 0)), (1,) * len(x.shape)
    middle = b.slice(x, starts, (*lead, kept), ones)
    gap = length - kept
    low, high = (gap, 0) if by > 0 else (0, gap)
    return b.pad(middle, (*zeros, low), (*zeros, high), 1)


def _products_before(b: Builder, x: Node, direction: int) -> Node:
    """Return, along the last dim, the product of all elements before each (after, for -1).

    Doubling: after step k each place holds the product of 2^k neighbours.
    """
    product, reach = _shifted(b, x, direction), 1
    while reach < x.shape[-1]:
        product = b.mul(product, _shifted(b, product, direction * reach))
        reach *= 2
    return product


def prod(t: Tape) -> Node:
    """Return g * (product of the other elements).

    Written with products of what stands before and after, not as y / x: exact where elements are
    zero, and so are all its derivatives.
    """
    x = _gathered(t, t.x(0))
    others = t.b.mul(_products_before(t.b, x, 1), _products_before(t.b, x, -1))
    return t.b.mul(t.b.expand(t.g, t.node.inputs[0].shape), _spread(t, others))


# -- extremes -------------------------------------------------------------------------------------
def _shared(t: Tape) -> Node:
    """Return g in equal parts at every place that holds the extreme, which any NaN is."""
    x, shape = t.x(0), t.node.inputs[0].shape
    holds = t.b.emit(ops.OR, (t.b.eq(x, t.b.expand(t.y(), shape)), t.b.ne(x, x)))
    count = t.b.sum(t.b.cast(holds, x.dtype), t.node.attr("dims"))
    share = t.b.expand(t.b.div(t.g, count), shape)
    return t.b.where(holds, share, t.b.const(0, x.dtype))


def _first(t: Tape, position: Callable[[Node, int], Node]) -> Node:
    """Return g at the first place that holds the extreme."""
    x = _gathered(t, t.x(0))
    last = len(x.shape) - 1
    places = t.b.expand(t.b.iota(x.shape[last], dt.int64), x.shape)
    holds = t.b.eq(places, t.b.expand(position(x, last), x.shape))
    g = t.b.expand(_gathered(t, t.g), x.shape)
    return _spread(t, t.b.where(holds, g, t.b.const(0, x.dtype)))


def max_(t: Tape) -> Node:
    """Return g at the maximum, shared or not as `ties` says."""
    return _shared(t) if t.node.attr("ties") == "even" else _first(t, t.b.argmax)


def min_(t: Tape) -> Node:
    """Return g at the minimum, shared or not as `ties` says."""
    return _shared(t) if t.node.attr("ties") == "even" else _first(t, t.b.argmin)
