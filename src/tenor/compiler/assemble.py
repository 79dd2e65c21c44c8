"""The passes from kernels on: an `Assembly` goes through them and comes out with its Program."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.emit import llvm
from tenor.compiler.lower import lower as lower_kernel
from tenor.compiler.schedule.expression import slot_dtype
from tenor.compiler.schedule.fuse import Schedule
from tenor.compiler.schedule.fuse import fuse as fuse_graph
from tenor.compiler.schedule.memory import place as place_values
from tenor.compiler.schedule.rows import join_rows
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node, size
from tenor.ir.program import Launch, Lowered, Pointer, Program

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel
    from tenor.ir.target import Target

__all__ = [
    "Assembly",
    "dedupe",
    "emit",
    "fuse",
    "fuse_apart",
    "lower",
    "place",
    "place_apart",
    "rows",
    "separate",
]

STREAMED: Final = 8 << 20
"""Bytes from which on an output leaves the caches of a core before anybody reads it."""


@dataclass
class Assembly:
    """A program in the making.

    Attributes:
        graph: What it computes.
        schedule: Its kernels.
        where: Where each value lies.
        arena: Bytes of intermediate memory.
        bodies: Distinct kernels.
        uses: For each launch, the number of its body.
        lowered: The bodies as loops.
        program: The result.
    """

    graph: Graph
    schedule: Schedule
    where: dict[Node, Pointer] = field(default_factory=dict)
    arena: int = 0
    bodies: list[Kernel] = field(default_factory=list)
    uses: list[int] = field(default_factory=list)
    lowered: list[Lowered] = field(default_factory=list)
    program: Program = field(default_factory=Program)


def fuse(graph: Graph, _target: Target) -> Assembly:
    """Decide what is stored and what shares a kernel."""
    return Assembly(graph, fuse_graph(graph))


def fuse_apart(graph: Graph, _target: Target) -> Assembly:
    """Give every stored value a kernel of its own."""
    return Assembly(graph, fuse_graph(graph, join=False))


def rows(assembly: Assembly, target: Target) -> Assembly:
    """Join kernels that go over the same rows."""
    spans: dict[int, int] = {}

    def span_of(kernel: Kernel) -> int:
        if id(kernel) not in spans:
            spans[id(kernel)] = lower_kernel(kernel, target).covers(size(kernel.domain))
        return spans[id(kernel)]

    return replace(assembly, schedule=join_rows(assembly.schedule, span_of))


def place(assembly: Assembly, _target: Target) -> Assembly:
    """Lay intermediate values out in the arena by lifetime."""
    assembly.where, assembly.arena = place_values(assembly.schedule)
    return stream(assembly)


def place_apart(assembly: Assembly, _target: Target) -> Assembly:
    """Give every intermediate value its own bytes."""
    assembly.where, assembly.arena = place_values(assembly.schedule, reuse=False)
    return stream(assembly)


def stream(assembly: Assembly) -> Assembly:
    """Mark the large outputs that no other kernel touches: they are written past the caches."""
    schedule, where = assembly.schedule, assembly.where
    touched = Counter(node for values in schedule.values for node in set(values))
    for i, (kernel, values) in enumerate(zip(schedule.kernels, schedule.values, strict=True)):
        marked = [
            b.written and b.size * b.dtype.itemsize >= STREAMED and touched[node] == 1
            and where[node].space == "output" and where[node].at not in schedule.donated
            for node, b in zip(values, kernel.buffers, strict=True)
        ]  # fmt: skip
        if any(marked):
            schedule.kernels[i] = _streaming(kernel, marked)
    return assembly


def _streaming(kernel: Kernel, marked: list[bool]) -> Kernel:
    buffers = [
        replace(b, streamed=m) if m else b for b, m in zip(kernel.buffers, marked, strict=True)
    ]
    parts = tuple(
        replace(part, kernel=_streaming(part.kernel, [w >= 0 and marked[w] for w in part.wires]))
        for part in kernel.parts
    )
    return replace(kernel, buffers=buffers, parts=parts)


def dedupe(assembly: Assembly, _target: Target) -> Assembly:
    """Lower equal kernels once; pointers are arguments, so layers of one shape share code."""
    seen: dict[Any, int] = {}
    for kernel in assembly.schedule.kernels:
        key = _key(kernel)
        if key not in seen:
            seen[key] = len(assembly.bodies)
            assembly.bodies.append(kernel)
        assembly.uses.append(seen[key])
    return assembly


def separate(assembly: Assembly, _target: Target) -> Assembly:
    """Lower every kernel for itself."""
    assembly.bodies = list(assembly.schedule.kernels)
    assembly.uses = list(range(len(assembly.bodies)))
    return assembly


def _key(kernel: Kernel) -> Any:
    params = repr(sorted(kernel.params.items()))  # tells 0.0 from -0.0
    parts = tuple((_key(part.kernel), part.wires) for part in kernel.parts)
    return (kernel.kind, kernel.domain, kernel.reduce_dims, tuple(kernel.buffers),
            tuple(kernel.stores), tuple(kernel.reductions), params, parts)  # fmt: skip


def lower(assembly: Assembly, target: Target) -> Assembly:
    """Turn each kernel into loops."""
    assembly.lowered = [lower_kernel(kernel, target) for kernel in assembly.bodies]
    return assembly


def emit(assembly: Assembly, target: Target) -> Assembly:
    """Print the loops, and write down what is launched on which pointers."""
    graph, schedule, where = assembly.graph, assembly.schedule, assembly.where
    program = assembly.program
    numbers: list[int] = []
    by_text: dict[str, int] = {}
    for low in assembly.lowered:
        text = llvm.emit(low.function, "k_0", target)
        symbol = "k_" + hashlib.sha256(text.encode()).hexdigest()[:24]
        key = f"{symbol} {low.tiles} {low.scratch} {low.cost}"
        if key not in by_text:
            by_text[key] = len(program.texts)
            program.texts.append(text.replace("@k_0", f"@{symbol}"))
            program.symbols.append(symbol)
            program.shapes.append((low.tiles, low.scratch, low.cost))
        numbers.append(by_text[key])
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    for values, use, label in zip(schedule.values, assembly.uses, schedule.labels, strict=True):
        pointers = tuple(where[node] for node in values)
        program.launches.append(Launch(numbers[use], pointers, label))
    program.num_inputs = len(leaves)
    program.scalars = [slot_dtype(n.dtype).text for n in graph.nodes if n.op is ops.SCALAR]
    program.output_sizes = [size(o.shape) * o.dtype.itemsize for o in graph.outputs]
    program.donated = [(leaves.index(leaf), at) for at, leaf in schedule.donated.items()]
    program.arena = assembly.arena
    return assembly
