"""The pass that joins pieces: what was cut apart comes back as a concatenation, not as a sum."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tenor.compiler.simplify.passes import Rewriter, rewrite
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = ["join"]


class Piece(NamedTuple):
    """A value that is zero but for [start, stop) of one dim, where it is `node`."""

    start: int
    stop: int
    node: Node


class Row(NamedTuple):
    """Disjoint pieces along one dim, in order."""

    dim: int
    pieces: tuple[Piece, ...]


def join(graph: Graph, _target: Target | None = None) -> Graph:
    """Concatenate disjoint padded pieces instead of adding them up.

    It is what the gradient of `unbind` and `chunk` looks like: as a sum, n pieces cost n reads and
    computations of every element, as a concatenation one. A zero is added to each piece, since
    -0.0 + 0.0 is 0.0.

    ::

        %2 = pad (%0) low=[0] high=[4];  %3 = pad (%1) low=[2] high=[0];  %4 = add (%2, %3)
        ->  %2 = add (%0, 0);  %3 = add (%1, 0);  %4 = concat (%2, %3)
    """
    rows = _rows(graph)
    inner = {i for node in rows if node.op is ops.ADD for i in node.inputs}
    outer = {i for node in graph.nodes if node not in rows for i in node.inputs}
    outer.update(graph.outputs)

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        row = rows.get(node)
        if row is None or len(row.pieces) < 2 or (node in inner and node not in outer):
            return None
        return _concatenated(rewriter, node, row)

    return rewrite(graph, rule)


def _rows(graph: Graph) -> dict[Node, Row]:
    """Return the nodes that are sums of disjoint pieces."""
    rows: dict[Node, Row] = {}
    for node in graph.nodes:
        row = None
        if node.op is ops.PAD:
            row = _padded(node)
        elif node.op is ops.ADD and node.inputs[0] in rows and node.inputs[1] in rows:
            row = _together(rows[node.inputs[0]], rows[node.inputs[1]])
        if row is not None:
            rows[node] = row
    return rows


def _padded(node: Node) -> Row | None:
    low, high, value = node.attrs
    dims = [d for d, (a, b) in enumerate(zip(low, high, strict=True)) if a or b]
    zero = repr(value) in ("0", "0.0", "False")  # -0.0 is no neutral element of what is joined
    if len(dims) != 1 or not zero or not node.inputs[0].shape[dims[0]]:
        return None
    dim = dims[0]
    stop = low[dim] + node.inputs[0].shape[dim]
    return Row(dim, (Piece(low[dim], stop, node.inputs[0]),))


def _together(a: Row, b: Row) -> Row | None:
    """Return two rows as one, if they are along one dim and do not overlap."""
    if a.dim != b.dim:
        return None
    pieces = sorted((*a.pieces, *b.pieces), key=lambda p: p.start)
    if any(p.stop > q.start for p, q in pairwise(pieces)):
        return None
    return Row(a.dim, tuple(pieces))


def _concatenated(rewriter: Rewriter, node: Node, row: Row) -> Node:
    """Append the concatenation of a row, with zeros where no piece is."""
    dim, extent = row.dim, node.shape[row.dim]
    zero = rewriter.add(ops.CONST, (), (_number(node), node.dtype))
    parts: list[Node] = []
    at = 0
    for piece in (*row.pieces, Piece(extent, extent, node)):
        if piece.start > at:
            shape = (*node.shape[:dim], piece.start - at, *node.shape[dim + 1 :])
            parts.append(rewriter.add(ops.EXPAND, (zero,), (shape,)))
        if piece.node is not node:
            parts.append(rewriter.add(ops.ADD, (rewriter.new[piece.node], zero), ()))
        at = piece.stop
    return rewriter.add(ops.CONCAT, tuple(parts), (dim,))


def _number(node: Node) -> float | int | bool:
    """Return zero as the dtype's kind of number."""
    return {"float": 0.0, "bool": False}.get(node.dtype.kind, 0)
