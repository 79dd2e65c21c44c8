"""What depends on weights alone is worked out once, and norms go into the convolutions before them.

`folded` gives a source whose graph computes the same within rounding: fewer operations, and
weights of its own. Every exporter starts from it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.emit import reference
from tenor.export.copying import Copy
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.source import Source

    Array = NDArray[Any]

__all__ = ["folded"]

LEFT: Final = (ops.EXPAND, ops.UNFOLD, ops.TAKE, ops.TAKE_ALONG, ops.WRAP_INDEX)
"""Operations that kernels do for nothing, or that look elements up: they are left as they are."""
SMALL: Final = 1 << 16
"""Elements up to which a value made of numbers alone is worked out."""


def folded(source: Source) -> Source:
    """Return a source that computes the same, with all that weights decide worked out."""
    return _dead(_constants(_norms(_constants(source))))


class _Rewrite(Copy):
    """A graph being copied, with weights added."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.new: dict[Node, Node] = {}
        self.known: dict[Node, Array] = {}
        self.names: dict[Node, str] = {}
        self.added: set[Node] = set()
        for name, leaf in source.leaves.items():
            self.known[leaf], self.names[leaf] = source.weights[name], name

    def weight(self, value: Array, like: Node, name: str) -> Node:
        """Return a new weight, called like the one it is made of if that is gone in the end."""
        leaf = Node(ops.LEAF, (), (like.shape, like.dtype), like.shape, like.dtype)
        self.known[leaf], self.names[leaf] = value, name
        self.added.add(leaf)
        return leaf

    def called(self, kept: list[Node]) -> dict[Node, str]:
        """Return names for the weights that are kept, each another."""
        found = {leaf: self.names[leaf] for leaf in kept if leaf not in self.added}
        taken = set(found.values())
        for leaf in kept:
            if leaf in self.added:
                name = self.names[leaf]
                while name in taken:
                    name += "_"
                found[leaf] = name
                taken.add(name)
        return found

    def copy(self, node: Node) -> None:
        """Append a node of the old graph as it is."""
        self.new[node] = self.over(node, self.new)

    def rewritten(self) -> Source:
        """Return the source as rewritten."""
        source, inputs = self.source, list(self.source.inputs.values())
        read = {x for node in self.nodes for x in node.inputs}
        ends = [self.new[node] for node in source.outputs.values()]
        read |= set(ends)
        kept = [leaf for leaf in self.names if leaf in read]
        graph = Graph([*inputs, *kept, *self.nodes], ends)
        names = self.called(kept)
        weights = {names[leaf]: self.known[leaf] for leaf in kept}
        return replace(
            source, graph=graph, weights=weights,
            outputs=dict(zip(source.outputs, ends, strict=True)),
        )  # fmt: skip


def _constants(source: Source) -> Source:
    """Work out what is made of weights, and small values made of numbers."""
    write = _Rewrite(source)
    fixed: set[Node] = set(source.leaves.values())
    ends = set(source.outputs.values())
    for node in source.graph.nodes:
        if node.op is ops.LEAF:
            write.new[node] = node
            continue
        if _known(node, fixed) and node not in ends:
            value = _value(node, write)
            fixed.add(node)
            first = next((x for x in node.inputs if x in write.new), None)
            stem = write.names.get(write.new[first], "folded") if first else "folded"
            made = write.weight(value, node, stem)
            write.new[node] = made
            continue
        write.copy(node)
        if node.op is ops.EXPAND and node.inputs[0] in fixed and node not in ends:
            # Known to what is made of it and of a weight, though not stored so large itself.
            write.known[write.new[node]] = np.broadcast_to(
                write.known[write.new[node.inputs[0]]], node.shape
            )
            fixed.add(node)
    return write.rewritten()


def _known(node: Node, fixed: set[Node]) -> bool:
    """Tell whether a value is to be worked out: weights decide it, and it is not much larger."""
    made_of = [x for x in node.inputs if x.op is not ops.CONST]
    if node.op in LEFT or not all(x in fixed for x in made_of):
        return False
    stored = [size(x.shape) for x in made_of if x.op is not ops.EXPAND]
    return bool(made_of) and size(node.shape) <= max([SMALL, *stored])


def _value(node: Node, write: _Rewrite) -> Array:
    """Return a node's value by the reference interpreter."""
    nodes: list[Node] = []
    given: list[Array] = []
    for x in dict.fromkeys(node.inputs):
        held = write.new[x]
        if held.op is ops.CONST:
            nodes.append(x)
        else:
            nodes.insert(len(given), Node(ops.LEAF, (), (x.shape, x.dtype), x.shape, x.dtype))
            given.append(write.known[held])
    made = dict(zip(dict.fromkeys(x for x in node.inputs if x.op is not ops.CONST), nodes,
                    strict=False))  # fmt: skip
    inputs = tuple(made.get(x, x) for x in node.inputs)
    last = Node(node.op, inputs, node.attrs, node.shape, node.dtype)
    return reference.run(Graph([*nodes, last], [last]), given, [])[0]


# -- norms --------------------------------------------------------------------------------------
def _norms(source: Source) -> Source:
    """Multiply what scales a convolution's channels into its weight, and add up its shifts.

    conv(x, w) * s + t is conv(x, w * s) + t, and (conv(x, w) + b) * s is conv(x, w * s) + b * s.
    """
    write = _Rewrite(source)
    users = Counter(x for node in source.graph.nodes for x in node.inputs)
    ends = set(source.outputs.values())
    chains: dict[Node, _Chain] = {}
    for node in source.graph.nodes:
        if node.op is ops.LEAF:
            write.new[node] = node
            continue
        chain = _chained(node, chains, write, users, ends)
        if chain is None:
            write.copy(node)
            continue
        chains[node] = chain
        write.new[node] = node  # what is made of it is written when the chain ends
    longer = {x for n in chains for x in n.inputs if x in chains and n.op is not ops.CONV}
    for node in chains.keys() - longer:
        chains[node].end = True
    return _written(source, chains)


class _Chain:
    """A convolution and what is done to its channels: conv(x, w * scale) + shift."""

    def __init__(self, conv: Node, scale: Array, shift: Array) -> None:
        self.conv, self.scale, self.shift = conv, scale, shift
        self.end = False


def _chained(
    node: Node, chains: dict[Node, _Chain], write: _Rewrite, users: Counter[Node],
    ends: set[Node],
) -> _Chain | None:  # fmt: skip
    """Return what a node makes of a convolution's channels; None where it is something else."""
    if node.op is ops.CONV:
        weight = node.inputs[1]
        if weight in write.known and node.dtype is dt.float32:
            count = node.shape[1]
            return _Chain(node, np.ones(count), np.zeros(count))
        return None
    if node.op not in (ops.ADD, ops.SUB, ops.MUL) or len(node.inputs) != 2:
        return None
    for side, x in enumerate(node.inputs):
        chain = chains.get(x)
        if chain is None or users[x] != 1 or x in ends:
            continue
        value = _channels(node.inputs[1 - side], write, node.shape)
        if value is None or (node.op is ops.SUB and side == 1):
            continue
        if node.op is ops.MUL:
            return _Chain(chain.conv, chain.scale * value, chain.shift * value)
        sign = -1.0 if node.op is ops.SUB else 1.0
        return _Chain(chain.conv, chain.scale, chain.shift + sign * value)
    return None


def _channels(node: Node, write: _Rewrite, shape: tuple[int, ...]) -> Array | None:
    """Return a value that depends on the channel (dim 1) alone, one number a channel."""
    while node.op is ops.EXPAND:
        node = node.inputs[0]
    if node.op is ops.CONST:
        return np.full(shape[1], float(node.attrs[0]))
    if node not in write.known:
        return None
    at = len(shape) - 1 - 1  # dims after the channel's
    wanted = (*(1,) * (len(node.shape) - 1 - at), shape[1], *(1,) * at)
    if len(node.shape) <= at or node.shape != wanted:
        return None
    return np.asarray(write.known[node], np.float64).reshape(-1)


def _written(source: Source, chains: dict[Node, _Chain]) -> Source:
    write = _Rewrite(source)
    for node in source.graph.nodes:
        chain = chains.get(node)
        if node.op is ops.LEAF:
            write.new[node] = node
        elif chain is None or (chain.end and node.op is ops.CONV):
            write.copy(node)
        elif chain.end:
            write.new[node] = _one(node, chain, write)
    return write.rewritten()


def _one(node: Node, chain: _Chain, write: _Rewrite) -> Node:
    """Append one convolution with a weight of its own, and its shift."""
    conv, count = chain.conv, chain.conv.shape[1]
    leaf = write.new[conv.inputs[1]]
    weight = leaf
    if not np.all(chain.scale == 1):
        scaled = write.known[leaf] * chain.scale.reshape(-1, *(1,) * (len(leaf.shape) - 1))
        weight = write.weight(scaled.astype(np.float32), leaf, write.names[leaf])
    made = write.add(ops.CONV, (write.new[conv.inputs[0]], weight), conv.attrs)
    if np.any(chain.shift):
        shape = (1, count, *(1,) * (len(node.shape) - 2))
        like = Node(ops.LEAF, (), (shape, dt.float32), shape, dt.float32)
        stem = write.names[leaf].removesuffix("weight") + "bias"
        value = chain.shift.reshape(shape).astype(np.float32)
        bias = write.add(ops.EXPAND, (write.weight(value, like, stem),), (node.shape,))
        made = write.add(ops.ADD, (made, bias))
    return made


def _dead(source: Source) -> Source:
    """Leave out what no output needs."""
    copy = Copy()
    new: dict[Node, Node] = {}
    for node in source.graph.nodes:
        new[node] = node if node.op is ops.LEAF else copy.over(node, new)
    return copy.done(source, new)
