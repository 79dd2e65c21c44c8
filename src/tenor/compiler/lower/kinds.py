"""One row for each kind of kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.lower import contraction, scan
from tenor.compiler.lower.channels import lower_channels
from tenor.compiler.lower.map import lower_map
from tenor.compiler.lower.reduce import lower_reduce
from tenor.compiler.lower.rows import lower_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.kernel import Kernel
    from tenor.ir.program import Lowered
    from tenor.ir.target import Target

__all__ = ["KINDS", "lower"]

KINDS: Final[dict[str, Callable[[Kernel, Target], Lowered]]] = {
    "map": lower_map,
    "reduce": lower_reduce,
    "rows": lower_rows,
    "channels": lower_channels,
    **contraction.TEMPLATES,
    **scan.TEMPLATES,
}


def lower(kernel: Kernel, target: Target) -> Lowered:
    """Return a kernel as loops."""
    return KINDS[kernel.kind](kernel, target)
