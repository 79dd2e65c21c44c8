"""What lies between a pointwise convolution and a depthwise one that nobody else sees.

Where images are large, the two become one kernel that does a few channels at a time: what is
between them is read while it is near and never reaches memory. Where they are small, both compute
with channels side by side in vectors: then the value between them lies so, and neither turns it.
Every element is computed as before: no bit changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tenor.ir.kernel import Buffer, Kernel, Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.node import Node

__all__ = ["join_channels", "lay_beside"]

RESULT: Final = 2
"""The number of the buffer a convolution writes."""


def lay_beside(schedule: Schedule, may: Callable[[Kernel, Kernel], bool]) -> Schedule:
    """Return the schedule with values between convolutions that keep channels side by side.

    Args:
        schedule: Kernels in order.
        may: Whether what a convolution makes for the next may lie so.
    """
    kernels = list(schedule.kernels)
    alone = schedule.alone()
    makers = {nodes[RESULT]: i for i, nodes in enumerate(schedule.values)
              if kernels[i].kind == "conv"}  # fmt: skip
    for i, nodes in enumerate(schedule.values):
        maker = makers.get(nodes[0]) if kernels[i].kind == "conv" and nodes[0] in alone else None
        if maker is not None and nodes.count(nodes[0]) == 1 and may(kernels[maker], kernels[i]):
            kernels[maker] = _marked(kernels[maker], "result_beside")
            kernels[i] = _marked(kernels[i], "image_beside")
    return replace(schedule, kernels=kernels)


def _marked(kernel: Kernel, name: str) -> Kernel:
    return replace(kernel, params=kernel.params | {name: True})


def join_channels(schedule: Schedule, tiles_of: Callable[[Kernel, Kernel], int]) -> Schedule:
    """Return the schedule with convolutions joined to the depthwise ones right behind them.

    Args:
        schedule: Kernels in order.
        tiles_of: Into how many tiles of an image two convolutions are cut together; 0: none.
    """
    alone = schedule.alone()
    kernels: list[Kernel] = []
    values: list[list[Node]] = []
    labels: list[str] = []
    gone: set[Node] = set()
    for kernel, nodes, label in zip(
        schedule.kernels, schedule.values, schedule.labels, strict=True
    ):
        tiles, between = 0, nodes[0]
        follows = kernels and kernels[-1].kind == kernel.kind == "conv"
        if follows and between in alone and values[-1][RESULT] is between:
            tiles = tiles_of(kernels[-1], kernel) if nodes.count(between) == 1 else 0
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
