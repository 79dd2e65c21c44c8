"""A pointwise convolution joins the depthwise one that alone reads its result.

Both are done for a few channels at a time, so what is between them is read while it is near and
never reaches memory. Every element is computed as before: no bit changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tenor.ir.kernel import Buffer, Kernel, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.node import Node

__all__ = ["join_channels"]

RESULT: Final = 2
"""The number of the buffer a convolution writes."""


def join_channels(schedule: Schedule, tiles_of: Callable[[Kernel, Kernel], int]) -> Schedule:
    """Return the schedule with convolutions joined to the depthwise ones right behind them.

    Args:
        schedule: Kernels in order.
        tiles_of: Into how many tiles of an image two convolutions are cut together; 0: none.
    """
    outside = {*schedule.graph.outputs, *schedule.hosts}
    users: dict[Node, int] = {}
    for nodes in schedule.values:
        for node in set(nodes):
            users[node] = users.get(node, 0) + 1
    kernels: list[Kernel] = []
    values: list[list[Node]] = []
    labels: list[str] = []
    gone: set[Node] = set()
    for kernel, nodes, label in zip(
        schedule.kernels, schedule.values, schedule.labels, strict=True
    ):
        tiles, between = 0, nodes[0]
        if kernels and kernels[-1].kind == kernel.kind == "conv":
            alone = users[between] == 2 and nodes.count(between) == 1
            alone &= values[-1][RESULT] is between and between not in outside
            if alone and schedule.home(between)[0] is between:
                tiles = tiles_of(kernels[-1], kernel)
        if not tiles:
            kernels.append(kernel)
            values.append(nodes)
            labels.append(label)
            continue
        kernels[-1], values[-1] = _joined(
            (kernels[-1], kernel), (values[-1], nodes), between, tiles)  # fmt: skip
        labels[-1] = f"{labels[-1]}+{label}"
        gone.add(between)
    stored = [n for n in schedule.stored if n not in gone]
    return replace(schedule, kernels=kernels, values=values, labels=labels, stored=stored)


def _joined(
    pair: tuple[Kernel, Kernel], nodes: tuple[list[Node], list[Node]], between: Node, tiles: int
) -> tuple[Kernel, list[Node]]:
    """Return two convolutions as one kernel, and what is behind its pointers."""
    whole: list[tuple[Node, int]] = []
    buffers: list[Buffer] = []
    parts = []
    first, second = pair
    images = first.params["n"]
    for kernel, behind in zip((_cut(first, tiles), second), nodes, strict=True):
        wires = []
        for node, buffer in zip(behind, kernel.buffers, strict=True):
            key = (node, buffer.start)
            if node is between:
                wires.append(~0)
                continue
            if key not in whole:
                whole.append(key)
                buffers.append(buffer)
            at = whole.index(key)
            if buffer.written:
                buffers[at] = buffer
            wires.append(at)
        parts.append(Part(kernel, tuple(wires)))
    params = {"tiles": images * tiles, "private": first.buffers[RESULT]}
    made = Kernel("channels", second.domain, buffers, params=params, parts=tuple(parts))
    return made, [node for node, _ in whole]


def _cut(kernel: Kernel, tiles: int) -> Kernel:
    """Return a convolution as it is done for one tile of channels after the other."""
    return replace(kernel, params=kernel.params | {"cut": tiles})
