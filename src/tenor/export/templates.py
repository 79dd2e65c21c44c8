"""Templates: what a composite operation looks like in primitives, and where a graph has it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tenor.ir.node import Node
    from tenor.ir.op import Op

__all__ = ["Attrs", "Match", "T", "peeled", "template", "unspread"]

Attrs = dict[str, Any]
FREE: Final = (ops.CONST, ops.LEAF)


def peeled(node: Node) -> Node:
    """Return what a node was expanded from."""
    while node.op is ops.EXPAND:
        node = node.inputs[0]
    return node


class Match:
    """What a matcher found: the layer's inputs, the nodes it covers, and names for some."""

    def __init__(self) -> None:
        self.inputs: list[Node] = []
        self.nodes: list[Node] = []
        self.names: dict[str, Node] = {}

    def copy(self) -> Match:
        """Return the same, to go on from in one of several ways."""
        other = Match()
        other.inputs, other.nodes = list(self.inputs), list(self.nodes)
        other.names = dict(self.names)
        return other

    def cover(self, *nodes: Node) -> None:
        """Note nodes that the layer covers, from the result backwards."""
        self.nodes += [n for n in nodes if n.op not in FREE]

    def number(self, name: str) -> float:
        """Return the number a name stands for."""
        return float(self.names[name].attrs[0])


class T:
    """A template: an operation over templates.

    A string stands for any node, the same wherever it is written; "#name" for a constant; a number
    for a constant of that value. What is expanded matches a template of what it was before.
    """

    def __init__(self, op: Op, *inputs: Any, name: str = "") -> None:
        self.op, self.inputs, self.name = op, inputs, name

    def nodes(self, node: Node, match: Match) -> Iterator[Match]:
        """Yield the ways in which a node is what the template says."""
        node, spread = (node, []) if self.op is ops.EXPAND else unspread(node)
        known = match.names.get(self.name) if self.name else None
        if known is not None:
            if known is node:
                yield match
            return
        if node.op is not self.op or len(node.inputs) != len(self.inputs):
            return
        for order in self._orders(node):
            state = match.copy()
            state.cover(*spread, node)
            if self.name:
                state.names[self.name] = node
            yield from _each(self.inputs, order, state)

    def _orders(self, node: Node) -> Iterator[tuple[Node, ...]]:
        yield node.inputs
        if node.op in (ops.ADD, ops.MUL):
            yield node.inputs[::-1]


def unspread(node: Node) -> tuple[Node, list[Node]]:
    """Return what a node was expanded from, and what expanded it."""
    spread = []
    while node.op is ops.EXPAND:
        spread.append(node)
        node = node.inputs[0]
    return node, spread


def _each(templates: tuple[Any, ...], nodes: tuple[Node, ...], match: Match) -> Iterator[Match]:
    if not templates:
        yield match
        return
    for found in _fits(templates[0], nodes[0], match):
        yield from _each(templates[1:], nodes[1:], found)


def _fits(template: Any, node: Node, match: Match) -> Iterator[Match]:
    if isinstance(template, T):
        yield from template.nodes(node, match)
        return
    bare = peeled(node)
    if isinstance(template, (int, float)):
        if bare.op is ops.CONST and math.isclose(bare.attrs[0], template, rel_tol=1e-6):
            yield match
        return
    node = bare if template.startswith("#") else node
    if template.startswith("#") and node.op is not ops.CONST:
        return
    known = match.names.get(template)
    if known is None:
        found = match.copy()
        found.names[template] = node
        yield found
    elif known is node or (known.op is ops.CONST and known.attrs == node.attrs):
        yield match


def template(
    form: T, check: Callable[[Match, Node], Attrs | None] = lambda _m, _n: {}
) -> Callable[[Node, Match], Attrs | None]:
    """Return a matcher for a template whose input is "x"."""

    def matcher(node: Node, match: Match) -> Attrs | None:
        for found in form.nodes(node, Match()):
            attrs = check(found, node)
            x = found.names["x"]
            if attrs is not None and x.shape == node.shape:
                match.inputs = [x]
                match.nodes = [n for n in found.nodes if n is not node]
                return attrs
        return None

    return matcher
