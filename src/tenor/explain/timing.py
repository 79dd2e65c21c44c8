"""How long each kernel takes on this machine, run alone."""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tenor.ir.program import Launch, Pointer, Program
from tenor.runtime import allocator, executable

if TYPE_CHECKING:
    from tenor.ir.kernel import Kernel

__all__ = ["kernel_seconds"]

ENOUGH_SECONDS: Final = 0.004
LEAST_RUNS: Final = 7
"""So that one that another process got in the way of does not decide."""
MOST_RUNS: Final = 200
MOST_BYTES: Final = 1 << 30


def kernel_seconds(program: Program, launch: Launch, kernel: Kernel) -> float | None:
    """Return the least time of several runs of one kernel on memory of its own, full of zeros.

    None where that memory would be more than a gibibyte. The cost of the call itself, that of a
    program without kernels, is taken off.
    """
    sizes: dict[tuple[str, int], int] = {}
    for pointer, buffer in zip(launch.pointers, kernel.buffers, strict=True):
        key = (pointer.space, pointer.at)
        needed = pointer.offset + max(64, buffer.size * buffer.dtype.itemsize)
        sizes[key] = max(sizes.get(key, 0), needed)
    if sum(sizes.values()) > MOST_BYTES:
        return None
    numbers = {key: number for number, key in enumerate(sizes)}
    moved = tuple(Pointer("input", numbers[p.space, p.at], p.offset) for p in launch.pointers)
    alone = replace(
        program, launches=[replace(launch, pointers=moved)], num_inputs=len(sizes),
        scalars=[], output_sizes=[], donated=[], arena=0, kept=0, preparations=0,
        prepared_from=(), codes=[],
    )  # fmt: skip
    buffers = [_zeros(count) for count in sizes.values()]
    return max(0.0, _least(alone, buffers) - _least(replace(alone, launches=[]), buffers))


def _zeros(count: int) -> allocator.Buffer:
    made = allocator.allocate(count)
    ctypes.memset(made.pointer, 0, count)
    return made


def _least(program: Program, buffers: list[allocator.Buffer]) -> float:
    runner = executable.load(program)
    least = float("inf")
    begin = time.perf_counter()
    for count in range(1, MOST_RUNS + 1):
        start = time.perf_counter()
        runner.run(buffers, [])
        end = time.perf_counter()
        least = min(least, end - start)
        if count >= LEAST_RUNS and end - begin > ENOUGH_SECONDS:
            break
    return least
