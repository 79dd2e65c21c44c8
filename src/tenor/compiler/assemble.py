"""The passes from kernels on: an `Assembly` goes through them and comes out with its Program."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.bodies import body_of, key_of, localised, named
from tenor.compiler.emit import llvm
from tenor.compiler.lower import (
    channel_tiles,
    may_lie_beside,
    prepared_elements,
    takes_epilogue,
)
from tenor.compiler.lower import lower as lower_kernel
from tenor.compiler.lower.finish import may_finish
from tenor.compiler.schedule.channels import join_channels, lay_beside
from tenor.compiler.schedule.expression import slot_dtype
from tenor.compiler.schedule.follow import by_piece, by_tile, join_maps
from tenor.compiler.schedule.fuse import Schedule
from tenor.compiler.schedule.fuse import fuse as fuse_graph
from tenor.compiler.schedule.memory import bytes_of, room_of
from tenor.compiler.schedule.memory import place as place_values
from tenor.compiler.schedule.prepare import prepare as prepare_operands
from tenor.compiler.schedule.rows import join_rows
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.ir.program import Launch, Lowered, Pointer, Program
from tenor.ir.symbolic import applied

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Buffer, Kernel
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = [
    "Assembly",
    "channels",
    "dedupe",
    "emit",
    "epilogue",
    "finish",
    "fuse",
    "fuse_apart",
    "interface",
    "lower",
    "place",
    "place_apart",
    "prepare",
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
            local, numbers = localised(kernel)
            spans[id(kernel)] = (
                applied(body_of(local, target).covers, *numbers)
                if numbers
                else lower_kernel(kernel, target).covers(size(kernel.domain))
            )
        return spans[id(kernel)]

    return replace(assembly, schedule=join_rows(assembly.schedule, span_of))


def finish(assembly: Assembly, target: Target) -> Assembly:
    """Join elementwise kernels to the products they follow."""

    def fits(producer: Kernel, kernel: Kernel) -> bool:
        return may_finish(producer, kernel, target)

    return replace(assembly, schedule=join_maps(assembly.schedule, by_tile(fits)))


def epilogue(assembly: Assembly, _target: Target) -> Assembly:
    """Join maps to the convolutions they follow."""
    return replace(assembly, schedule=join_maps(assembly.schedule, by_piece(takes_epilogue)))


def prepare(assembly: Assembly, target: Target) -> Assembly:
    """Prepare operands by kernels of their own, once for as long as they stay the same."""
    schedule = prepare_operands(assembly.schedule, lambda k: prepared_elements(k, target))
    return replace(assembly, schedule=schedule)


def channels(assembly: Assembly, target: Target) -> Assembly:
    """Join pointwise convolutions to the depthwise ones behind them, or spare them a turn."""
    schedule = lay_beside(assembly.schedule, lambda a, b: may_lie_beside(a, b, target))
    schedule = join_channels(schedule, lambda a, b: channel_tiles(a, b, target))
    return replace(assembly, schedule=schedule)


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
        key = key_of(kernel)
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


def lower(assembly: Assembly, target: Target) -> Assembly:
    """Turn each kernel into loops."""
    assembly.lowered = [lower_kernel(kernel, target) for kernel in assembly.bodies]
    return assembly


def emit(assembly: Assembly, target: Target) -> Assembly:
    """Print the loops, and write down what is launched on which pointers."""
    schedule, where = assembly.schedule, assembly.where
    program = assembly.program
    numbers: list[int] = []
    by_text: dict[str, int] = {}
    for low in assembly.lowered:
        text = llvm.emit(low.function, "k_0", target)
        text, symbol = named(text)
        key = f"{symbol} {low.tiles} {low.scratch} {low.cost}"
        if key not in by_text:
            by_text[key] = len(program.texts)
            program.texts.append(text)
            program.symbols.append(symbol)
            program.shapes.append((low.tiles, low.scratch, low.cost))
        numbers.append(by_text[key])
    for kernel, values, use, label in zip(
        schedule.kernels, schedule.values, assembly.uses, schedule.labels, strict=True
    ):
        pointers = tuple(
            _moved(where[node], buffer) for node, buffer in zip(values, kernel.buffers, strict=True)
        )
        program.launches.append(Launch(numbers[use], pointers, label))
    program.arena = assembly.arena
    interface(program, assembly, bytes_of)
    return assembly


def interface(program: Program, assembly: Assembly, sizes: Callable[[Node], int]) -> None:
    """Write down what a program is given and gives; `sizes` are the bytes of its outputs."""
    graph, schedule = assembly.graph, assembly.schedule
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    program.num_inputs = len(leaves)
    program.scalars = [slot_dtype(n.dtype).text for n in graph.nodes if n.op is ops.SCALAR]
    program.output_sizes = [sizes(o) for o in graph.outputs]
    program.donated = [(leaves.index(leaf), at) for at, leaf in schedule.donated.items()]
    program.preparations = len(schedule.kept)
    program.kept = sum(room_of(sizes(n)) for n in schedule.kept)
    program.prepared_from = tuple(sorted({leaves.index(n.inputs[0]) for n in schedule.kept}))


def _moved(pointer: Pointer, buffer: Buffer) -> Pointer:
    """Return a pointer to where a buffer starts in what a pointer points to."""
    if not buffer.start:
        return pointer
    return replace(pointer, offset=pointer.offset + buffer.start * buffer.dtype.itemsize)
