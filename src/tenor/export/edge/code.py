"""A machine's code as an object file that lacks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.errors import ExportError
from tenor.export.contents import undefined
from tenor.export.objects import object_of

if TYPE_CHECKING:
    from tenor.export.edge.targets import Machinery
    from tenor.export.machine import Machine

__all__ = ["code_of"]

SMALL: Final = '"no-builtins" optsize'
"""LLVM's attributes of functions that should be small and call no C library."""


def code_of(machine: Machine, row: Machinery, symbol: str, *, reloc: str = "static") -> bytes:
    """Return the object file of a machine.

    Raises:
        ExportError: The machine has no instructions for an operation.
    """
    data = machine.object_file(symbol, attributes=SMALL, reloc=reloc)
    lacks = undefined(data)
    if lacks:
        raise _refusal(machine, row, lacks)
    return data


def _refusal(machine: Machine, row: Machinery, lacks: tuple[str, ...]) -> ExportError:
    """Return the error that names the operations a machine has no instructions for."""
    whole = machine.whole
    labels = dict(
        zip(map(id, whole.kernels[whole.program.preparations :]), whole.labels, strict=True)
    )
    found = {}
    for kernel in whole.kernels[whole.program.preparations :]:
        missing = undefined(object_of({"kernel": kernel}, machine.target, attributes=SMALL))
        if missing:
            found[labels[id(kernel)]] = missing
    came = [f"{label}: {', '.join(missing)}" for label, missing in found.items()]
    return ExportError(
        f"export: {row.name} must have instructions for all that the model computes.",
        came=came or [", ".join(lacks)],
        fix="compute it in float32 and 32-bit integers, or choose form='c', where the machine's C "
        "compiler brings what its instructions lack",
    )
