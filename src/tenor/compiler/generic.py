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
        nodes = dict.fromkeys(n for values in self.assembly.schedule.values for n in values)
        self.stored: list[Node] = [*dict.fromkeys([*nodes, *self.assembly.graph.outputs])]
        numbers += [bytes_of(node) for node in self.stored]
        self.numbers = values_of(numbers)
        self.fits = predicate(sizes.guards.values())

    def program(self, sizes: Sequence[int]) -> Program:
        """Return the program for sizes it fits."""
        numbers = self.numbers(sizes)
        first = len(numbers) - len(self.stored)
        room = dict(zip(self.stored, numbers[first:], strict=True))
        schedule = self.assembly.schedule
        where, arena = place(schedule, reuse=self.reuse, sizes=room.__getitem__)
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
        for nodes, use, label in zip(
            schedule.values, self.assembly.uses, schedule.labels, strict=True
        ):
            pointers = (*[where[node] for node in nodes], *given[use])
            program.launches.append(Launch(use, pointers, label))
        interface(program, self.assembly, room.__getitem__)
        return program


def _scheduled(graph: Graph, target: Target, skip: frozenset[str]) -> Assembly:
    """Run the passes that need no sizes."""
    value: Any = graph
    for step in PASSES:
        run = step.plain if step.name in skip and not step.required else step.run
        if run is not None and step.name not in LATER:
            value = run(value, target)
    return value  # type: ignore[no-any-return]
