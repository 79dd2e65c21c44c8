"""Indices of a program nobody vouches for are kept in range.

A kernel that takes elements trusts its indices; what users write goes through `wrap_index`, which
checks them. A program from a file need not, so a check is put in wherever the indices are not
seen to be in range by what makes them. Indices in range pass it unchanged.
"""

from __future__ import annotations

from typing import Final

from tenor.errors import FormatError
from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Graph, Node, size

__all__ = ["guarded"]

INDEXED: Final = (ops.TAKE, ops.TAKE_ALONG, ops.PUT, ops.PUT_ALONG)
SAME_VALUES: Final = (
    ops.RESHAPE, ops.EXPAND, ops.PERMUTE, ops.SLICE, ops.UNFOLD, ops.CONCAT, ops.BARRIER,
    ops.DETACH,
)  # fmt: skip
"""Operations whose values are all values of their inputs."""
MAX_STEPS: Final = 64
UNKNOWN: Final = 1 << 63


def guarded(graph: Graph) -> Graph:
    """Return the graph with a check before each index that is not known to be in range.

    Raises:
        FormatError: Elements are taken of nothing.
    """
    new: dict[Node, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = [new[x] for x in node.inputs]
        if node.op in INDEXED:
            extent = node.inputs[0].shape[node.attrs[0]]
            if extent == 0 and size(node.inputs[1].shape):
                raise FormatError(
                    "IR text: indices into a dim of size 0.", repr(node), "the text was damaged"
                )
            if extent and not _in_range(node.inputs[1], extent):
                inputs[1] = _check(inputs[1], extent)
                nodes.append(inputs[1])
        made = node
        if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
            made = Node(node.op, tuple(inputs), node.attrs, node.shape, node.dtype)
        new[node] = made
        nodes.append(made)
    if len(nodes) == len(graph.nodes):
        return graph
    return Graph(nodes, [new[x] for x in graph.outputs])


def _check(index: Node, extent: int) -> Node:
    attrs = (extent, "row")
    return Node(ops.WRAP_INDEX, (index,), attrs, *infer(ops.WRAP_INDEX, (index,), attrs))


def _in_range(index: Node, extent: int) -> bool:
    """Tell whether what makes an index keeps it in [0, extent); False where it is not clear."""
    pending, seen = [index], 0
    while pending:
        node = pending.pop()
        seen += 1
        if node.op in SAME_VALUES:
            pending += node.inputs
        elif node.op is ops.WHERE:
            pending += node.inputs[1:]
        elif _bound(node) > extent or seen > MAX_STEPS:
            return False
    return True


def _bound(node: Node) -> int:
    """Return what all values of a node lie below, being 0 or more; a huge number if unknown."""
    bound = 0
    if node.op in (ops.WRAP_INDEX, ops.IOTA):
        bound = node.attrs[0]
    elif node.op in (ops.ARGMAX, ops.ARGMIN, ops.ARGSORT, ops.TOPK):
        bound = node.inputs[0].shape[node.attrs[0]]
    elif node.op is ops.CONST:
        bound = max(0, node.attrs[0] + 1)
    return bound or UNKNOWN
