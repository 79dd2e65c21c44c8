"""A program: kernels in order, and where each of their pointers points. Text, no addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenor.ir.loops import Function

__all__ = ["ABI", "Launch", "Lowered", "Pointer", "Program"]

ABI = (("args", "ptr"), ("begin", "i64"), ("end", "i64"), ("scratch", "ptr"), ("status", "ptr"))
"""Parameters of every kernel function.

args: array of buffer pointers, in the order of `Kernel.buffers`, and after them the kernel's
run-time numbers (a kernel made for many sizes has some). begin, end: the tiles to do, in
[0, tiles). scratch: this thread's own workspace, 64-byte aligned. status: int64[2]; an index out
of range stores (code, index) there and carries on harmlessly.
"""


@dataclass
class Lowered:
    """A kernel as loops.

    Attributes:
        function: The entry, with the ABI's parameters.
        tiles: Number of independent tiles: a function of the kernel alone, never of the number
            of threads. Any split of [0, tiles) into ranges gives the same bits.
        scratch: Bytes of workspace a thread needs.
        cost: Rough nanoseconds of the whole kernel on one core; below a few microseconds the
            runtime does not wake other threads.
        span: Elements of the kernel's domain that a tile covers: a run in row-major order, of a
            reduction whatever is reduced to a run of what is kept; 0 where they are neither.
    """

    function: Function
    tiles: int
    scratch: int = 0
    cost: int = 0
    span: int = 0

    def covers(self, count: int) -> int:
        """Return how many elements of a domain of `count` a tile covers; 0: they are no run."""
        return count if self.tiles == 1 else self.span


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a kernel argument lies.

    Attributes:
        space: "input" (leaf number), "output" (output number), "scalar" (slot number), "arena"
            (byte offset), "kept" (byte offset), "number" (a run-time number in place of a pointer).
        at: The number or byte offset.
        offset: Further bytes.
    """

    space: str
    at: int
    offset: int = 0


@dataclass
class Launch:
    """One kernel call: which kernel, on which pointers."""

    kernel: int
    pointers: tuple[Pointer, ...]
    label: str = ""


@dataclass
class Program:
    """Everything needed to run a graph.

    Attributes:
        texts: Distinct kernels as text in the target's language; equal bodies appear once. Each
            defines one exported symbol, `k_<digest>`.
        symbols: The symbol each text defines.
        shapes: (tiles, scratch bytes, cost) of each text's kernel.
        launches: The calls, in order; a launch may rely on all earlier ones.
        num_inputs: Leaves, in the graph's order.
        scalars: "f64" or "i64" for each scalar slot, in the graph's order.
        output_sizes: Bytes of each output.
        donated: Pairs (leaf, output): the output is written into the leaf's own buffer.
        arena: Bytes of intermediate memory.
        kept: Bytes of memory that outlives a run: what the first launches leave there is good as
            long as the leaves they read do not change.
        preparations: How many launches that are.
        prepared_from: The leaves they read, ascending.
        codes: For each status code (from 1), the index of the node in the graph it speaks of.
    """

    texts: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    num_inputs: int = 0
    scalars: list[str] = field(default_factory=list)
    output_sizes: list[int] = field(default_factory=list)
    donated: list[tuple[int, int]] = field(default_factory=list)
    arena: int = 0
    kept: int = 0
    preparations: int = 0
    prepared_from: tuple[int, ...] = ()
    codes: list[int] = field(default_factory=list)
