"""The pass that opens attention up into the products and sums it is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.compiler.simplify.passes import Rewriter, rewrite
from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = ["open_attention"]


def open_attention(graph: Graph, _target: Target | None = None) -> Graph:
    """Write attention as primitives, for a target that has no kernel of its own for it.

    ::

        %3 = attention (%0, %1, %2) causal=False scale=0.5
        ->  %3 = matmul (%0, permute (%1));  %4 = mul (%3, 0.5);  %5 = max (%4) dims=[3]; ...
            %9 = matmul (%8, %2);  %10 = permute (%9) [0,2,1,3]
    """

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        return _opened(rewriter, node) if node.op is ops.ATTENTION else None

    return rewrite(graph, rule)


def _opened(rewriter: Rewriter, node: Node) -> Node:
    add = rewriter.add
    q, k, v, *masks = (rewriter.new[i] for i in node.inputs)
    dtype = q.dtype

    def number(value: float) -> Node:
        return add(ops.CONST, (), (value, dtype))

    def spread(x: Node) -> Node:
        return add(ops.EXPAND, (x,), (scores.shape,))

    turned = add(ops.PERMUTE, (k,), ((0, 1, 3, 2),))
    scores = add(ops.MATMUL, (q, turned), ())
    scores = add(ops.MUL, (scores, number(node.attr("scale"))), ())
    for mask in masks:
        scores = add(ops.ADD, (scores, spread(mask)), ())
    if node.attr("causal"):
        scores = add(ops.WHERE, (spread(_past(rewriter, *scores.shape[2:])), scores,
                                 number(-math.inf)), ())  # fmt: skip
    if not scores.shape[3]:  # nothing to look at
        return add(ops.EXPAND, (number(0.0),), (node.shape,))
    top = add(ops.MAX, (scores,), ((3,), "even"))
    # Where every score is -inf there is nothing to look at, and the sum is 0.
    hidden = add(ops.EQ, (top, number(-math.inf)), ())
    top = add(ops.WHERE, (hidden, number(0.0), top), ())
    weights = add(ops.EXP, (add(ops.SUB, (scores, spread(top)), ()),), ())
    total = add(ops.SUM, (weights,), ((3,),))
    total = add(ops.WHERE, (hidden, number(1.0), total), ())
    weights = add(ops.DIV, (weights, spread(total)), ())
    made = add(ops.MATMUL, (weights, v), ())
    return add(ops.PERMUTE, (made,), ((0, 2, 1, 3),))


def _past(rewriter: Rewriter, time: int, looked: int) -> Node:
    """Return [time, looked] bools: whether a position may be looked at."""
    add = rewriter.add
    row = add(ops.RESHAPE, (add(ops.IOTA, (), (time, dt.int64)),), ((time, 1),))
    column = add(ops.IOTA, (), (looked, dt.int64))
    grid = ((time, looked),)
    return add(ops.LE, (add(ops.EXPAND, (column,), grid), add(ops.EXPAND, (row,), grid)), ())
