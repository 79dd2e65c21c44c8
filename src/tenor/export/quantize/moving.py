"""A quantization for the same model at another batch size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tenor.errors import ArgumentError
from tenor.export.quantize.trained import stripped

if TYPE_CHECKING:
    from tenor.export.quantize.record import Quantization
    from tenor.export.source import Source

__all__ = ["moved"]


def moved(quantization: Quantization, source: Source) -> Quantization:
    """Return a quantization of a source that is the same model, perhaps at another batch size.

    Args:
        quantization: What calibration found.
        source: The folded source that is exported; fake quantisation is taken out of it where it
            was taken out of the one that was calibrated.

    Raises:
        ArgumentError: The quantization is another model's.
    """
    old = quantization.source.graph.nodes
    for tried in (source, stripped(source)[0]):
        new = tried.graph.nodes
        if [n.op for n in old] == [n.op for n in new]:
            place = dict(zip(old, new, strict=True))
            schemes = {place[node]: scheme for node, scheme in quantization.schemes.items()}
            return replace(quantization, source=tried, schemes=schemes)
    raise ArgumentError(
        "export: the quantization must be of the model that is exported.",
        came=f"a quantization of {quantization.source.name!r} for {source.name!r}",
        fix="calibrate this model and signature, and give what came out",
    )
