"""What cannot be computed on a machine, known before anything is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.errors import ExportError
from tenor.export.edge.targets import machinery
from tenor.ir.op import OPS

if TYPE_CHECKING:
    from tenor.export.edge.targets import Machinery
    from tenor.export.source import Source

__all__ = ["refuse", "unsupported"]

COMPUTING: Final = ("elementwise", "reduce", "contraction", "order")
"""Families of operations that compute with elements; others move them."""


def unsupported(target: str) -> dict[str, str]:
    """Return the primitives that a machine computes in part only: by name, what is left out.

    Raises:
        ArgumentError: There is no such machine.
    """
    row = machinery(target)
    reason = f"not in {', '.join(row.lacks)}"
    names = [name for name, op in OPS.items() if op.family in COMPUTING]
    return dict.fromkeys(names, reason) if row.lacks else {}


def refuse(source: Source, row: Machinery) -> None:
    """Raise if a source computes what a machine cannot.

    Raises:
        ExportError: It does; every such operation is named.
    """
    found = []
    for node in source.graph.nodes:
        dtypes = {node.dtype.name, *(x.dtype.name for x in node.inputs)} & set(row.lacks)
        if dtypes and node.op.family in COMPUTING:
            held = ", ".join(sorted(dtypes))
            found.append(f"{node.op.name} in {held}, {source.where(node)}")
    if found:
        raise ExportError(
            f"export: {row.name} must be able to compute all that the model does.",
            came=found,
            fix="cast to float32 in the model, or choose form='c'",
        )
