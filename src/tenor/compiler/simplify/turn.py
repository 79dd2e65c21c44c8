"""`turn`: a transposed product is the product of the transposed operands, swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.compiler.simplify.passes import Rewriter, rewrite
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = ["turn"]


def turn(graph: Graph, _target: Target | None = None) -> Graph:
    """Write a matrix product the way it is read: its transpose is (a b)^T = b^T a^T.

    The gradient of `x @ w.t()` is a transposed product; turned, the parameter's update reads it
    in order. Each element sums the same products in the same order, so no bit changes.

    ::

        %2 = matmul (%0, %1);  %3 = permute (%2) [1,0]
        ->   %3 = permute (%1) [1,0];  %4 = permute (%0) [1,0];  %5 = matmul (%3, %4)
    """
    readers: dict[Node, int] = {}
    for node in graph.nodes:
        for source in set(node.inputs):
            readers[source] = readers.get(source, 0) + 1
    outputs = set(graph.outputs)

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        if node.op is not ops.PERMUTE or node.inputs[0].op is not ops.MATMUL:
            return None
        product, rank = node.inputs[0], len(node.shape)
        dims = (*range(rank - 2), rank - 1, rank - 2)
        if node.attrs[0] != dims or readers[product] > 1 or product in outputs:
            return None
        a, b = (rewriter.new[i] for i in product.inputs)
        return rewriter.add(ops.MATMUL, (_swapped(rewriter, b), _swapped(rewriter, a)), ())

    return rewrite(graph, rule)


def _swapped(rewriter: Rewriter, x: Node) -> Node:
    """Return x with its last two dims swapped; a swap that is there already is undone."""
    rank = len(x.shape)
    dims = (*range(rank - 2), rank - 1, rank - 2)
    if x.op is ops.PERMUTE and x.attrs[0] == dims:
        return x.inputs[0]
    return rewriter.add(ops.PERMUTE, (x,), (dims,))
