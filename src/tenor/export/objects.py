"""Object files that bring along what their machine's instructions lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.emit import llvm
from tenor.compiler.lower.routines import PAIRS, ROUTINES
from tenor.compiler.lower.soft_double import SOFT_DOUBLE
from tenor.export.contents import undefined
from tenor.runtime import cross

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tenor.ir.loops import Function
    from tenor.ir.target import Target

__all__ = ["object_of"]

MADE: Final = ROUTINES | SOFT_DOUBLE
"""Functions that LLVM calls by their names where there is no instruction."""


def object_of(
    functions: Mapping[str, Function],
    target: Target,
    *,
    lacks: Callable[[bytes], Iterable[str]] = undefined,
    attributes: str = "",
    reloc: str = "static",
    level: int = 2,
) -> bytes:
    """Return the object file of functions, and of the routines that they call.

    Args:
        functions: Functions by the names they are exported under.
        target: The machine.
        lacks: Tells the names an object file wants from elsewhere, where it is none of the
            formats that `contents` reads; of those that are no routine's the object returned
            still has some.
        attributes: LLVM's attributes of every function.
        reloc, level: As for `cross.object_file`.
    """
    names: set[str] = set()
    while True:
        beside = [MADE[name](name) for name in sorted(names) if name in MADE]
        pairs = [(name, PAIRS[name]) for name in sorted(names) if name in PAIRS]
        text = llvm.emit_all(functions, target, attributes, beside, pairs)
        data = cross.object_file(text, target, reloc=reloc, level=level)
        more = {n for n in lacks(data) if n in MADE or n in PAIRS} - names
        more |= {PAIRS[n] for n in more if n in PAIRS} - names
        if not more:
            return data
        names |= more
