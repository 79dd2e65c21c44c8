"""A source's graph copied node by node, with operations put in or left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tenor.export.source import Source
    from tenor.ir.op import Op

__all__ = ["Copy"]


class Copy:
    """Nodes being appended to a new graph.

    Attributes:
        nodes: What was appended, leaves left out.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: Op, inputs: Sequence[Node], attrs: tuple[Any, ...] = ()) -> Node:
        """Append an operation."""
        node = Node(op, tuple(inputs), attrs, *infer(op, tuple(inputs), attrs))
        self.nodes.append(node)
        return node

    def number(self, value: float) -> Node:
        """Append a float32 constant."""
        return self.add(ops.CONST, (), (float(np.float32(value)), dt.float32))

    def over(self, node: Node, new: Mapping[Node, Node]) -> Node:
        """Append a node that reads what its inputs have become; itself where they are the same."""
        inner = tuple(new[x] for x in node.inputs)
        same = all(a is b for a, b in zip(inner, node.inputs, strict=True))
        made = node if same else Node(node.op, inner, node.attrs, node.shape, node.dtype)
        self.nodes.append(made)
        return made

    def done(self, source: Source, new: Mapping[Node, Node]) -> Source:
        """Return a source whose outputs are what they have become; weights nobody reads are gone.

        The leaves stay the nodes they were.
        """
        ends = [new[node] for node in source.outputs.values()]
        wanted = set(ends)
        for node in reversed(self.nodes):
            if node in wanted:
                wanted.update(node.inputs)
        leaves = {name: leaf for name, leaf in source.leaves.items() if leaf in wanted}
        kept = [node for node in self.nodes if node in wanted]
        return replace(
            source, graph=Graph([*source.inputs.values(), *leaves.values(), *kept], ends),
            weights={name: source.weights[name] for name in leaves},
            outputs=dict(zip(source.outputs, ends, strict=True)),
        )  # fmt: skip
