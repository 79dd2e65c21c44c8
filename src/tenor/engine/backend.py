"""From a graph to something that runs: the compiler and the CPU, or the NumPy interpreter.

The compiler is imported at the first computation: it is a third of what `import tenor` would cost.
"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any, Final, Protocol

from tenor.config import config
from tenor.engine.family import counts, family_of
from tenor.errors import IndexRangeError
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.runtime import allocator, cpu, executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tenor.ir.node import Graph
    from tenor.ir.program import Program

__all__ = ["Runner", "interpret", "load", "load_on_webgpu", "observers"]

Buffer = allocator.Buffer


class Runner(Protocol):
    """A graph made ready to run.

    Attributes:
        donated: Numbers of the inputs whose buffers are written over.
        memory: Bytes a run takes for values and workspace.
    """

    donated: tuple[int, ...]
    memory: int

    def run(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Any], int, int]:
        """Return the outputs' buffers, and the status: (0, 0), or (1 + node, bad index)."""


class ReferenceRunner:
    """Runs a graph by the NumPy interpreter."""

    donated: tuple[int, ...] = ()

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.memory = sum(size(node.shape) * node.dtype.itemsize for node in graph.nodes)

    def run(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Any], int, int]:
        """Interpret the graph on NumPy views of the buffers."""
        try:
            outputs = interpret(self.graph, inputs, scalars)
        except IndexRangeError as error:
            node, value = error.operands
            return [], 1 + self.graph.nodes.index(node), value
        return [allocator.copy_of(a) for a in outputs], 0, 0


def interpret(graph: Graph, inputs: list[Any], scalars: list[Any]) -> list[NDArray[Any]]:
    """Return a graph's outputs, worked out by NumPy from the leaves' buffers."""
    from tenor.compiler.emit import reference  # noqa: PLC0415 - rarely needed

    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    arrays = [b.array(n.dtype.numpy, n.shape) for b, n in zip(inputs, leaves, strict=True)]
    return reference.run(graph, arrays, scalars)


observers: Final[list[Callable[[Graph, Any], None]]] = []
"""Called with each graph compiled and its program; `explain` listens."""


def load(graph: Graph) -> Runner:
    """Compile a graph for this machine, or interpret it, as `config.backend` says."""
    if config.backend == "reference":
        for observe in observers:
            observe(graph, None)
        return ReferenceRunner(graph)
    with cpu.lock:  # a fork in the middle of an import leaves a child that waits for it
        from tenor.compiler import compile as compile_graph  # noqa: PLC0415 - see above

        target = cpu.host_target()
    skip = config.skip_passes
    shared = None

    def alone() -> Program:
        return compile_graph(graph, target, skip=skip)

    with _uncollected():
        if config.symbolic:
            family, numbers = family_of(graph, target, skip, config.winograd)
            shared = family.program(graph, numbers, target, skip)
            program = shared or family.alone(numbers, alone)
        else:
            program = alone()
    for observe in observers:
        observe(graph, program)
    runner = executable.load(program)
    if shared is not None:
        runner.run = _Returning(runner, alone)  # type: ignore[method-assign]
    return runner


def load_on_webgpu(
    graph: Graph, weights: list[Any], device: str = "webgpu", sibling: Any = None
) -> Runner:
    """Compile a graph for the WebGPU device.

    Args:
        graph: What to compute.
        weights: The buffers of its last leaves, which hold the same at every run.
        device: Which: "webgpu", or "webgpu:1" and the like.
        sibling: What this gave for the same model at other sizes.

    Raises:
        ArgumentError: There is no device, or no shader can say an operation.
        DTypeError: A value has a dtype that shaders cannot hold.
    """
    from tenor.engine.webgpu import ShaderRunner  # noqa: PLC0415 - of an extra

    with _uncollected():
        return ShaderRunner(graph, weights, device, sibling)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the garbage collector back: a third of a compile would be its looks at live objects."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


OFTEN: Final = 512
"""Runs after which a size is worth a program of its own."""


class _Returning:
    """Runs a program made for many sizes; from the `OFTEN`th time on, one made for its own.

    Both give the same bits, and how often it ran decides, not how long it took.
    """

    def __init__(self, runner: executable.Executable, make: Callable[[], Program]) -> None:
        self.runner, self.make, self.left = runner, make, OFTEN
        self.shared = runner.run

    def __call__(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Any], int, int]:
        self.left -= 1
        if self.left:
            return self.shared(inputs, scalars)
        own = executable.load(self.make())
        self.runner.run = run = own.run if own.donated == self.runner.donated else self.shared  # type: ignore[method-assign]
        counts["own"] += 1
        return run(inputs, scalars)
