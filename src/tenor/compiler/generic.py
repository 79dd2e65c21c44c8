"""Programs for many sizes: the graph's shapes hold symbols, and a program is filled in for sizes.

Every pass up to `dedupe` runs once, on numbers that are not known (`tenor.ir.symbolic`). What is
left for each size is to place values in memory, to look up each kernel's code (see `bodies`), and
to write the launches down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.compiler import PASSES
from tenor.compiler.assemble import interface
from tenor.compiler.bodies import body_of, localised
from tenor.compiler.schedule.memory import bytes_of, place
from tenor.ir.program import Launch, Pointer, Program
from tenor.ir.symbolic import Sizes, predicate, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.compiler.assemble import Assembly
    from tenor.compiler.bodies import Body
    from tenor.ir.node import Graph, Node
    from tenor.ir.target import Target

__all__ = ["Generic"]

LATER = ("arena", "lower", "emit")
"""Passes that wait for the sizes."""


class Generic:
    """A program over symbols.

    Args:
        graph: Its graph; shapes may hold symbols.
        target: What it is for.
        skip: Names of passes that are left out.
        sizes: The sizes at hand, which have been asked what making the graph took.

    Attributes:
        fits: Tells whether the program is for these sizes.
    """

    def __init__(self, graph: Graph, target: Target, skip: frozenset[str], sizes: Sizes) -> None:
        with sizes:
            self.assembly = _scheduled(graph, target, skip)
        self.reuse = "arena" not in skip
        self.bodies: list[tuple[Body, int]] = []
        numbers: list[Any] = []
        for kernel in self.assembly.bodies:
            local, needed = localised(kernel)
            self.bodies.append((body_of(local, target), len(needed)))
            numbers += needed
        schedule = self.assembly.schedule
        nodes = dict.fromkeys(n for values in schedule.values for n in values)
        homes = {n: schedule.home(n) for n in nodes}
        hosts = (host for host, _ in homes.values())
        self.stored: list[Node] = [*dict.fromkeys([*nodes, *hosts, *self.assembly.graph.outputs])]
        self.parts = [n for n, (host, _) in homes.items() if host is not n]
        self.places = places = [
            (i, k)
            for i, kernel in enumerate(schedule.kernels)
            for k, buffer in enumerate(kernel.buffers)
            if not _nothing(buffer.start)
        ]
        numbers += [bytes_of(node) for node in self.stored]
        numbers += [homes[n][1] * n.dtype.itemsize for n in self.parts]
        buffers = [schedule.kernels[i].buffers[k] for i, k in places]
        numbers += [b.start * b.dtype.itemsize for b in buffers]
        self.others = len(self.stored) + len(self.parts) + len(self.places)
        self.numbers = values_of(numbers)
        self.fits = predicate(sizes.guards.values())

    def program(self, sizes: Sequence[int]) -> Program:
        """Return the program for sizes it fits."""
        numbers = self.numbers(sizes)
        rest = list(numbers[len(numbers) - self.others :])
        room = {n: rest.pop(0) for n in self.stored}
        inside = {n: rest.pop(0) for n in self.parts}
        moved = dict(zip(self.places, rest, strict=True))
        schedule = self.assembly.schedule
        where, arena = place(
            schedule, reuse=self.reuse, sizes=room.__getitem__, starts=inside.__getitem__
        )
        program = Program(arena=arena)
        given: list[tuple[Pointer, ...]] = []
        at = 0
        for body, count in self.bodies:
            own = numbers[at : at + count]
            at += count
            code = body.code(own)
            program.texts.append(code.text)
            program.symbols.append(code.symbol)
            tiles, scratch, cost, _, _ = code.shape(own)
            program.shapes.append((tiles, scratch, cost))
            given.append(tuple([Pointer("number", n) for n in own]))
        for i, (nodes, use, label) in enumerate(
            zip(schedule.values, self.assembly.uses, schedule.labels, strict=True)
        ):
            pointers = (
                *[_moved(where[n], moved.get((i, k), 0)) for k, n in enumerate(nodes)],
                *given[use],
            )
            program.launches.append(Launch(use, pointers, label))
        interface(program, self.assembly, room.__getitem__)
        return program


def _nothing(start: Any) -> bool:
    return type(start) is int and start == 0


def _moved(pointer: Pointer, nbytes: int) -> Pointer:
    return Pointer(pointer.space, pointer.at, pointer.offset + nbytes) if nbytes else pointer


def _scheduled(graph: Graph, target: Target, skip: frozenset[str]) -> Assembly:
    """Run the passes that need no sizes."""
    value: Any = graph
    for step in PASSES:
        run = step.plain if step.name in skip and not step.required else step.run
        if run is not None and step.name not in LATER:
            value = run(value, target)
    return value  # type: ignore[no-any-return]
