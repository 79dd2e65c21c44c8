"""The graph passes; each is a function from Graph to Graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Graph, Node, size
from tenor.ir.symbolic import alike, applied

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.target import Target

__all__ = ["collapse", "dead", "distinct", "merge", "rewrite", "split_reduce", "strip"]

TAPE = frozenset((ops.DETACH, ops.VARIABLE, ops.FUNCTION))
LONG_REDUCTION = 1 << 15
CHUNK = 1 << 12


class Rewriter:
    """Rebuilds a graph node by node, replacing some nodes by others."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.new: dict[Node, Node] = {}
        self.codes: dict[Node, int] = {}
        self.site: tuple[str, int] | None = None

    def add(self, op: ops.Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...]) -> Node:
        """Append an operation on new nodes."""
        shape, dtype = infer(op, inputs, attrs)
        node = Node(op, inputs, attrs, shape, dtype)
        node.site = self.site
        self.nodes.append(node)
        return node

    def keep(self, node: Node) -> Node:
        """Append a node as it is, on the new nodes of its inputs."""
        new = self.new
        inputs = tuple([new[i] for i in node.inputs])
        if inputs == node.inputs:  # nodes are equal where they are the same
            self.nodes.append(node)
            return node
        made = Node(node.op, inputs, node.attrs, node.shape, node.dtype)
        made.site = node.site
        self.nodes.append(made)
        return made

    def run(self, rule: Callable[[Rewriter, Node], Node | None]) -> Graph:
        """Apply a rule to every node; None keeps the node."""
        for node in self.graph.nodes:
            self.site = node.site
            made = rule(self, node)
            self.new[node] = made = made if made is not None else self.keep(node)
            if node in self.graph.codes:
                self.codes[made] = self.graph.codes[node]
        outputs = tuple(self.new[o] for o in self.graph.outputs)
        updates = tuple((self.new[leaf], at) for leaf, at in self.graph.updates)
        return Graph(self.nodes, outputs, updates, self.codes)


def rewrite(graph: Graph, rule: Callable[[Rewriter, Node], Node | None]) -> Graph:
    """Return the graph with a rule applied to each node."""
    return Rewriter(graph).run(rule)


def strip(graph: Graph, _target: Target | None = None) -> Graph:
    """Drop what only the tape needed: `detach`, `variable`, `function`.

    ::

        %1 = detach (%0);  %2 = exp (%1)   ->   %2 = exp (%0)
    """

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        return rewriter.new[node.inputs[0]] if node.op in TAPE else None

    return rewrite(graph, rule)


def dead(graph: Graph, _target: Target | None = None) -> Graph:
    """Drop nodes no output depends on; parameters stay, so that their numbers do.

    ::

        %1 = exp (%0);  %2 = log (%0);  return %2   ->   %2 = log (%0);  return %2
    """
    wanted = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if node in wanted or node.op in (ops.LEAF, ops.SCALAR):
            wanted.update(node.inputs)
            kept.append(node)
    codes = {n: c for n, c in graph.codes.items() if n in wanted}
    return Graph(kept[::-1], graph.outputs, graph.updates, codes)


def merge(graph: Graph, _target: Target | None = None) -> Graph:
    """Compute equal values once; never across a `barrier`.

    ::

        %1 = exp (%0);  %2 = exp (%0);  %3 = add (%1, %2)   ->   %3 = add (%1, %1)
    """
    seen: dict[Any, Node] = {}

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        if node.op in (ops.LEAF, ops.SCALAR, ops.BARRIER):
            return None
        # repr tells 0.0 from -0.0, True from 1 and gives every NaN the same key.
        key = (node.op, tuple(rewriter.new[i] for i in node.inputs), repr(node.attrs))
        found = seen.get(key)
        if found is None:
            found = seen[key] = rewriter.keep(node)
        return found

    return rewrite(graph, rule)


def collapse(graph: Graph, _target: Target | None = None) -> Graph:
    """Join movement with movement: reshape of reshape, permute of permute, expand of expand.

    ::

        %1 = reshape (%0) [6];  %2 = reshape (%1) [2,3]   ->   %2 = reshape (%0) [2,3]

    What is concatenated and lies in memory one after the other is concatenated along dim 0, so that
    a stack of matrices and the rows of all of them are one value::

        %2 = reshape (%0: [2,3]) [1,2,3];  %3 = reshape (%1: [2,3]) [1,2,3];  %4 = concat (%2, %3)
        ->   %2 = concat (%0, %1);  %3 = reshape (%2) [2,2,3]
    """

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        if node.op is ops.CONCAT:
            return _collapse_concat(rewriter, node)
        if node.op not in (ops.RESHAPE, ops.PERMUTE, ops.EXPAND, ops.CAST):
            return None
        source = rewriter.new[node.inputs[0]]
        if node.op is ops.CAST:
            return source if source.dtype is node.dtype else None
        if node.op is ops.PERMUTE:
            return _collapse_permute(rewriter, node, source)
        if source.op is node.op:
            source = source.inputs[0]
        if alike(source.shape, node.shape):
            return source
        return rewriter.add(node.op, (source,), node.attrs)

    return rewrite(graph, rule)


def _collapse_permute(rewriter: Rewriter, node: Node, source: Node) -> Node | None:
    dims = node.attrs[0]
    if source.op is ops.PERMUTE:
        dims = tuple(source.attrs[0][d] for d in dims)
        source = source.inputs[0]
    if dims == tuple(range(len(dims))):
        return source
    return rewriter.add(ops.PERMUTE, (source,), (dims,))


def _collapse_concat(rewriter: Rewriter, node: Node) -> Node | None:
    if size(node.shape[: node.attrs[0]]) != 1:
        return None
    parts = [rewriter.new[i] for i in node.inputs]
    if not any(p.op is ops.RESHAPE for p in parts):
        return None
    parts = [p.inputs[0] if p.op is ops.RESHAPE else p for p in parts]
    if any(not p.shape or p.shape[1:] != parts[0].shape[1:] for p in parts):
        return None
    rows = rewriter.add(ops.CONCAT, tuple(parts), (0,))
    return rewriter.add(ops.RESHAPE, (rows,), (node.shape,)) if rows.shape != node.shape else rows


def split_reduce(graph: Graph, _target: Target | None = None) -> Graph:
    """Reduce a long dim in two steps, so that all threads have work where little is kept.

    The split is part of the order of a sum: it depends on what is reduced alone, not on how much
    is kept, or a row of a batch would depend on the others.

    ::

        %1 = sum (%0: [1048576]) dims=[0]
        ->  %1 = reshape (%0) [256,4096];  %2 = sum (%1) dims=[1];  %3 = sum (%2) dims=[0]
    """

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        if node.op not in (ops.SUM, ops.MAX, ops.MIN, ops.PROD):
            return None
        source = rewriter.new[node.inputs[0]]
        dims = node.attrs[0]
        narrow = source.dtype.compute is not source.dtype  # a partial sum would be rounded
        if not dims or narrow or size(source.shape[d] for d in dims) < LONG_REDUCTION:
            return None
        long = max(dims, key=lambda d: source.shape[d])
        extent = source.shape[long]
        chunk = applied(chunk_of, extent)
        if chunk == 0 or extent < 2 * chunk:
            return None
        shape = (*source.shape[:long], extent // chunk, chunk, *source.shape[long + 1 :])
        inner = tuple(d + (d >= long) for d in dims)
        parts = rewriter.add(ops.RESHAPE, (source,), (shape,))
        first = rewriter.add(node.op, (parts,), (inner, *node.attrs[1:]))
        second = rewriter.add(node.op, (first,), ((long,), *node.attrs[1:]))
        return rewriter.add(ops.RESHAPE, (second,), (node.shape,))

    return rewrite(graph, rule)


def chunk_of(extent: int) -> int:
    """Return the longest part a long dim is cut into evenly; 0 where there is none."""
    return next((c for c in range(CHUNK, CHUNK // 8, -1) if extent % c == 0), 0)


def distinct(graph: Graph, _target: Target | None = None) -> Graph:
    """Give every output a buffer of its own, where passes have made two of them one value.

    ::

        return %0, %1, %1  (%0 a leaf)
        ->   %2 = barrier (%0);  %3 = barrier (%1);  return %2, %1, %3
    """
    nodes = list(graph.nodes)
    outputs: list[Node] = []
    for node in graph.outputs:
        made = node
        if node.op in (ops.LEAF, ops.SCALAR) or node in outputs:
            made = Node(ops.BARRIER, (node,), (), node.shape, node.dtype)
            made.site = node.site
            nodes.append(made)
        outputs.append(made)
    return Graph(nodes, outputs, graph.updates, graph.codes)
