"""From a graph to something that runs: the compiler and the CPU, or the NumPy interpreter."""

from __future__ import annotations


from typing import TYPE_CHECKING, Any, Final, Protocol

from tenor.compiler import compile as compile_graph
from tenor.compiler.emit import reference
from tenor.config import config
from tenor.errors import IndexRangeError
from tenor.ir import op as ops
from tenor.runtime import allocator, cpu, executable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.node import Graph

__all__ = ["Runner", "load", "observers"]

Buffer = allocator.Buffer


class Runner(Protocol):
    """A graph made ready to run."""

    donated: tuple[int, ...]

    def run(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Any], int, int]:
        """Return the outputs' buffers, and the status: (0, 0), or (1 + node, bad index)."""


class ReferenceRunner:
    """Runs a graph by the NumPy interpreter."""

    donated: tuple[int, ...] = ()

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.leaves = [n for n in graph.nodes if n.op is ops.LEAF]

    def run(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Any], int, int]:
        """Interpret the graph on NumPy views of the buffers."""
        arrays = [
            buffer.array(leaf.dtype.numpy, leaf.shape)
            for buffer, leaf in zip(inputs, self.leaves, strict=True)
        ]
        try:
            outputs = reference.run(self.graph, arrays, scalars)
        except IndexRangeError as error:
            node, value = getattr(error, "node", None), getattr(error, "value", 0)
            code = 1 + next((i for i, n in enumerate(self.graph.nodes) if n is node), 0)
            return [allocator.allocate(0) for _ in self.graph.outputs], code, int(value)
        return [allocator.copy_of(a) for a in outputs], 0, 0


observers: Final[list[Callable[[Graph, Any], None]]] = []
"""Called with each graph compiled and its program; `explain` listens."""


def load(graph: Graph) -> Runner:
    """Compile a graph for this machine, or interpret it, as `config.backend` says."""
    if config.backend == "reference":
        for observe in observers:
            observe(graph, None)
        return ReferenceRunner(graph)
    program = compile_graph(graph, cpu.host_target(), skip=config.skip_passes)
    for observe in observers:
        observe(graph, program)
    return executable.load(program)


