"""A graph made ready to run on the WebGPU device, whose weights stay there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.ir import op as ops
from tenor.runtime.allocator import copy_of
from tenor.runtime.webgpu import Executable, device

if TYPE_CHECKING:
    from tenor.ir.node import Graph

__all__ = ["ShaderRunner"]


class ShaderRunner:
    """Runs a graph as shaders; see `backend.Runner`.

    Args:
        graph: What to compute.
        weights: The buffers of its last leaves, which hold the same at every run.
        name: The device's.
        sibling: A runner of the same model at other sizes, to share its weights.

    Raises:
        ArgumentError: There is no device, or no shader can say an operation.
        DTypeError: A value has a dtype that shaders cannot hold.
    """

    donated: tuple[int, ...] = ()

    def __init__(
        self, graph: Graph, weights: list[Any], name: str, sibling: ShaderRunner | None = None
    ) -> None:
        from tenor.compiler.shaders import shaders  # noqa: PLC0415 - as the compiler everywhere

        leaves = [n for n in graph.nodes if n.op is ops.LEAF]
        self.kinds = [(n.dtype.numpy, n.shape) for n in leaves]
        self.given = len(leaves) - len(weights)
        program = shaders(graph, len(weights))
        other = sibling.executable if sibling else None
        self.executable: Executable = Executable(program, device(name), other)
        self.memory = self.executable.memory
        kinds = self.kinds[self.given :]
        self.executable.keep([b.array(*kind) for b, kind in zip(weights, kinds, strict=True)])

    def run(self, inputs: list[Any], scalars: list[Any]) -> tuple[list[Any], int, int]:
        """Return the outputs' buffers, and the status."""
        assert not scalars, "a saved model is given no run-time numbers"
        given = zip(inputs[: self.given], self.kinds[: self.given], strict=True)
        outputs, code, value = self.executable.run([b.array(*kind) for b, kind in given])
        return [copy_of(a) for a in outputs], code, value
