"""A machine's code as an object file that lacks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.emit import llvm
from tenor.compiler.lower.routines import PAIRS, ROUTINES
from tenor.compiler.lower.soft_double import SOFT_DOUBLE
from tenor.errors import ArgumentError
from tenor.export.edge.contents import contents
from tenor.runtime import cross

if TYPE_CHECKING:
    from tenor.export.edge.targets import Machinery
    from tenor.export.machine import Machine
    from tenor.ir.loops import Function
    from tenor.ir.target import Target

__all__ = ["code_of"]

MADE: Final = ROUTINES | SOFT_DOUBLE
"""What instructions may lack and the object brings along."""
SMALL: Final = '"no-builtins" optsize'
"""LLVM's attributes of functions that should be small and call no C library."""


def code_of(machine: Machine, row: Machinery, symbol: str, *, reloc: str = "static") -> bytes:
    """Return the object file of a machine.

    Raises:
        ArgumentError: The machine has no instructions for an operation.
    """
    data = _compiled(machine.whole.function, symbol, row.target, reloc)
    lacks = contents(data).undefined
    if lacks:
        raise _refusal(machine, row, lacks)
    return data


def _compiled(function: Function, symbol: str, target: Target, reloc: str) -> bytes:
    """Return the object file of a function, and of the routines it calls."""
    names: set[str] = set()
    while True:
        beside = [MADE[name](name) for name in sorted(names) if name in MADE]
        pairs = [(name, PAIRS[name]) for name in sorted(names) if name in PAIRS]
        text = llvm.emit(function, symbol, target, SMALL, beside, pairs)
        data = cross.object_file(text, target, reloc=reloc)
        more = {n for n in contents(data).undefined if n in MADE or n in PAIRS} - names
        more |= {PAIRS[n] for n in more if n in PAIRS} - names
        if not more:
            return data
        names |= more


def _refusal(machine: Machine, row: Machinery, lacks: tuple[str, ...]) -> ArgumentError:
    """Return the error that names the operations a machine has no instructions for."""
    whole = machine.whole
    labels = dict(
        zip(map(id, whole.kernels[whole.program.preparations :]), whole.labels, strict=True)
    )
    found = {}
    for kernel in whole.kernels[whole.program.preparations :]:
        missing = contents(_compiled(kernel, "kernel", row.target, "static")).undefined
        if missing:
            found[labels[id(kernel)]] = missing
    came = [f"{label}: {', '.join(missing)}" for label, missing in found.items()]
    return ArgumentError(
        f"export: {row.name} must have instructions for all that the model computes.",
        came=came or [", ".join(lacks)],
        fix="compute it in float32 and 32-bit integers, or choose form='c', where the machine's C "
        "compiler brings what its instructions lack",
    )
