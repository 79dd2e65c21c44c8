"""A source as one function for a machine, with its weights laid out as that function reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.whole import Whole, whole
from tenor.export.objects import object_of
from tenor.ir import op as ops
from tenor.runtime import cpu, executable
from tenor.runtime.allocator import copy_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.target import Target

__all__ = ["Machine", "laid_out", "machine_of"]

ALONE: Final = '"no-builtins"'
"""LLVM's attribute of functions with no C library beside them: no loop becomes a call of memset."""


@dataclass(frozen=True)
class Machine:
    """A source made ready for a machine.

    `run(weights, inputs, outputs, workspace)` takes the addresses of four things: the weights; a
    table of the inputs' addresses, in order; one of the outputs'; and memory to work in. Weights
    and workspace begin at multiples of 64 bytes. It returns 0; or, where an index that a table of
    weights was asked for is out of range, another number.

    Attributes:
        source: What it computes.
        target: The machine.
        whole: The function, and where things lie.
        weights: The weights, prepared.
    """

    source: Source
    target: Target
    whole: Whole
    weights: NDArray[np.uint8]

    @property
    def workspace(self) -> int:
        """Bytes `run` works in."""
        return self.whole.workspace

    def object_file(self, symbol: str, *, attributes: str = ALONE, reloc: str = "static") -> bytes:
        """Return the function under a symbol as an object file, with the routines that it calls.

        Args:
            symbol: The symbol.
            attributes: LLVM's attributes of its functions.
            reloc: As for `cross.object_file`.
        """
        functions = {symbol: self.whole.function}
        return object_of(functions, self.target, attributes=attributes, reloc=reloc)


def machine_of(source: Source, target: Target) -> Machine:
    """Return a source made ready for a machine: compiled, and its weights packed."""
    made = whole(source.graph, target, len(source.inputs))
    return Machine(source, target, made, laid_out(source, made))


def laid_out(source: Source, made: Whole) -> NDArray[np.uint8]:
    """Return the weights as the function reads them."""
    laid: NDArray[np.uint8] = np.zeros(made.nbytes, np.uint8)
    arrays = list(source.weights.values())
    for number, at in made.places.items():
        raw = np.frombuffer(np.ascontiguousarray(arrays[number - len(source.inputs)]), np.uint8)
        laid[at : at + raw.size] = raw
    if made.program.preparations:
        kept = _prepared(source, made)
        laid[made.kept : made.kept + kept.size] = kept
    return laid


def _prepared(source: Source, made: Whole) -> NDArray[np.uint8]:
    """Run what prepares weights here, on this machine."""
    runner = executable.load(made.preparing(cpu.host_target()))
    leaves = [node for node in source.graph.nodes if node.op is ops.LEAF]
    arrays: list[Any] = [np.zeros(1, np.uint8)] * len(source.inputs)
    arrays += [np.ascontiguousarray(a) for a in source.weights.values()]
    assert len(arrays) == len(leaves)
    outputs, _, _ = runner.run([copy_of(a) for a in arrays], [])
    return outputs[0].array(np.dtype(np.uint8), (made.program.kept,))
