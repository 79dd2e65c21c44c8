"""Elementwise kernels that follow a convolution become part of it.

A convolution leaves its result piece by piece. Where a map over the same elements is all that
reads it, each piece goes through the map while it is in the cache, and the result is written
over by what the map makes of it; or, where a template keeps its sums to itself, it never reaches
memory. Every element is computed as before: no bit changes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tenor.compiler.schedule.access import identity, linear
from tenor.ir.kernel import Affine, Buffer, Kernel, Part
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.node import Node

__all__ = ["join_epilogues"]

PLAIN: Final = frozenset(("random", "iota", "inside", "reduced", "wrap_index"))
"""What a map that follows may not hold: it says where an element is, or checks it."""
KEEPING: Final = frozenset(("conv_int8",))
"""Templates whose result is the map's alone: a private pointer of its part."""
WEIGHT: Final = 64
"""Expressions of a map at the most: its code stands in every convolution it follows."""


def join_epilogues(schedule: Schedule, takes: Callable[[Kernel], bool]) -> Schedule:
    """Return the schedule with maps joined to the kernels they follow.

    Args:
        schedule: Kernels in order.
        takes: Whether a map may follow a kernel piece by piece.
    """
    search = _Search(schedule)
    joined: dict[int, tuple[Kernel, list[Node], Node]] = {}
    gone: set[int] = set()
    for number, kernel in enumerate(schedule.kernels):
        if takes(kernel):
            after = search.follower(number)
            if after is not None and after not in joined:
                joined[after] = search.joined(number, after)
                gone.add(number)
    kernels: list[Kernel] = []
    values: list[list[Node]] = []
    labels: list[str] = []
    private = {between for _, _, between in joined.values()}
    origin = {after: number for number in gone for after in [search.chosen[number]]}
    for number, kernel in enumerate(schedule.kernels):
        if number in gone:
            continue
        nodes, label = schedule.values[number], schedule.labels[number]
        if number in joined:
            kernel, nodes, _ = joined[number]
            label = f"{schedule.labels[origin[number]]}+{label}"
        kernels.append(kernel)
        values.append(nodes)
        labels.append(label)
    stored = [n for n in schedule.stored if n not in private]
    return replace(schedule, kernels=kernels, values=values, labels=labels, stored=stored)


class _Search:
    """The search for maps that follow."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.chosen: dict[int, int] = {}
        self.users: dict[Node, list[int]] = {}
        for number, nodes in enumerate(schedule.values):
            for node in dict.fromkeys(nodes):
                self.users.setdefault(node, []).append(number)
        self.donated = {schedule.graph.outputs[at]: leaf for at, leaf in schedule.donated.items()}

    def follower(self, number: int) -> int | None:
        """Return the number of the map that alone reads a convolution's result, if it may join."""
        made = self.schedule.values[number][-1]
        users = self.users[made]
        if len(users) != 2 or made in self.schedule.graph.outputs:
            return None
        if self.schedule.home(made)[0] is not made:
            return None  # whoever reads what it is a part of reads it too
        after = users[1]
        if not self._fits(self.schedule.kernels[after], after, made):
            return None
        if not self._may_wait(number, after):
            return None
        self.chosen[number] = after
        return after

    def _fits(self, kernel: Kernel, after: int, made: Node) -> bool:
        if kernel.kind != "map" or kernel.domain != made.shape or len(kernel.domain) < 3:
            return False
        own = linear(identity(kernel.domain), kernel.domain, len(kernel.domain))
        if any(store.affine != own for store in kernel.stores):
            return False
        nodes = self.schedule.values[after]
        used = list(kernel.expressions())
        if len(used) > WEIGHT or any(e.op in PLAIN for e in used):
            return False
        for expr in used:
            if expr.op != "load":
                continue
            buffer, affine, guards, _ = expr.attrs
            if guards or expr.args or not _flat(affine, kernel.domain):
                return False
            if nodes[buffer] is made and affine != own:
                return False
        return self._keeps(made) or self._over(kernel, after, made) is not None

    @staticmethod
    def _keeps(made: Node) -> bool:
        return made.op.name in KEEPING

    def _over(self, kernel: Kernel, after: int, made: Node) -> int | None:
        """Return the number of a buffer the result can stand in until the map writes to it."""
        nodes = self.schedule.values[after]
        for store in kernel.stores:
            node, buffer = nodes[store.buffer], kernel.buffers[store.buffer]
            if node not in self.donated and (buffer.dtype, buffer.size) == (
                made.dtype, size(made.shape)
            ):  # fmt: skip
                return store.buffer
        return None

    def _may_wait(self, number: int, after: int) -> bool:
        """Tell whether a convolution may be done as late as the map: what it reads is there."""
        reads = set(self.schedule.values[number][:-1])
        for i in range(number + 1, after + 1):
            if reads & {self.donated[n] for n in self.schedule.values[i] if n in self.donated}:
                return False
        return True

    def joined(self, number: int, after: int) -> tuple[Kernel, list[Node], Node]:
        """Return both as one kernel, what is behind its pointers, and the result in between."""
        first, then = self.schedule.kernels[number], self.schedule.kernels[after]
        made, nodes = self.schedule.values[number][-1], self.schedule.values[after]
        over = next(s.buffer for s in then.stores) if self._keeps(made) else self._over(
            then, after, made)  # fmt: skip
        assert over is not None
        place = len(first.buffers) - 1
        whole: list[Node] = [*self.schedule.values[number][:-1], nodes[over]]
        buffers: list[Buffer] = [*first.buffers[:-1], then.buffers[over]]
        wires = []
        private = ~0 if self._keeps(made) else place
        for node, buffer in zip(nodes, then.buffers, strict=True):
            if node is made or node is nodes[over]:
                wires.append(private if node is made else place)
                continue
            wires.append(len(whole))
            whole.append(node)
            buffers.append(buffer)
        part = Part(then, tuple(wires))
        return replace(first, buffers=buffers, parts=(part,)), whole, made


def _flat(affine: Affine, domain: tuple[int, ...]) -> bool:
    """Tell whether the places of an image are one run to an affine, or one element."""
    inner = affine.strides[2:]
    extents = domain[2:]
    real = [(s, n) for s, n in zip(inner, extents, strict=True) if n > 1]
    if not real:
        return True
    last = real[-1][0]
    return last in (0, 1) and all(a == b * n for (a, _), (b, n) in pairwise(real))
