"""A quantization for the same model at another batch size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tenor.errors import ArgumentError
from tenor.export.quantize.trained import stripped

if TYPE_CHECKING:
    from tenor.export.quantize.record import Quantization
    from tenor.export.source import Source
    from tenor.ir.op import Op

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
    old = quantization.source
    for tried in (source, stripped(source)[0]):
        if _operations(old) == _operations(tried) and _other_weight(old, tried) is None:
            place = dict(zip(old.graph.nodes, tried.graph.nodes, strict=True))
            schemes = {place[node]: scheme for node, scheme in quantization.schemes.items()}
            return replace(quantization, source=tried, schemes=schemes)
    weight = _other_weight(old, stripped(source)[0])
    what = "other operations" if weight is None else f"another {weight!r}"
    raise ArgumentError(
        "export: the quantization must be of the model that is exported.",
        came=f"a quantization of {old.name!r} for {source.name!r}, with {what}",
        fix="calibrate this model and signature, and give what came out",
    )


def _operations(source: Source) -> list[Op]:
    return [node.op for node in source.graph.nodes]


def _other_weight(one: Source, two: Source) -> str | None:
    """Return the name of a weight that only one has or that differs: scales would not fit it.

    What was worked out may have the batch for a dim, and then tells nothing.
    """
    for name in {**one.weights, **two.weights}:
        a, b = one.weights.get(name), two.weights.get(name)
        if a is None or b is None:
            return name
        if a is b or (a.shape != b.shape and one.batch != two.batch):
            continue
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return name
    return None
