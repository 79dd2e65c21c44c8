"""Every kind of layer that can be written, one row each; every primitive that cannot, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.export.tflite.moving import MOVING
from tenor.export.tflite.pointwise import LAST_DIM, POINTWISE
from tenor.export.tflite.spatial import SPATIAL
from tenor.export.tflite.writer import refused

if TYPE_CHECKING:
    from tenor.errors import ExportError
    from tenor.export.patterns import Layer
    from tenor.export.source import Source
    from tenor.export.tflite.job import Row

__all__ = ["GIVEN", "MISSING", "ROWS", "row_of"]

ROWS: Final[dict[str, Row]] = {**SPATIAL, **POINTWISE, **LAST_DIM, **MOVING}

GIVEN: Final = ("leaf", "const", "iota")
"""Primitives that become inputs or constants of the file."""

EIGHT: Final = (
    "a .tflite file is written from a model in floats and a record of its eight bits.",
    "give the model in floats with quantization=",
)
MISSING: Final = {
    "conv_int8": EIGHT,
    "quantize": EIGHT,
    "scalar": (
        "a .tflite file is given tensors, not Python numbers.",
        "make the number a tensor input of the model",
    ),
    "random_bits": (
        "a .tflite file has no random numbers that are the same on every machine.",
        "export the model in eval mode, and give random values as an input",
    ),
    "conv_weight": (
        "a .tflite file computes no gradients.",
        "export the signature that predicts; train before exporting",
    ),
    "attention_gradient": (
        "a .tflite file computes no gradients.",
        "export the signature that predicts; train before exporting",
    ),
}
"""Primitives without a row: why, and what to do instead."""


def row_of(source: Source, layer: Layer) -> Row:
    """Return how a layer of a source is written.

    Raises:
        ExportError: It cannot be.
    """
    if layer.kind in ROWS:
        return ROWS[layer.kind]
    raise _without(source, layer)


def _without(source: Source, layer: Layer) -> ExportError:
    why, instead = MISSING.get(
        layer.kind,
        (f"a .tflite file has no {layer.kind} of {layer.output.dtype.name}.",
         "convert with .to(float32) first"),
    )  # fmt: skip
    return refused(source, layer.output, why, instead)
