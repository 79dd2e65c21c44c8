"""Layers of a graph as an eight-bit machine sees them: what is worked out between two roundings.

A product takes bytes, sums in 32 bits, adds its bias and clips, and only then is rounded; a
function of one value is a table of 256 entries; a softmax or a norm of rows is one operation. So
not every value of a graph is held in eight bits, and `layers` says which are: the ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.export.source import Source
    from tenor.ir.node import Node
    from tenor.ir.op import Op

__all__ = ["Layer", "inherits", "layers", "root"]

PRODUCTS: Final[dict[Op, str]] = {
    ops.CONV: "conv", ops.CONV_INPUT: "conv transposed", ops.MATMUL: "matmul",
    ops.ATTENTION: "attention",
}  # fmt: skip
MOVING: Final = (
    ops.RESHAPE, ops.EXPAND, ops.PERMUTE, ops.SLICE, ops.UNFOLD, ops.TAKE, ops.TAKE_ALONG,
    ops.MAX, ops.MIN, ops.DETACH, ops.BARRIER,
)  # fmt: skip
"""Operations whose result holds elements of their first input, and nothing else."""
LOOKED_UP: Final = (ops.TAKE, ops.TAKE_ALONG)
CLIPPING: Final = (
    ops.ADD, ops.SUB, ops.MAXIMUM, ops.MINIMUM, ops.LE, ops.LT, ops.AND, ops.OR, ops.NOT,
    ops.WHERE, ops.RESHAPE, ops.PERMUTE,
)  # fmt: skip
"""What a product does before it rounds, with numbers known beforehand."""
SCALING: Final = (*CLIPPING, ops.MUL, ops.DIV)
"""What a sum does before it rounds: a mean is one operation."""
ROWS: Final = (
    *MOVING, ops.SUM, ops.PROD, ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.POW, ops.ABS, ops.EXP,
    ops.LOG, ops.SQRT, ops.RSQRT, ops.MAXIMUM,
)  # fmt: skip
"""What softmaxes and norms are made of."""
SQUARES: Final = (ops.MUL, ops.ABS, ops.POW)
CURVED: Final = (
    ops.SIGMOID, ops.TANH, ops.ERF, ops.EXP, ops.EXPM1, ops.LOG, ops.LOG1P, ops.SQRT, ops.RSQRT,
    ops.SIN, ops.COS,
)  # fmt: skip
"""Operations that a function is called after."""


@dataclass(frozen=True)
class Layer:
    """Operations between two roundings.

    Attributes:
        name: That of its weight without the last part, or its kind or operation, and a number.
        kind: "input", "conv", "conv transposed", "matmul", "attention", "embedding", "softmax",
            "log_softmax", "norm", "rows" (the like of them), "table" (a function of one value),
            or an operation.
        nodes: Its operations, in the graph's order; an input's leaf alone.
        end: What is rounded.
        weights: Leaves held in eight bits that its product reads.
    """

    name: str
    kind: str
    nodes: tuple[Node, ...]
    end: Node
    weights: tuple[Node, ...] = ()


def inherits(node: Node) -> bool:
    """Tell whether a node holds elements of its first input alone, so that it has its scheme.

    Padding does where what it adds is 0, which every scheme holds, or an infinity, which no
    maximum takes over.
    """
    if node.op is ops.PAD:
        value = float(node.attr("value"))
        return value == 0 or math.isinf(value)
    return node.op in MOVING


def root(node: Node) -> Node:
    """Return where a value's elements come from."""
    while inherits(node):
        node = node.inputs[0]
    return node


def layers(source: Source) -> list[Layer]:
    """Return the layers of a folded source, inputs first, each after those it reads."""
    return _Cut(source).layers()


class _Cut:
    """A graph being cut into layers."""

    def __init__(self, source: Source) -> None:
        self.source, self.graph = source, source.graph
        self.names = {leaf: name for name, leaf in source.leaves.items()}
        self.known = set(self.names)
        self.place = {node: at for at, node in enumerate(self.graph.nodes)}
        self.users: dict[Node, list[Node]] = {node: [] for node in self.graph.nodes}
        self.ends = set(self.graph.outputs)
        for node in self.graph.nodes:
            if node.inputs and all(self.settled(x) for x in node.inputs):
                self.known.add(node)
            for x in dict.fromkeys(node.inputs):
                self.users[x].append(node)
        self.taken: set[Node] = set()
        self.counts: dict[str, int] = {}

    def settled(self, node: Node) -> bool:
        """Tell whether a value does not depend on the inputs."""
        return node in self.known or node.op in (ops.CONST, ops.IOTA)

    def layers(self) -> list[Layer]:
        """Return every layer."""
        found = [
            Layer(name, "input", (leaf,), leaf)
            for name, leaf in self.source.inputs.items()
            if leaf.dtype is dt.float32
        ]
        for node in self.graph.nodes:
            if node in self.taken or node.dtype is not dt.float32 or node.op.family == "parameter":
                continue
            if node.op in LOOKED_UP and root(node) in self.names:
                found.append(self.made("embedding", [node]))
            elif not self.settled(node) and not inherits(node):
                found.append(self.layer(node))
        return found

    def layer(self, first: Node) -> Layer:
        """Return the layer that begins with a node."""
        if first.op in PRODUCTS:
            return self.made(PRODUCTS[first.op], self.closed(first, {first}, CLIPPING))
        rows = self.row_function(first)
        if rows:
            return self.made(_row_kind(rows), rows)
        wide = _sources(first)
        if first.op.family == "elementwise" and len(wide) == 1:
            return self.made("table", self.closed(wide[0], {wide[0]}, None, first))
        allowed = SCALING if first.op is ops.SUM else CLIPPING
        return self.made(first.op.name, self.closed(first, {first}, allowed))

    def made(self, kind: str, nodes: list[Node]) -> Layer:
        """Return a layer under a name of its own."""
        self.taken.update(nodes)
        read = [_leaf(x) for n in nodes if n.op in PRODUCTS for x in n.inputs]
        read += [root(n) for n in nodes if kind == "embedding"]
        held = tuple(dict.fromkeys(x for x in read if x in self.names))
        stem = kind
        named = [*held, *(x for x in map(_leaf, nodes[-1].inputs) if x in self.names)]
        if named:
            stem = self.names[named[0]].rpartition(".")[0] or self.names[named[0]]
        elif kind == "table":
            stem = next((n.op.name for n in nodes if n.op in CURVED), nodes[0].op.name)
        at = self.counts[stem] = self.counts.get(stem, 0) + 1
        return Layer(stem if at == 1 else f"{stem} {at}", kind, tuple(nodes), nodes[-1], held)

    def closed(
        self, start: Node, seeds: set[Node], allowed: tuple[Op, ...] | None,
        first: Node | None = None,
    ) -> list[Node]:  # fmt: skip
        """Return the most nodes that depend on a start alone, of which only the last is read after.

        Args:
            start: Where they begin; itself one of them unless `first` is given.
            seeds: Values they may read, beside numbers.
            allowed: Their operations; None: elementwise with constants, which a table can hold.
            first: The node they begin with, where the start is what they read.
        """
        inside = self.reach(start, seeds, allowed)
        begun = {start} if first is None else set()
        best = [start] if first is None else [first]
        for end in inside:
            body = self.above(end, inside, begun)
            if inherits(end) or end.dtype is not dt.float32 or (first and first not in body):
                continue
            if len(body) > len(best) and self.sealed(body, end):
                best = sorted(body, key=self.place.__getitem__)
        return best

    def reach(self, start: Node, seeds: set[Node], allowed: tuple[Op, ...] | None) -> list[Node]:
        """Return the nodes that allowed operations make of some values and numbers, in order."""
        inside: dict[Node, None] = {}
        frontier = list(self.users[start])
        seen: set[Node] = set()
        while frontier:
            node = min(frontier, key=self.place.__getitem__)
            frontier.remove(node)
            if node in seen:
                continue
            seen.add(node)
            within = [x in inside or x in seeds for x in node.inputs]
            fits = all(ok or self.number(x, allowed) for ok, x in zip(within, node.inputs,
                       strict=True))  # fmt: skip
            if fits and _allowed(node, allowed):
                inside[node] = None
                frontier += self.users[node]
        return list(inside)

    def number(self, node: Node, allowed: tuple[Op, ...] | None) -> bool:
        """Tell whether a layer may read a value besides its own: a constant, or what is known."""
        return node.op is ops.CONST if allowed is None else self.settled(node)

    def above(self, end: Node, inside: list[Node], begun: set[Node]) -> set[Node]:
        """Return an end and what it is made of, within some nodes."""
        among = {*inside, *begun}
        body, rest = set(), [end]
        while rest:
            node = rest.pop()
            if node in among and node not in body:
                body.add(node)
                rest += node.inputs
        return body

    def sealed(self, body: set[Node], end: Node) -> bool:
        """Tell whether nothing but the end is read outside."""
        return all(
            node is end or (node not in self.ends and all(u in body for u in self.users[node]))
            for node in body
        )

    def row_function(self, first: Node) -> list[Node]:
        """Return a softmax, a norm or the like: a value reduced, and what came of it spread again.

        Args:
            first: The node after the value that is neither a move nor a maximum of it.
        """
        wide = dict.fromkeys(x for x in first.inputs if not self.settled(x))
        chains = [_chain(x) for x in wide]
        for start in chains[0] if chains else ():
            if all(start in chain for chain in chains):
                found = self.closed_rows(start, first)
                if found:
                    return found
        return []

    def closed_rows(self, start: Node, first: Node) -> list[Node]:
        """Return the most nodes from a value to another of its size, with a reduction between."""
        inside = self.reach(start, {start}, ROWS)
        best: list[Node] = []
        for end in inside:
            if size(end.shape) != size(start.shape) or inherits(end):
                continue
            body = self.above(end, inside, set())
            fits = first in body and not body & self.taken and _reduced(body, start)
            if fits and len(body) > len(best) and self.sealed(body, end):
                best = sorted(body, key=self.place.__getitem__)
        return best


def _sources(node: Node) -> list[Node]:
    """Return the values an operation reads, through what is compared of them, without numbers."""
    found: dict[Node, None] = {}
    for x in node.inputs:
        compared = x.dtype is not dt.float32 and x.op.family == "elementwise"
        inner = x.inputs if compared else (x,)
        found.update(dict.fromkeys(y for y in inner if y.op is not ops.CONST))
    return list(found)


def _chain(node: Node) -> list[Node]:
    """Return a value and those its elements come from, nearest first."""
    found = [node]
    while inherits(found[-1]):
        found.append(found[-1].inputs[0])
    return found


def _reduced(body: set[Node], start: Node) -> bool:
    """Tell whether a value, or its squares, are summed or compared within some nodes."""
    near = {start, *(n for n in body if n.op in SQUARES and root(n.inputs[0]) is root(start))}
    return any(
        n.op.family == "reduce" and any(x in near for x in _chain(n.inputs[0])) for n in body
    )


def _allowed(node: Node, allowed: tuple[Op, ...] | None) -> bool:
    return node.op.family == "elementwise" if allowed is None else node.op in allowed


def _leaf(node: Node) -> Node:
    """Return the leaf that a product's operand is, moved about."""
    while node.op in (ops.RESHAPE, ops.EXPAND, ops.PERMUTE):
        node = node.inputs[0]
    return node


def _row_kind(nodes: list[Node]) -> str:
    """Return what a function of rows is.

    A softmax ends in e to something, divided by its sum; its logarithm in the sum's logarithm.
    """
    last = nodes[-1]
    below = root(last.inputs[-1])
    if last.op is ops.DIV and last.inputs[0].op is ops.EXP and below.op is ops.SUM:
        return "softmax" if below.inputs[0] is last.inputs[0] else "rows"
    if last.op is ops.SUB and below.op is ops.LOG:
        return "log_softmax"
    return "norm" if any(n.op in (ops.RSQRT, ops.SQRT) for n in nodes) else "rows"
