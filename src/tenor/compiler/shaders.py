"""Graph to shaders: a short pass list of its own, and where everything lies on the device.

A GPU has no use for what the CPU's passes do for caches and cores (`rows`, `finish`, `epilogue`,
`prepare`, `pack`): kernels go from the scheduler straight to text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler import simplify
from tenor.compiler.emit import reference, wgsl
from tenor.compiler.schedule.follow import by_element, join_maps
from tenor.compiler.schedule.fuse import fuse
from tenor.compiler.schedule.memory import place
from tenor.compiler.simplify.attention import open_attention
from tenor.compiler.simplify.worked import worked_out
from tenor.errors import ArgumentError, DTypeError
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.ir.shader import (
    BINDINGS,
    Check,
    Dispatch,
    Range,
    Shader,
    ShaderProgram,
    Slot,
    Wire,
    cell,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.kernel import Expr, Kernel
    from tenor.ir.node import Graph, Node
    from tenor.ir.program import Pointer

__all__ = ["PASSES", "shaders"]

PASSES: Final[tuple[Callable[[Graph], Graph], ...]] = (
    simplify.strip,
    open_attention,
    simplify.collapse,
    simplify.turn,
    simplify.merge,
    simplify.join,
    simplify.split_reduce,
    simplify.dead,
    simplify.distinct,
)
WORD: Final = 4
"""Bytes of an element on the device, whatever its dtype."""
ALIGN: Final = 256
"""Bytes a binding begins at a multiple of, on every device."""
BUFFER: Final = 256 << 20
BOUND: Final = 128 << 20
"""Bytes of a buffer, and of a binding, that every device allows."""
STATUS: Final = Range("status", 0, 0)
"""All of the status, however long it will be."""


def shaders(
    graph: Graph, weights: int = 0, where: Callable[[Node], str] | None = None
) -> ShaderProgram:
    """Return the program that computes a graph on a WebGPU device.

    Args:
        graph: What to compute.
        weights: How many of its leaves, the last ones, never change.
        where: What tells people where an operation of the graph stands.

    Raises:
        DTypeError: A value has a dtype that shaders cannot hold, or is an integer of more than 32
            bits.
        ArgumentError: An operation that no shader computes, a value above 128 MB, or more than
            256 MB of values that are alive at once.
    """
    given = graph
    for step in PASSES:
        graph = step(graph)
    graph, known = worked_out(graph, wgsl.CARRIED, reference.run)
    graph = simplify.dead(graph)
    _accept(graph, lambda node: _place(node, given, where))
    plan = _Plan(graph, join_maps(fuse(graph), by_element(wgsl.PRODUCTS)), weights, known)
    for kernel, values, label in zip(
        plan.schedule.kernels, plan.schedule.values, plan.schedule.labels, strict=True
    ):
        plan.launch(kernel, values, label)
    return plan.finished()


def _place(node: Node, given: Graph, where: Callable[[Node], str] | None) -> str:
    """Return where an operation stands: the first of its kind and dtype in what was given."""
    first = next((n for n in given.nodes if (n.op, n.dtype) == (node.op, node.dtype)), None)
    return f", {where(first)}" if where is not None and first is not None else ""


def _accept(graph: Graph, place: Callable[[Node], str]) -> None:
    """Refuse what cannot be said, before anything is written."""
    for node in graph.nodes:
        if node.op.name in wgsl.MISSING:
            why, instead = wgsl.MISSING[node.op.name]
            raise ArgumentError(
                f"webgpu: no shader computes {node.op.name!r}.",
                came=f"{node.op.name} of {node.dtype.name}{place(node)}: {why}",
                fix=f"{instead}; or run it on the CPU",
                where=node.site,
            )
        if node.dtype not in wgsl.CARRIED:
            held = ", ".join(sorted(d.name for d in wgsl.CARRIED))
            raise DTypeError(
                f"webgpu: {node.op.name!r} must have a dtype that shaders hold.",
                came=f"{node.dtype.name}{place(node)}",
                fix=f"use one of {held}, or run on the CPU",
                where=node.site,
            )


def _afford(what: str, nbytes: int, most: int, where: str) -> None:
    if nbytes > most:
        raise ArgumentError(
            f"webgpu: {what} may take {most:,} bytes on every device.",
            came=f"{nbytes:,} for {where}",
            fix="use a smaller batch, or run on the CPU",
        )


def _checks(kernel: Kernel) -> list[Expr]:
    """Return the checks of a kernel, and of what follows in it."""
    every = [kernel, *(part.kernel for part in kernel.parts)]
    return [e for k in every for e in k.expressions() if e.op == "wrap_index"]


def _bytes(node: Node) -> int:
    return size(node.shape) * WORD


def _room(node: Node) -> int:
    """Return the bytes a value takes where others follow it; an empty one is bound as well."""
    return max(-(-_bytes(node) // ALIGN), 1) * ALIGN


class _Plan:
    """Where values lie, and the program so far."""

    def __init__(
        self, graph: Graph, schedule: Schedule, weights: int, values: list[NDArray[Any]]
    ) -> None:
        self.graph, self.schedule = graph, schedule
        self.program = ShaderProgram(values=values)
        self.numbers: dict[Shader, int] = {}
        leaves = [n for n in graph.nodes if n.op is ops.LEAF]
        given, known = len(leaves) - weights - len(values), len(leaves) - len(values)
        schedule.kept = _steady(schedule, leaves[given:])
        self.where, arena = place(
            schedule,
            sizes=_room,
            starts=lambda n: schedule.home(n)[1] * WORD,
        )
        program = self.program
        program.buffers = {"arena": max(arena, ALIGN)}
        if schedule.kept:
            program.buffers["kept"] = sum(map(_room, schedule.kept))
        program.inputs = self._slots("input", leaves[:given])
        program.weights = self._slots("weights", leaves[given:known])
        program.constants = self._slots("constants", leaves[known:])
        program.outputs = self._slots("output", graph.outputs)
        self.leaves = [*program.inputs, *program.weights, *program.constants]

    def _slots(self, name: str, nodes: Sequence[Node]) -> list[Slot]:
        """Lay tensors out one after another, in as many buffers as it takes."""
        slots: list[Slot] = []
        buffers, number = self.program.buffers, 0
        for node in nodes:
            room = _room(node)
            full = f"{name}{number}"
            if buffers.get(full, 0) + room > BUFFER:
                number += 1
                full = f"{name}{number}"
            offset = buffers.get(full, 0)
            buffers[full] = offset + room
            slots.append(Slot("", node.dtype.text, cell(node.dtype), node.shape, full, offset))
        return slots

    def _physical(self, pointer: Pointer) -> tuple[str, int]:
        """Return the buffer and the byte a value begins at."""
        if pointer.space in ("arena", "kept"):
            return pointer.space, pointer.at + pointer.offset
        slots = self.leaves if pointer.space == "input" else self.program.outputs
        slot = slots[pointer.at]
        return slot.buffer, slot.offset + pointer.offset

    def finished(self) -> ShaderProgram:
        """Return the program.

        Raises:
            ArgumentError: It takes more memory than every device has.
        """
        program = self.program
        for name, count in program.buffers.items():
            _afford("a buffer", count, BUFFER, name)
        whole = Range("status", 0, program.buffers.get("status", 0))
        for launches in (program.prepared, program.dispatches):
            launches[:] = [
                replace(d, ranges=tuple(whole if r is STATUS else r for r in d.ranges))
                for d in launches
            ]
        return program

    # -- launches -----------------------------------------------------------------------------
    def launch(self, kernel: Kernel, values: Sequence[Node], label: str) -> None:
        """Append the launch of a kernel."""
        checks = {e.attrs[2]: e for e in _checks(kernel)}
        views = [
            _View(*self._physical(self.where[node]), buffer.start * WORD, _bytes(node),
                  cell(node.dtype), buffer.written)
            for node, buffer in zip(values, kernel.buffers, strict=True)
        ]  # fmt: skip
        groups = _grouped(views, BINDINGS - bool(checks))
        written = {v.buffer for v in views if v.written}
        access = ["write" if g.buffer in written else "read" for g in groups]
        ranges = [Range(g.buffer, g.first, g.last - g.first) for g in groups]
        _afford("what a shader is given of a buffer", max(r.bytes for r in ranges), BOUND, label)
        status = None
        if checks:
            numbers = {code: self._check(code, *e.attrs[:2]) for code, e in checks.items()}
            status = (len(groups), numbers)
            access.append("write")
            ranges.append(STATUS)
        wires = [_wire(view, groups) for view in views]
        shader, counts = wgsl.write(kernel, wires, access, status)
        if 0 in counts:
            return
        number = self.numbers.setdefault(shader, len(self.program.shaders))
        if number == len(self.program.shaders):
            self.program.shaders.append(shader)
        launches = self.program.prepared if written == {"kept"} else self.program.dispatches
        launches.append(Dispatch(number, counts, tuple(ranges), label))

    def _check(self, code: int, extent: int, what: str) -> int:
        """Return the number of a check."""
        found = Check(code, what, extent)
        checks = self.program.checks
        if found not in checks:
            checks.append(found)
            self.program.buffers["status"] = 2 * WORD * len(checks)
        return checks.index(found)


def _steady(schedule: Schedule, weights: Sequence[Node]) -> list[Node]:
    """Return the values that are made of weights alone, by a kernel that makes nothing else."""
    known, steady = set(weights), []
    writers = Counter(
        node
        for kernel, values in zip(schedule.kernels, schedule.values, strict=True)
        for node, buffer in zip(values, kernel.buffers, strict=True)
        if buffer.written
    )
    dynamic = {*schedule.graph.outputs, *schedule.hosts}
    for kernel, values in zip(schedule.kernels, schedule.values, strict=True):
        both = list(zip(values, kernel.buffers, strict=True))
        made = [node for node, buffer in both if buffer.written]
        alone = all(buffer.written or node in known for node, buffer in both)
        whole = all(writers[n] == 1 and n not in dynamic for n in made)
        if alone and whole and not _checks(kernel):
            steady += made
            known.update(made)
    return steady


# -- bindings -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _View:
    """An argument of a launch: a value's bytes, and the byte of it a kernel counts from."""

    buffer: str
    begin: int
    start: int
    bytes: int
    cell: str
    written: bool


@dataclass
class _Group:
    """Arguments that share a binding."""

    buffer: str
    first: int
    last: int
    views: list[_View]

    def join(self, other: _Group) -> None:
        """Take another group in."""
        self.last = max(self.last, other.last)
        self.views += other.views


def _grouped(views: Sequence[_View], most: int) -> list[_Group]:
    """Return bindings for the arguments of a launch: one each, but where that is not allowed.

    Bindings of a buffer that is written may not overlap, and there may be `most` of them.
    """
    written = {v.buffer for v in views if v.written}
    groups: list[_Group] = []
    for view in sorted(views, key=lambda v: (v.buffer, v.begin, -v.bytes)):
        first = view.begin // ALIGN * ALIGN
        made = _Group(view.buffer, first, view.begin + max(view.bytes, WORD), [view])
        last = groups[-1] if groups else None
        if last and last.buffer == made.buffer and made.first < last.last and (
            made.buffer in written or (made.first, made.last) == (last.first, last.last)
        ):  # fmt: skip
            last.join(made)
        else:
            groups.append(made)
    while len(groups) > most:
        near = [(b.first - a.last, n) for n, (a, b) in enumerate(pairwise(groups))
                if a.buffer == b.buffer]  # fmt: skip
        if not near:
            raise ArgumentError(
                f"webgpu: a shader may read and write {most} buffers.",
                came=f"{len(groups)}",
                fix="run it on the CPU",
            )
        at = min(near)[1]
        groups[at].join(groups.pop(at + 1))
    return groups


def _wire(view: _View, groups: Sequence[_Group]) -> Wire:
    """Return where an argument is."""
    number = next(n for n, g in enumerate(groups) if view in g.views)
    group = groups[number]
    cells = {v.cell for v in group.views}
    held = view.cell if len(cells) == 1 else "u32"
    return Wire(number, held, (view.begin + view.start - group.first) // WORD)
