"""From ranges to scales: of activations, and of weights for each output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError
from tenor.export.quantize.record import Scheme
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.node import Node

    Array = NDArray[Any]

__all__ = ["Held", "held_weights", "range_scheme", "weight_scheme"]

SMALLEST: Final = float(np.finfo(np.float32).tiny)
"""A scale is a normal number, so that dividing by it is exact enough on every machine."""
EVEN: Final = 1e-3
"""Steps a weight may be off a grid that it is taken to lie on."""
FEW: Final = 8
"""Weights of a channel that are looked at first."""
COARSEST: Final = 16
"""The least number of steps of a grid that is looked for."""


def range_scheme(low: float, high: float) -> Scheme:
    """Return the scheme of a range, made to hold 0.0 exactly: scale = (high - low) / 255.

    A range without extent, all zeros, has scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return Scheme(np.ones((), np.float32), np.zeros((), np.int32))
    scale = max((high - low) / 255.0, SMALLEST)
    zero = int(np.clip(np.rint(-128.0 - low / scale), -128, 127))
    return Scheme(np.array(scale, np.float32), np.array(zero, np.int32))


def weight_scheme(name: str, weight: Array, axis: int | None, bits: int = 8) -> Scheme:
    """Return the symmetric scheme of a weight: scale = max |w| / 127 for each index of an axis.

    Weights that lie on a grid already, as those trained with fake quantisation do, keep its step.

    Args:
        name: Of the weight, for the error.
        weight: float32.
        axis: The dim of the output channels; None where one scale is all there can be.
        bits: Stored numbers lie within 2^(bits-1) - 1 of 0.

    Raises:
        ArgumentError: A weight is NaN or infinite.
    """
    if not np.all(np.isfinite(weight)):
        raise ArgumentError(
            f"quantize: the weight {name!r} must be finite.",
            came=f"{int((~np.isfinite(weight)).sum())} elements that are NaN or infinite",
            fix="look for a loss that became NaN while the model was trained",
        )
    rows = weight.reshape(1, -1) if axis is None else np.moveaxis(weight, axis, 0)
    rows = np.abs(rows.reshape(len(rows), -1).astype(np.float64))
    most = 2 ** (bits - 1) - 1
    largest = rows.max(1, initial=0.0)
    scale = largest / _steps(rows, largest, most)
    scale = np.where(largest > 0, np.maximum(scale, SMALLEST), 1.0).astype(np.float32)
    shape = () if axis is None else (len(scale),)
    return Scheme(scale.reshape(shape), np.zeros(shape, np.int32), axis)


def _steps(rows: Array, largest: Array, most: int) -> Array:
    """Return how many steps from 0 each channel's largest weight is.

    That of the finest grid all of its weights lie on, looked for by a few of them first; or `most`.
    """
    found = np.full(len(rows), most)
    if not rows.size:
        return found
    tried = np.arange(most, min(COARSEST, most) - 1, -1)
    few = rows[:, :: max(1, rows.shape[1] // FEW)] / np.maximum(largest, SMALLEST)[:, None]
    near = np.stack([_off(few * steps) <= EVEN for steps in tried], 1)
    for at in np.flatnonzero(near.any(1) & (largest > 0)):
        whole = (s for s in tried[near[at]] if _off(rows[at : at + 1] * (s / largest[at])) <= EVEN)
        found[at] = next(whole, most)
    return found


def _off(rows: Array) -> Array:
    """Return how far the farthest of each row is from a whole number."""
    far: Array = np.abs(rows - np.rint(rows)).max(1)
    return far


# -- which weights, along which dim ---------------------------------------------------------------
@dataclass(frozen=True)
class Held:
    """A weight that is held in eight bits.

    Attributes:
        leaf: Its leaf.
        axis: The dim of its output channels; None: one scale for all.
        moved: Nodes that are the weight moved about, and the dim of the channels in each.
        looked_up: Whether it is a table whose rows are taken, rather than a product's operand.
    """

    leaf: Node
    axis: int | None
    moved: dict[Node, int | None]
    looked_up: bool = False


CHANNELS: Final = {ops.CONV: (1, 0), ops.CONV_INPUT: (1, 1)}
"""Which input of a convolution is the weight, and its dim of the output channels."""


def held_weights(source: Source) -> list[Held]:
    """Return the float32 weights of convolutions and products, and tables, in the graph's order.

    One that is read along different dims, or by something else as well, has one scale.
    """
    leaves = {leaf for leaf in source.leaves.values() if leaf.dtype is dt.float32}
    paths: dict[Node, list[dict[Node, int | None]]] = {}
    tables: set[Node] = set()
    for node in source.graph.nodes:
        for operand, axis in _operands(node):
            leaf, moved = _traced(operand, axis)
            if leaf in leaves and size(leaf.shape):
                paths.setdefault(leaf, []).append(moved)
        if node.op in (ops.TAKE, ops.TAKE_ALONG) and node.inputs[0] in leaves:
            tables.add(node.inputs[0])
    found = []
    for leaf in source.leaves.values():
        ways = paths.get(leaf, [])
        axes = {way[leaf] for way in ways}
        one = len(axes) == 1 and axes != {None} and _read_only_so(source, ways)
        moved = {n: (axis if one else None) for way in ways for n, axis in way.items()}
        if ways or leaf in tables:
            found.append(Held(leaf, moved.get(leaf), moved, not ways))
    return found


def _read_only_so(source: Source, ways: list[dict[Node, int | None]]) -> bool:
    """Tell whether products alone read a weight, moved about or not."""
    moved = {node for way in ways for node in way}
    products = (ops.CONV, ops.CONV_INPUT, ops.MATMUL)
    return all(
        node in moved or node.op in products or not any(x in moved for x in node.inputs)
        for node in source.graph.nodes
    )


def _operands(node: Node) -> list[tuple[Node, int]]:
    """Return what a product may hold in eight bits, each with the dim of its output channels."""
    if node.op in CHANNELS:
        at, axis = CHANNELS[node.op]
        return [(node.inputs[at], axis)]
    if node.op is ops.MATMUL:
        rank = len(node.shape)
        return [(node.inputs[1], rank - 1), (node.inputs[0], rank - 2)]
    return []


def _traced(node: Node, axis: int | None) -> tuple[Node, dict[Node, int | None]]:
    """Return the leaf an operand is moved from, and the dim of the channels on the way."""
    moved: dict[Node, int | None] = {node: axis}
    while node.op in (ops.RESHAPE, ops.EXPAND, ops.PERMUTE):
        inner = node.inputs[0]
        if axis is not None:
            axis = _before(node, inner, axis)
        node = inner
        moved[node] = axis
    return node, moved


def _before(node: Node, inner: Node, axis: int) -> int | None:
    """Return which dim of what is moved becomes a dim of the result; None where none does."""
    if node.op is ops.PERMUTE:
        return int(node.attr("dims")[axis])
    if node.op is ops.EXPAND:
        at = axis - (len(node.shape) - len(inner.shape))
        return at if at >= 0 and inner.shape[at] == node.shape[axis] else None
    before = size(node.shape[:axis])  # a reshape keeps a dim where as much stands before it
    for at, extent in enumerate(inner.shape):
        if size(inner.shape[:at]) == before and extent == node.shape[axis]:
            return at
    return None
