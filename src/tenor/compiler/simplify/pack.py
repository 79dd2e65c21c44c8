"""The pass that packs once: a matrix that many products read lies in panels of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.simplify.passes import Rewriter, rewrite
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = ["pack"]

MANY: Final = 8
"""Products that read a matrix before it is worth a copy."""
FEW: Final = 128
"""Rows of a product from which on packing for itself costs little."""
LARGE: Final = 1 << 14
"""Elements of a matrix that no longer stay in the first-level cache."""
PANELS: Final = (64, 48, 32)
"""Columns of a panel: whole register tiles on every machine."""


def pack(graph: Graph, _target: Target | None = None) -> Graph:
    """Copy a matrix that many small products read into panels of columns, once.

    Each of them would pack it for itself: the weight of a recurrence, at every step. The values
    are the same; a product that reads such a matrix knows the layout and reads it as it lies.

    ::

        %2 = matmul (%0, %1: [256,1024])    (and seven more that read %1)
        ->  %2 = reshape (%1) [256,16,64];  %3 = permute (%2) [1,0,2];
            %4 = permute (%3) [1,0,2];  %5 = reshape (%4) [256,1024];  %6 = matmul (%0, %5)
    """
    uses: dict[Node, int] = {}
    for node in graph.nodes:
        if _small(node):
            uses[node.inputs[1]] = uses.get(node.inputs[1], 0) + 1
    packed: dict[Node, Node] = {}

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        if not _small(node) or uses[node.inputs[1]] < MANY:
            return None
        a, b = node.inputs
        if b not in packed:
            packed[b] = _panels(rewriter, rewriter.new[b])
        return rewriter.add(ops.MATMUL, (rewriter.new[a], packed[b]), ())

    return rewrite(graph, rule) if max(uses.values(), default=0) >= MANY else graph


def _small(node: Node) -> bool:
    """Tell whether a node is a product of few rows with a large matrix of whole panels."""
    if node.op is not ops.MATMUL or len(node.shape) != 2:
        return False
    matrix = node.inputs[1]
    fits = size(matrix.shape) >= LARGE and any(node.shape[1] % c == 0 for c in PANELS)
    return fits and 1 < node.shape[0] <= FEW


def _panels(rewriter: Rewriter, matrix: Node) -> Node:
    """Append a matrix as a view of its panels."""
    k, n = matrix.shape
    columns = next(c for c in PANELS if n % c == 0)
    cut = rewriter.add(ops.RESHAPE, (matrix,), ((k, n // columns, columns),))
    panels = rewriter.add(ops.PERMUTE, (cut,), ((1, 0, 2),))
    lined = rewriter.add(ops.PERMUTE, (panels,), ((1, 0, 2),))
    return rewriter.add(ops.RESHAPE, (lined,), ((k, n),))
