"""Eight bits as commands are asked for them: ranges by a method, found on rows of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.cli.predict import choose
from tenor.cli.values import read_values
from tenor.errors import ArgumentError
from tenor.export import quantize
from tenor.export.fold import folded
from tenor.export.source import source_of

if TYPE_CHECKING:
    from tenor.export.quantize import Quantization
    from tenor.save import LoadedModel

__all__ = ["Calibrated", "calibrated"]

ROWS: Final = 32
"""How many rows are run at a time to find ranges."""


@dataclass(frozen=True)
class Calibrated:
    """What was found, and what it was found on.

    Attributes:
        quantization: How values are held.
        rows: Inputs by name.
    """

    quantization: Quantization
    rows: Any


def calibrated(
    model: LoadedModel, method: str, *, signature: str | None = None, rows: str | None = None
) -> Calibrated:
    """Find the ranges of a model's values.

    Args:
        model: The model.
        method: How: "minmax", "percentile" or "entropy".
        signature: What of the model; by default predict, or the only one.
        rows: A file of rows; by default the model's own examples.

    Raises:
        ArgumentError: No such signature, or no rows.
    """
    chosen = choose(model, signature)
    example = model.examples.get(chosen.name)
    if rows is not None:
        given: Any = read_values(rows, chosen)[0]
    elif example is not None:
        given = example.inputs
    else:
        raise ArgumentError(
            "export: eight bits need rows to find ranges with.",
            came="a model saved without examples",
            fix="give --rows FILE, a few hundred rows of what the model will meet",
        )
    count = min((len(a) for a in given.values() if a.ndim), default=1)
    batch = min(ROWS, max(count, 1)) if chosen.symbols else 1
    source = folded(source_of(model, chosen.name, batch=batch))
    return Calibrated(quantize.calibrate(source, given, method=method), given)
