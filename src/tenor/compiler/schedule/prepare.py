"""Operands brought into the form a template reads them in, by a kernel of their own.

A convolution packs and transforms its weight before it uses it. Where the weight is an input of
the program, and the program does not write over it, the packed form is *kept*: it lies in memory
that outlives a run, and the kernels that make it come first, so that a run on the same weight
begins after them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tenor.ir import op as ops
from tenor.ir.kernel import Buffer, Kernel
from tenor.ir.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.schedule.fuse import Schedule

__all__ = ["prepare"]

OPERAND: Final = 1
"""The number of the buffer a template may want prepared."""


def prepare(schedule: Schedule, elements_of: Callable[[Kernel], int]) -> Schedule:
    """Return the schedule with operands prepared by kernels of their own.

    Args:
        schedule: Kernels in order.
        elements_of: Elements of the prepared form of a kernel's operand; 0 where it has none.
    """
    written = set(schedule.donated.values())
    kernels: list[Kernel] = []
    values: list[list[Node]] = []
    labels: list[str] = []
    first: list[tuple[Kernel, list[Node]]] = []
    made: dict[object, Node] = {}
    stored = list(schedule.stored)
    for kernel, nodes, label in zip(
        schedule.kernels, schedule.values, schedule.labels, strict=True
    ):
        count = elements_of(kernel)
        if not count:
            kernels.append(kernel)
            values.append(nodes)
            labels.append(label)
            continue
        source, buffer = nodes[OPERAND], kernel.buffers[OPERAND]
        key = (source, kernel.kind, repr(sorted(kernel.params.items())))
        form = made.get(key)
        dtype = buffer.dtype.compute
        packed = Buffer(dtype, count)
        if form is None:
            form = made[key] = Node(ops.BARRIER, (source,), (), (count,), dtype)
            form.site = nodes[-1].site
            params = kernel.params | {"of": kernel.kind}
            maker = Kernel("prepare", (count,), [buffer, replace(packed, written=True)],
                           params=params)  # fmt: skip
            if source.op is ops.LEAF and source not in written:
                first.append((maker, [source, form]))
            else:
                kernels.append(maker)
                values.append([source, form])
                labels.append("prepare")
                stored.append(form)
        buffers = list(kernel.buffers)
        buffers[OPERAND] = packed
        kernels.append(replace(kernel, buffers=buffers, params=kernel.params | {"prepared": True}))
        values.append([*nodes[:OPERAND], form, *nodes[OPERAND + 1 :]])
        labels.append(label)
    return replace(
        schedule,
        kernels=[k for k, _ in first] + kernels,
        values=[v for _, v in first] + values,
        labels=["prepare"] * len(first) + labels,
        stored=stored,
        kept=[nodes[1] for _, nodes in first],
    )
