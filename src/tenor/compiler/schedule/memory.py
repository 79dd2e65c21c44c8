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

__all__ = ["ALIGN", "bytes_of", "place", "room_of"]

ALIGN: Final = 64


def bytes_of(node: Node) -> int:
    """Return the bytes of a node's value."""
    return size(node.shape) * node.dtype.itemsize


def room_of(nbytes: int) -> int:
    """Return the bytes a value of so many takes where others follow it."""
    return -(-nbytes // ALIGN) * ALIGN


def place(
    schedule: Schedule,
    *,
    reuse: bool = True,
    sizes: Callable[[Node], int] = bytes_of,
    starts: Callable[[Node], int] | None = None,
) -> tuple[dict[Node, Pointer], int]:
    """Return where every node behind a kernel's pointer lies, and the arena's size in bytes.

    Args:
        schedule: The kernels in order.
        reuse: Whether values whose lifetimes do not meet may share bytes.
        sizes: The bytes of each value.
        starts: Where in its host's bytes a value begins that is a part of another.
    """
    graph = schedule.graph
    where: dict[Node, Pointer] = {}
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    scalars = [n for n in graph.nodes if n.op is ops.SCALAR]
    where.update({n: Pointer("input", i) for i, n in enumerate(leaves)})
    where.update({n: Pointer("scalar", i) for i, n in enumerate(scalars)})
    where.update({n: Pointer("output", i) for i, n in enumerate(graph.outputs) if n not in where})
    kept = 0
    for node in schedule.kept:
        where[node] = Pointer("kept", kept)
        kept += room_of(sizes(node))
    first: dict[Node, int] = {}
    last: dict[Node, int] = {}
    inside: dict[Node, Node] = {}
    for i, values in enumerate(schedule.values):
        for value in values:
            node = schedule.home(value)[0]
            if node is not value:
                inside[value] = node
            if node not in where:
                first.setdefault(node, i)
                last[node] = i
    arena = 0
    taken: list[tuple[int, int, int]] = []  # (offset, end, last kernel) of values placed so far
    room = {node: room_of(sizes(node)) for node in first}
    for node in sorted(first, key=lambda n: (first[n], -room[n])):
        if reuse:
            taken = [t for t in taken if t[2] >= first[node]]
        offset = _gap(taken, room[node])
        insort(taken, (offset, offset + room[node], last[node]))
        where[node] = Pointer("arena", offset)
        arena = max(arena, offset + room[node])
    for value, node in inside.items():
        home = where[node]
        start = starts(value) if starts else schedule.home(value)[1] * value.dtype.itemsize
        where[value] = Pointer(home.space, home.at, home.offset + start)
    return where, arena


def _gap(taken: list[tuple[int, int, int]], wanted: int) -> int:
    """Return the first offset with room between what is taken, which is in order."""
    offset = 0
    for start, end, _ in taken:
        if start - offset >= wanted:
            break
        offset = max(offset, end)
    return offset
