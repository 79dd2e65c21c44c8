"""How an expression lies in memory: along the domain's last dim, or across it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tenor.ir.kernel import Expr
    from tenor.ir.node import Shape

__all__ = ["lies_across"]

FAR: Final = 16
"""Stride from which on neighbours have cache lines of their own."""
SQUARE: Final = 16
"""Extent from which on a copy can be turned block by block."""


def lies_across(expr: Expr, domain: Shape) -> bool:
    """Tell whether some load steps far along the last dim, and by one along another long one.

    A reduction would touch a cache line for every element; a copy is turned in registers.
    """
    real = [d for d, n in enumerate(domain) if n > 1]
    if len(real) < 2 or domain[real[-1]] < SQUARE:
        return False
    *others, last = real
    seen: set[Expr] = set()
    waiting = [expr]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        waiting += here.args
        if here.op != "load" or here.args or here.attrs[2]:
            continue
        strides = here.attrs[1].strides
        if abs(strides[last]) >= FAR and any(
            strides[d] == 1 and domain[d] >= SQUARE for d in others
        ):
            return True
    return False
