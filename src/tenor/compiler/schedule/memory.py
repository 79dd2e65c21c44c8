"""Which bytes of the arena each intermediate value lives in: first fit by lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.ir import op as ops
from tenor.ir.node import Node, size
from tenor.ir.program import Pointer

if TYPE_CHECKING:
    from tenor.compiler.schedule.fuse import Schedule

__all__ = ["place"]

ALIGN = 64


def place(schedule: Schedule, *, reuse: bool = True) -> tuple[dict[Node, Pointer], int]:
    """Return where every node behind a kernel's pointer lies, and the arena's size in bytes.

    Args:
        schedule: The kernels in order.
        reuse: Whether values whose lifetimes do not meet may share bytes.
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
        kept += _bytes(node)
    first: dict[Node, int] = {}
    last: dict[Node, int] = {}
    inside: dict[Node, tuple[Node, int]] = {}
    for i, values in enumerate(schedule.values):
        for value in values:
            node, start = schedule.home(value)
            if node is not value:
                inside[value] = (node, start * value.dtype.itemsize)
            if node not in where:
                first.setdefault(node, i)
                last[node] = i
    arena = 0
    taken: list[tuple[int, int, int]] = []  # (offset, end, last kernel) of values placed so far
    for node in sorted(first, key=lambda n: (first[n], -_bytes(n))):
        if reuse:
            taken = [t for t in taken if t[2] >= first[node]]
        offset = _gap(taken, _bytes(node))
        taken.append((offset, offset + _bytes(node), last[node]))
        where[node] = Pointer("arena", offset)
        arena = max(arena, offset + _bytes(node))
    for value, (node, offset) in inside.items():
        home = where[node]
        where[value] = Pointer(home.space, home.at, home.offset + offset)
    return where, arena


def _bytes(node: Node) -> int:
    return -(-size(node.shape) * node.dtype.itemsize // ALIGN) * ALIGN


def _gap(taken: list[tuple[int, int, int]], wanted: int) -> int:
    offset = 0
    for start, end, _ in sorted(taken):
        if start - offset >= wanted:
            break
        offset = max(offset, end)
    return offset
