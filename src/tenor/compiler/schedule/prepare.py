"""Operands brought into the form a template reads them in, by a kernel of their own.

A convolution packs and transforms its weight before it uses it. Where the weight is an input of
the program, and the program does not write over it, the packed form is *kept*: it lies in memory
that outlives a run, and the kernels that make it come first, so that a run on the same weight
begins after them. A product of few rows, or a convolution of one channel each, reads its weight
once as it lies, so that only what can be kept is prepared for it.
"""

from __future__ import annotations

from collections import Counter
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
LASTING: Final = frozenset(("matmul",))
"""Templates whose operand is prepared only where it stays the same: an input that nothing else
reads, and no output has the shape of, as a weight's gradient has."""


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
    readers = Counter(node for nodes in schedule.values for node in set(nodes))
    made_for = {output.shape for output in schedule.graph.outputs}
    for kernel, nodes, label in zip(
        schedule.kernels, schedule.values, schedule.labels, strict=True
    ):
        operand = OPERAND if len(kernel.buffers) > OPERAND else 0
        count = 0 if nodes.count(nodes[operand]) > 1 else elements_of(kernel)
        source, buffer = nodes[operand], kernel.buffers[operand]
        lasts = source.op is ops.LEAF and source not in written
        if count and (kernel.kind in LASTING or _of_single_channels(kernel)):
            alone = readers[source] == 1 and source.shape not in made_for
            count *= lasts and alone and not buffer.start
        if not count:
            kernels.append(kernel)
            values.append(nodes)
            labels.append(label)
            continue
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
            if lasts:
                first.append((maker, [source, form]))
            else:
                kernels.append(maker)
                values.append([source, form])
                labels.append("prepare")
                stored.append(form)
        kernels.append(_reading(kernel, operand, packed))
        values.append([*nodes[:operand], form, *nodes[operand + 1 :]])
        labels.append(label)
    return replace(
        schedule,
        kernels=[k for k, _ in first] + kernels,
        values=[v for _, v in first] + values,
        labels=["prepare"] * len(first) + labels,
        stored=stored,
        kept=[nodes[1] for _, nodes in first],
    )


def _of_single_channels(template: Kernel) -> bool:
    """Tell whether a convolution's windows are of one channel each: its weight is small."""
    p = template.params
    groups: int = p.get("groups", 1)
    return groups > 1 and groups == p["channels_in"] and groups == p["channels_out"]


def _reading(kernel: Kernel, operand: int, packed: Buffer) -> Kernel:
    """Return a kernel that reads a prepared operand."""
    buffers = list(kernel.buffers)
    buffers[operand] = packed
    return replace(kernel, buffers=buffers, params=kernel.params | {"prepared": True})
