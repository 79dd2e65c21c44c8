"""What fake quantisation learnt while a model was trained: its scales, taken out of the graph.

A fake quantisation is (clamp(round(x / s) + z, low, high) - z) * s, by 1/s or s, with or without
z; what trains it and `simulate` both write it so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.copying import Copy
from tenor.export.quantize.record import Scheme
from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["stripped"]

SAME: Final = 1e-5
"""How far 1/s may be from one over s."""


def stripped(source: Source) -> tuple[Source, dict[Node, Scheme]]:
    """Return a source without fake quantisation, and the scheme of each value that had one."""
    match = _Match(source)
    copy, learnt = Copy(), {}
    new: dict[Node, Node] = {}
    for node in source.graph.nodes:
        found = match(node)
        if node.op is ops.LEAF:
            new[node] = node
        elif found is None:
            new[node] = copy.over(node, new)
        else:
            new[node] = new[found.value]
            learnt[new[node]] = found.scheme
    if not learnt:
        return source, {}
    made = copy.done(source, new)
    kept = set(made.graph.nodes)
    return made, {node: scheme for node, scheme in learnt.items() if node in kept}


@dataclass(frozen=True)
class _Found:
    """A fake quantisation: what it rounds, and how."""

    value: Node
    scheme: Scheme


class _Match:
    """Tells fake quantisations by their last operation."""

    def __init__(self, source: Source) -> None:
        self.arrays: dict[Node, NDArray[Any]] = {
            leaf: source.weights[name] for name, leaf in source.leaves.items()
        }

    def __call__(self, node: Node) -> _Found | None:
        """Return the fake quantisation a node ends, or None."""
        if node.op is not ops.MUL or node.dtype is not dt.float32:
            return None
        scaled = self.parted(node)
        if scaled is None:
            return None
        inner, scale = scaled
        inner, zero = self.shifted(inner, ops.SUB)
        inner, low, high = self.clamped(inner)
        inner, again = self.shifted(inner, ops.ADD)
        if inner.op is not ops.ROUND or again != zero or scale <= 0:
            return None
        if not 254 <= high - low <= 255:  # of fewer steps, int8 would not clip where it does
            return None
        value = self.divided(inner.inputs[0], scale)
        if value is None:
            return None
        signed = low >= -128 and high <= 127
        point = zero if signed else zero - (low + 128)
        if not -128 <= point <= 127:
            return None
        made = Scheme(np.array(scale, np.float32), np.array(round(point), np.int32))
        return _Found(value, made)

    def number(self, node: Node) -> float | None:
        """Return the one number a node holds, if the graph says it."""
        while node.op in (ops.EXPAND, ops.RESHAPE, ops.CAST):
            node = node.inputs[0]
        if node.op is ops.CONST:
            return float(node.attrs[0])
        if node.op is ops.DIV:
            above, below = (self.number(x) for x in node.inputs)
            return None if above is None or not below else float(np.float32(above / below))
        array = self.arrays.get(node)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def parted(self, node: Node) -> tuple[Node, float] | None:
        """Return (value, number) of an operation of two operands in either order."""
        for value, other in (node.inputs, node.inputs[::-1]):
            number = self.number(other)
            if number is not None:
                return value, number
        return None

    def shifted(self, node: Node, op: Any) -> tuple[Node, float]:
        """Return what stands before a zero point is added or subtracted, and the zero point."""
        if node.op is not op:
            return node, 0.0
        number = self.number(node.inputs[1])
        return (node.inputs[0], number) if number is not None else (node, 0.0)

    def clamped(self, node: Node) -> tuple[Node, float, float]:
        """Return what stands before two bounds, in either order, and the bounds."""
        bounds = {ops.MAXIMUM: -np.inf, ops.MINIMUM: np.inf}
        for _ in bounds:
            pair = self.parted(node) if node.op in bounds else None
            if pair is not None:
                bounds[node.op] = pair[1]
                node = pair[0]
        return node, bounds[ops.MAXIMUM], bounds[ops.MINIMUM]

    def divided(self, node: Node, scale: float) -> Node | None:
        """Return x of x / s or x * (1/s)."""
        pair = self.parted(node) if node.op in (ops.DIV, ops.MUL) else None
        if pair is None or (node.op is ops.DIV and pair[0] is not node.inputs[0]):
            return None
        steps = 1.0 / pair[1] if node.op is ops.DIV and pair[1] else pair[1]
        return pair[0] if abs(steps * scale - 1.0) < SAME else None
