"""Elementwise kernels that take each element of a product as it is finished.

For targets whose products leave an element at a time, from a register: where one map is all that
reads a product, and reads it at its own index, the map becomes part of it and the product itself
is never stored.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tenor.ir.kernel import Part
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.kernel import Kernel
    from tenor.ir.node import Node

__all__ = ["join_tails"]

WEIGHT: Final = 48
"""Expressions of a map at the most: its code stands in the product for each of its elements."""
WIRES: Final = 7
"""Buffers of both at the most."""


def join_tails(schedule: Schedule, kinds: AbstractSet[str]) -> Schedule:
    """Return the schedule with maps joined to the products they follow.

    The private buffer ~0 of such a map is the element a product of one of these kinds has made.
    """
    readers: defaultdict[Node, list[int]] = defaultdict(list)
    for number, values in enumerate(schedule.values):
        for node in dict.fromkeys(values):
            readers[node].append(number)
    stays = {*schedule.graph.outputs, *schedule.hosts}
    joined: dict[int, int] = {}
    for number, kernel in enumerate(schedule.kernels):
        made = schedule.values[number][-1]
        if kernel.kind not in kinds or made in stays:
            continue
        others = [k for k in readers[made] if k != number]
        if len(others) == 1 and others[0] > number and others[0] not in joined:
            fits = len({*schedule.values[number], *schedule.values[others[0]]}) - 1 <= WIRES
            if fits and _follows(schedule, others[0], made):
                joined[others[0]] = number
    return _rewritten(schedule, joined)


def _follows(schedule: Schedule, number: int, made: Node) -> bool:
    """Tell whether a kernel is a map that reads a value at its own index alone."""
    kernel, values = schedule.kernels[number], schedule.values[number]
    used = list(kernel.expressions())
    if kernel.kind != "map" or size(kernel.domain) != size(made.shape) or len(used) > WEIGHT:
        return False
    at = values.index(made)
    if kernel.buffers[at].start or kernel.buffers[at].written:
        return False
    loads = [e for e in used if e.op == "load" and e.attrs[0] == at]
    return all(
        not e.args and not e.attrs[2] and not e.attrs[1].offset
        and _in_line(e.attrs[1].strides, kernel.domain)
        for e in loads
    )  # fmt: skip


def _in_line(strides: tuple[int, ...], domain: tuple[int, ...]) -> bool:
    """Tell whether strides go over memory in the row-major order of a domain."""
    step = 1
    for stride, extent in zip(reversed(strides), reversed(domain), strict=True):
        if extent != 1 and stride != step:
            return False
        step *= extent
    return True


def _rewritten(schedule: Schedule, joined: dict[int, int]) -> Schedule:
    gone = set(joined.values())
    kernels: list[Kernel] = []
    values: list[list[Node]] = []
    labels: list[str] = []
    for number, kernel in enumerate(schedule.kernels):
        if number in gone:
            continue
        nodes, label = schedule.values[number], schedule.labels[number]
        if number in joined:
            first = joined[number]
            kernel, nodes = _joined(schedule, first, number)
            label = f"{schedule.labels[first]}+{label}"
        kernels.append(kernel)
        values.append(nodes)
        labels.append(label)
    private = {schedule.values[first][-1] for first in gone}
    stored = [n for n in schedule.stored if n not in private]
    return replace(schedule, kernels=kernels, values=values, labels=labels, stored=stored)


def _joined(schedule: Schedule, number: int, after: int) -> tuple[Kernel, list[Node]]:
    """Return a product and the map behind it as one kernel, and what is behind its pointers."""
    first, then = schedule.kernels[number], schedule.kernels[after]
    made = schedule.values[number][-1]
    nodes, buffers, wires = schedule.values[number][:-1], first.buffers[:-1], []
    for node, buffer in zip(schedule.values[after], then.buffers, strict=True):
        wires.append(~0 if node is made else len(nodes))
        if node is not made:
            nodes, buffers = [*nodes, node], [*buffers, buffer]
    part = Part(then, tuple(wires))
    return replace(first, buffers=buffers, parts=(part,)), nodes
