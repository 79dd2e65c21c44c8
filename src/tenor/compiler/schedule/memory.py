"""Which bytes of the arena each intermediate value lives in: first fit by lifetime."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Final

from tenor.ir import op as ops
from tenor.ir.node import Node, size
from tenor.ir.program import Pointer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.schedule.fuse import Schedule

__all__ = ["bytes_of", "place"]

ALIGN: Final = 64


def bytes_of(node: Node) -> int:
    """Return the bytes of a node's value."""
    return size(node.shape) * node.dtype.itemsize


def place(
    schedule: Schedule, *, reuse: bool = True, sizes: Callable[[Node], int] = bytes_of
) -> tuple[dict[Node, Pointer], int]:
    """Return where every node behind a kernel's pointer lies, and the arena's size in bytes.

    Args:
        schedule: The kernels in order.
        reuse: Whether values whose lifetimes do not meet may share bytes.
        sizes: The bytes of each value.
    """
    graph = schedule.graph
    where: dict[Node, Pointer] = {}
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    scalars = [n for n in graph.nodes if n.op is ops.SCALAR]
    where.update({n: Pointer("input", i) for i, n in enumerate(leaves)})
    where.update({n: Pointer("scalar", i) for i, n in enumerate(scalars)})
    where.update({n: Pointer("output", i) for i, n in enumerate(graph.outputs) if n not in where})
    first: dict[Node, int] = {}
    last: dict[Node, int] = {}
    for i, values in enumerate(schedule.values):
        for node in values:
            if node not in where:
                first.setdefault(node, i)
                last[node] = i
    arena = 0
    taken: list[tuple[int, int, int]] = []  # (offset, end, last kernel) of values placed so far
    room = {node: -(-sizes(node) // ALIGN) * ALIGN for node in first}
    for node in sorted(first, key=lambda n: (first[n], -room[n])):
        if reuse:
            taken = [t for t in taken if t[2] >= first[node]]
        offset = _gap(taken, room[node])
        insort(taken, (offset, offset + room[node], last[node]))
        where[node] = Pointer("arena", offset)
        arena = max(arena, offset + room[node])
    return where, arena


def _gap(taken: list[tuple[int, int, int]], wanted: int) -> int:
    """Return the first offset with room between what is taken, which is in order."""
    offset = 0
    for start, end, _ in taken:
        if start - offset >= wanted:
            break
        offset = max(offset, end)
    return offset
