"""A program as the builtins launch it: its memory and its numbers in one table."""

from __future__ import annotations

import ctypes
import functools
import struct
from typing import TYPE_CHECKING, Any, Final

from tenor.runtime import allocator, pool
from tenor.runtime.executable import RELEASE_NS, Context, Executable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.runtime.kept import Kept

__all__ = ["Launcher", "launcher_of", "of_nothing"]

OWN: Final = 1 << 16
"""Bytes for values in between that a launcher keeps; more is taken for each run."""


class Launcher:
    """What a builtin needs to run an executable, which writes over none of its inputs.

    Attributes:
        table: Addresses and numbers, in the order `runtime/flushing.py` reads them.
        sizes, capacities: Bytes of the outputs, and of the memory they take.
        arena, scratch: Bytes to take for each run; None where the launcher has its own.
        kept: What the program keeps from run to run.
        call: Runs it where its launches are shared among threads; else None.
        held: What the table points into.
    """

    __slots__ = ("arena", "call", "capacities", "held", "kept", "scratch", "sizes", "table")

    def __init__(self, executable: Executable) -> None:
        context = Context(executable)
        program, first = executable.program, executable.first_scalar
        base, block = ctypes.addressof(context.bases), ctypes.addressof(context.block)
        self.sizes = tuple(executable.sizes)
        self.capacities = tuple(map(allocator.capacity_of, self.sizes))
        self.kept: Kept | None = executable.kept
        self.call: Callable[[], int] | None = None
        if executable.parallel:
            self.call = functools.partial(executable._call, context)
        busy = (ctypes.c_int64 * 1)()
        leaves = self.kept.leaves if self.kept is not None else ()
        numbers = (ctypes.c_int64 * max(1, len(leaves)))(*leaves)
        kinds = [kind == "f64" for kind in program.scalars]
        floats = (ctypes.c_int64 * max(1, len(kinds)))(*kinds)
        own: list[Any] = []
        context.bases[first] = context.scalar_address
        self.arena = _kept(executable.arena, own, base + 8 * (first + 1))
        self.scratch = _kept(executable.scratch, own, block + 8 * 5)
        if self.kept is not None:
            executable._skip(context, program.preparations)
        self.held: Any = executable, context, busy, numbers, floats, own
        self.table = struct.pack(
            "=15q", ctypes.addressof(busy), block, base, context.scalar_address,
            program.num_inputs, len(self.sizes), len(kinds), ctypes.addressof(context.status),
            pool.entry("execute"), executable.cost > RELEASE_NS, base + 8 * (first + 2),
            ctypes.addressof(numbers), ctypes.addressof(floats), base + 8 * (first + 1),
            block + 8 * 5,
        )  # fmt: skip


def _kept(nbytes: int, own: list[Any], place: int) -> int | None:
    """Write down memory of a launcher's own; or return how much is to be taken for each run."""
    if nbytes > OWN:
        return nbytes
    memory = (ctypes.c_char * (nbytes + allocator.ALIGN))()
    own.append(memory)
    start = -(-ctypes.addressof(memory) // allocator.ALIGN) * allocator.ALIGN
    ctypes.c_int64.from_address(place).value = start if nbytes else 0
    return None


def launcher_of(run: Callable[..., Any]) -> Launcher | None:
    """Return a launcher for a runner's method; None where it is run in another way."""
    executable = getattr(run, "__self__", None)
    plain = getattr(run, "__func__", None) is Executable.run and type(executable) is Executable
    if not plain or executable.donated:  # type: ignore[union-attr]
        return None
    return Launcher(executable)  # type: ignore[arg-type]


def of_nothing() -> tuple[Launcher, Any]:
    """Return a launcher of one input and one output of eight bytes that computes nothing.

    The second value is where it writes their addresses: by it the builtins are tried.
    """
    bases, words = (ctypes.c_int64 * 8)(), (ctypes.c_int64 * 8)()
    free = ctypes.addressof(words)
    block = (ctypes.c_int64 * 8)(0, 0, 0, ctypes.addressof(bases), 0, 0, free, 0)
    made = Launcher.__new__(Launcher)
    made.sizes, made.capacities = (8,), (allocator.capacity_of(8),)
    made.arena = made.scratch = made.kept = made.call = None
    made.held = bases, words, block
    made.table = struct.pack(
        "=15q", free + 16, ctypes.addressof(block), ctypes.addressof(bases), free, 1, 1, 0, free,
        pool.entry("execute"), False, free, free, free, free, free,
    )  # fmt: skip
    return made, bases
