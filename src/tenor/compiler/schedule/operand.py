"""What a template reads: the buffer behind an operand, and its strides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.compiler.schedule.access import NotAffine, identity, linear, push
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.ir.node import Node

__all__ = ["Operand", "awaited", "fill_of", "in_panels", "lined", "operand_nodes", "settle",
           "strided",
           "unshaped"]  # fmt: skip

VIEWS: Final = frozenset((ops.PERMUTE, ops.RESHAPE, ops.SLICE, ops.EXPAND))


@dataclass(frozen=True)
class Operand:
    """A strided view of a stored node.

    Attributes:
        node: The node.
        strides: Elements from one index of each dim to the next.
        offset: Where it begins.
        panel: How many columns lie in line; 0: all of them. A panel of all rows follows the other.
    """

    node: Node
    strides: tuple[int, ...]
    offset: int
    panel: int = 0


def settle(node: Node) -> Node:
    """Return the node whose contiguous buffer holds the same bytes."""
    while node.op in (ops.RESHAPE, ops.BARRIER):
        node = node.inputs[0]
    return node


def unshaped(node: Node) -> Node:
    """Return the node whose elements a node shows in another shape."""
    while node.op is ops.RESHAPE:
        node = node.inputs[0]
    return node


def strided(node: Node) -> Operand:
    """Return a matrix operand as a strided view of some node, which then has to be stored.

    One of its last two dims is contiguous in memory; where no view has that, it is the node
    itself, copied.
    """
    rank = len(node.shape)
    coords, base = identity(node.shape), node
    while base.op in VIEWS:
        try:
            coords, base = push(base, coords, rank).coords, base.inputs[0]
        except NotAffine:
            break  # a reshape tears dims apart that a view lies across: it is read as it stands
    address = linear(coords, base.shape, rank)
    base = settle(base)
    if base.op.family == "constant" or not _packable(address.strides, node.shape):
        return _copy(node)
    return Operand(base, address.strides, address.offset)


def in_panels(node: Node) -> Operand | None:
    """Return a matrix that is a view of panels of its columns as that view."""
    turned = node.inputs[0] if node.op is ops.RESHAPE else node
    if len(node.shape) != 2 or turned.op is not ops.PERMUTE or turned.attrs[0] != (1, 0, 2):
        return None
    panels = turned.inputs[0]
    count, rows, columns = panels.shape
    if node.shape != (rows, count * columns) or columns % 16:
        return None
    return Operand(panels, (columns, 1), 0, columns)


def _packable(strides: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    matrix = [(s, n) for s, n in zip(strides[-2:], shape[-2:], strict=True) if n > 1]
    if any(s <= 0 for s, _ in matrix):
        return False
    return not matrix or any(s == 1 for s, _ in matrix)


def _copy(node: Node) -> Operand:
    address = linear(identity(node.shape), node.shape, len(node.shape))
    base = settle(node)
    return Operand(base, address.strides, 0)


def lined(node: Node) -> Operand:
    """Return an operand as a strided view whose last dim is contiguous; a copy where none is."""
    found = strided(node)
    return found if found.strides[-1] == 1 or node.shape[-1] == 1 else _copy(node)


def fill_of(node: Node) -> float | int | bool | None:
    """Return the number a node holds everywhere, if it is a literal spread out."""
    while node.op in (ops.EXPAND, ops.RESHAPE, ops.BARRIER):
        node = node.inputs[0]
    return node.attrs[0] if node.op is ops.CONST else None


def awaited(node: Node) -> list[Node]:
    """Return what barriers have a template wait for, on its way to its operands' buffers."""
    found: list[Node] = []
    for source in node.inputs:
        while source.op.family == "movement" or source.op is ops.BARRIER:
            found += source.inputs[1:] if source.op is ops.BARRIER else ()
            source = source.inputs[0]
    return found


def operand_nodes(node: Node) -> list[Node]:
    """Return the nodes that must have buffers for `node` to be computed."""
    if node.op is ops.MATMUL:
        a, b = node.inputs
        return [strided(a).node, (in_panels(b) or strided(b)).node]
    if node.op in (ops.ATTENTION, ops.ATTENTION_GRADIENT):
        return [lined(i).node for i in node.inputs]
    if node.op in (ops.TAKE, ops.TAKE_ALONG):
        return [settle(node.inputs[0])]
    if node.op in (ops.PUT, ops.PUT_ALONG):
        x, *others = node.inputs
        return [settle(i) for i in (others if fill_of(x) is not None else node.inputs)]
    if node.op.family in ("contraction", "order") or node.op is ops.FOLD:
        return [settle(i) for i in node.inputs]
    return []
