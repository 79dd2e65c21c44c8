"""`export_tflite`: a model to a `.tflite` file that was run before it was put in place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError, ExportError
from tenor.export.fold import folded
from tenor.export.quantize.moving import moved
from tenor.export.source import opened, source_of
from tenor.export.tflite.check import compared
from tenor.export.tflite.convert import Form, converted
from tenor.export.tflite.flatbuffer import flatbuffers
from tenor.save.atomic import replace_file

if TYPE_CHECKING:
    import os

    from tenor.export.quantize.record import Quantization, Scheme
    from tenor.ir.node import Node

__all__ = ["ALLOWED", "Exported", "export_tflite"]

ALLOWED: Final = 1e-4
"""How far a float file may be from the model, as a part of the largest magnitude."""
KINDS: Final = {"edges": ("float32", "int8"), "weights": ("float32", "float16", "int8")}
"""What arguments may be."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: Where it is.
        bytes: Its size.
        operators: How many operators of each kind it has.
        difference: The largest difference from the model on its example rows, as a part of the
            largest magnitude; None where it was not run.
        rows: How many rows it was run on: 0 without LiteRT, or without example rows.
    """

    path: Path
    bytes: int
    operators: dict[str, int]
    difference: float | None
    rows: int


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    *,
    example_inputs: Any = None,
    signature: str | None = None,
    batch: int = 1,
    quantization: Quantization | None = None,
    channels_last: bool = False,
    edges: str = "float32",
    weights: str = "float32",
) -> Exported:
    """Write a model as a `.tflite` file, which LiteRT and TensorFlow Lite run.

    Where LiteRT is installed the file is run on the model's example rows first: a float file that
    differs by more than 1e-4 of the largest magnitude is not written.

    Args:
        model: A bundle's path, a loaded model, or a module.
        path: Where to write.
        example_inputs: What a module is recorded on, as for `save`.
        signature: Which signature; the model's own by default.
        batch: The size of dims that may vary.
        quantization: How values are held in eight bits, or weights alone; None: all is float.
        channels_last: Whether inputs of four dims are [N, H, W, C] in the file.
        edges: With a quantization, the dtype of the file's inputs and outputs: "float32" or
            "int8".
        weights: Without one, how weights of convolutions and products are held: "float32",
            "float16", which LiteRT widens as it loads, or "int8", where it rounds what meets them
            as it runs.

    Raises:
        ExportError: The model has an operation the format has not, or the file does not do what
            the model does. Nothing was written.
        ArgumentError: `edges` or `weights` is none of these; the quantization is another model's.
        SaveError: The file could not be written.
    """
    for name, given in (("edges", edges), ("weights", weights)):
        if given not in KINDS[name]:
            kinds = ", ".join(map(repr, KINDS[name]))
            raise ArgumentError(f"export: {name} is one of {kinds}.", came=repr(given))
    flatbuffers()
    source = folded(source_of(opened(model, example_inputs), signature, batch=batch))
    schemes: dict[Node, Scheme] = {}
    if quantization is not None:
        quantization = moved(quantization, source)
        source, schemes = quantization.source, quantization.schemes
        weights = "int8" if quantization.method == "weights" else "float32"
    data, operators = converted(source, schemes, Form(channels_last, edges, weights))
    exact = not schemes and weights == "float32"
    difference, rows = compared(
        data, source, channels_last=channels_last, allowed=ALLOWED if exact else None
    )
    if exact and difference is not None and difference > ALLOWED:
        raise ExportError(
            f"export: LiteRT must answer as the model does, within {ALLOWED:g} of the largest "
            "magnitude.",
            came=f"{difference:.2g} on {rows} example rows",
            fix="this is a mistake of the exporter: report it with the model; nothing was written",
        )
    replace_file(path, [data])
    return Exported(Path(path), len(data), operators, difference, rows)
