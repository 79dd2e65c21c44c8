"""THE TABLE: what each primitive is in ONNX, or why it cannot be there and what to use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.errors import ExportError
from tenor.export.onnx.contraction import CONTRACTION
from tenor.export.onnx.elementwise import ELEMENTWISE
from tenor.export.onnx.movement import INDEX, MOVEMENT
from tenor.export.onnx.reduce import ORDER, REDUCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.onnx.writer import Refused, Writer
    from tenor.export.source import Source
    from tenor.ir.node import Node

    Row = Callable[[Writer, Node], str]

__all__ = ["MISSING", "ROWS", "check_operations", "refused"]


def _first(w: Writer, node: Node) -> str:
    """Return the first operand: what the tape says means nothing here."""
    return w.value(node.inputs[0])


def _leaf(w: Writer, node: Node) -> str:
    """Return what is named already: an input or a weight."""
    return w.names[node]


ROWS: Final[dict[str, Row]] = {
    "leaf": _leaf,
    **ELEMENTWISE, **REDUCE, **MOVEMENT, **INDEX, **CONTRACTION, **ORDER,
    **dict.fromkeys(("detach", "variable", "function", "barrier"), _first),
}  # fmt: skip
EIGHT: Final = (
    "it stands in graphs of integers alone, which are made for machines, not for other runtimes",
    "give the model in floats with quantization=, which writes a QDQ model",
)
MISSING: Final = {
    "conv_int8": EIGHT,
    "quantize": EIGHT,
    "scalar": (
        "a number that changes from run to run is no tensor of the signature",
        "make it an input of the model, a tensor of shape []",
    ),
    "random_bits": (
        "ONNX has random numbers of no stated generator, which would never agree",
        "save the model in eval() mode, or make the random numbers an input",
    ),
    "attention_gradient": (
        "it is part of training, and ONNX Runtime has no operation for it",
        "export a signature that predicts; or take the gradient with "
        "scaled_dot_product_attention written as products and a softmax",
    ),
}
"""Primitives without an ONNX form: why, and what to use instead."""


def _refusal(source: Source, found: dict[Node, tuple[str, str]]) -> ExportError:
    """Return the error that names operations that cannot be written, where they are, and why."""
    came = [
        f"{node.op.name} of {node.dtype.name} {list(node.shape)}, "
        f"{source.where(node)}{_site(node)}: {why}"
        for node, (why, _) in found.items()
    ]
    fixes = dict.fromkeys(instead for _, instead in found.values())
    where = next((node.site for node in found if node.site), None)
    return ExportError(
        f"onnx: every operation of {source.name!r} must have an ONNX form.",
        came=came,
        fix="; ".join(fixes),
        where=where,
    )


def _site(node: Node) -> str:
    return f" at {node.site[0]}:{node.site[1]}" if node.site else ""


def check_operations(source: Source) -> None:
    """Refuse a graph with primitives that cannot be written; all of them are named.

    Raises:
        ExportError: There is one.
    """
    found = {n: MISSING[n.op.name] for n in source.graph.nodes if n.op.name in MISSING}
    if found:
        raise _refusal(source, found)


def refused(source: Source, node: Node, why: Refused) -> ExportError:
    """Return the error for one use of an operation."""
    return _refusal(source, {node: (why.why, why.instead)})
