"""A source to the bytes of a file: every layer written in turn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tenor.errors import ExportError
from tenor.export.patterns import layers_of
from tenor.export.tflite.job import done
from tenor.export.tflite.rows import GIVEN, row_of
from tenor.export.tflite.schema import TYPES
from tenor.export.tflite.writer import IMAGE, Value, Writer, moved, refused
from tenor.ir import dtype as dt
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.export.quantize.record import Scheme
    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["Form", "converted"]


class Form(NamedTuple):
    """What the file is to be like.

    Attributes:
        channels_last: Whether image inputs are [N, H, W, C].
        edges: The dtype of inputs and outputs held in eight bits: "float32" or "int8".
        weights: How the weights of float layers are held: "float32", "float16" or "int8".
    """

    channels_last: bool = False
    edges: str = "float32"
    weights: str = "float32"


def converted(
    source: Source, schemes: dict[Node, Scheme], form: Form
) -> tuple[bytes, dict[str, int]]:
    """Return a file's bytes, and how many operators of each kind it has.

    Raises:
        ExportError: The model has something the format has not; names it.
    """
    layers = [layer for layer in layers_of(source) if layer.kind not in GIVEN]
    rows = [(layer, row_of(source, layer)) for layer in layers]
    writer = Writer(source, schemes, form.weights)
    inputs = {name: _given(writer, name, node, form) for name, node in source.inputs.items()}
    for layer, row in rows:
        if writer.known(layer.output) is None:
            _sized(source, layer.output)
            done(writer, layer, row)
    outputs = {name: _wanted(writer, node, form) for name, node in source.outputs.items()}
    data = writer.file(inputs, outputs)
    return data, dict(Counter(operator.name for operator in writer.operators))


def _sized(source: Source, node: Node) -> None:
    if not size(node.shape):
        raise refused(source, node, "a .tflite file has no tensors without elements.",
                      "export at a size that leaves something")  # fmt: skip


def _given(writer: Writer, name: str, node: Node, form: Form) -> Value:
    """Add an input."""
    if node.dtype not in TYPES:
        raise ExportError(
            "export: a .tflite file has inputs of float32, integers and bool.",
            came=f"input {name!r} is {node.dtype.name}",
            fix="take float32 in the model's forward()",
        )
    _sized(writer.source, node)
    last = form.channels_last and len(node.shape) == IMAGE
    eight = form.edges == "int8" and node.dtype is dt.float32 and node in writer.schemes
    scheme = writer.schemes[node] if eight else None
    shape = moved(node.shape, last=last)
    value = writer.tensor(name, shape, dt.int8 if eight else node.dtype, scheme)
    writer.bind(node, value, last=last)
    return value


def _wanted(writer: Writer, node: Node, form: Form) -> Value:
    """Return an output's tensor."""
    held = node in writer.schemes or writer.in_eight(node) is not None
    return writer.get(node, eight=form.edges == "int8" and node.dtype is dt.float32 and held)
