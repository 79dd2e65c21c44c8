"""Ranges found on example rows: a scheme for every float32 value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError
from tenor.export.quantize.layers import inherits, layers, root
from tenor.export.quantize.observed import Observed
from tenor.export.quantize.record import Quantization, Scheme
from tenor.export.quantize.running import Batches, Running, shown
from tenor.export.quantize.scaling import held_weights, range_scheme, weight_scheme
from tenor.export.quantize.threshold import check, kept_range
from tenor.export.quantize.trained import stripped
from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["calibrate", "weights_only"]

KNOWN: Final = {
    ops.SIGMOID: (1.0 / 256.0, -128), ops.TANH: (1.0 / 128.0, 0), "softmax": (1.0 / 256.0, -128),
}  # fmt: skip
"""(scale, zero point) of functions whose range is known; other runtimes ask for these very ones."""


def calibrate(
    source: Source, rows: Any, *, method: str = "minmax", percentile: float = 99.99
) -> Quantization:
    """Run example rows through a model and return the scheme of every float32 value.

    Activations: scale = (high - low) / 255, 0.0 among what is held exactly. Weights: symmetric, one
    scale an output channel. Where the model was trained with fake quantisation its operations are
    taken out of the graph, and the scales they learnt are kept. A value that is -inf on purpose (a
    mask) has no scheme and stays float32.

    Args:
        source: A folded source; rows are run in batches of its size.
        rows: Inputs by name, a tuple of them in the source's order, or the one input; a few
            hundred rows of what the model will meet.
        method: How a range is chosen: "minmax" keeps all; "percentile" clips the rarest elements
            at both ends; "entropy" clips where the least information is lost.
        percentile: What "percentile" keeps at each end, in percent.

    Returns:
        The record; its source is the one given, without fake quantisation.

    Raises:
        ArgumentError: Rows of other inputs, an unknown method, or a value that is NaN or infinite;
            the layer is named.
        ShapeError: Rows that do not fit.

    Example:
        >>> import tenor as tn
        >>> from tenor.export.fold import folded
        >>> from tenor.export.source import opened, source_of
        >>> source = folded(source_of(opened(tn.nn.Linear(3, 2), tn.ones(4, 3)), batch=4))
        >>> record = calibrate(source, source.rows)
        >>> float(record.schemes[source.inputs["input"]].scale) == 1 / 255
        True
    """
    check(method, percentile)
    source, learnt = stripped(source)
    batches = Batches(source, rows)
    seen = _observe(source, batches, histogram=method != "minmax")
    _refuse(source, seen)
    ranges = {
        node: range_scheme(*kept_range(found, method, percentile))
        for node, found in seen.items()
        if not found.infinities
    }
    return Quantization(source, _schemes(source, ranges, learnt), method)


def weights_only(source: Source, *, bits: int = 8) -> Quantization:
    """Return the schemes of the weights alone: everything else is computed in float32.

    Convolutions' and products' weights and tables are held in a byte each, a quarter of their
    size; no rows are needed.

    Args:
        source: A folded source.
        bits: From 2 to 8. With fewer a weight still takes a byte, of few values: a download that
            is compressed becomes smaller.

    Raises:
        ArgumentError: Another number of bits, or a weight that is NaN or infinite.
    """
    if not 2 <= bits <= 8:
        raise ArgumentError(
            "weights_only: bits lies in 2..8.", came=repr(bits), fix="8 is nearly exact"
        )
    source, _ = stripped(source)
    return Quantization(source, _weights(source, bits), "weights")


# -- what is seen ---------------------------------------------------------------------------------
def _observe(source: Source, batches: Batches, histogram: bool) -> dict[Node, Observed]:
    """Return what was seen of every value that has a range of its own."""
    leaves = [leaf for leaf in source.inputs.values() if leaf.dtype is dt.float32]
    masked = _masked(source)
    inner = [n for n in source.graph.nodes if _ranged(n, masked)]
    seen = {node: Observed(histogram) for node in (*leaves, *inner)}
    places = [list(source.inputs.values()).index(leaf) for leaf in leaves]
    run = Running(source, inner)
    for inputs, _ in shown(batches, "calibrating", len(batches)):
        for leaf, at in zip(leaves, places, strict=True):
            seen[leaf].add(inputs[at])
        for node, value in zip(inner, run(inputs), strict=True):
            seen[node].add(value)
    return seen


def _ranged(node: Node, masked: set[Node]) -> bool:
    """Tell whether a value has a range of its own; the largest of masked ones has."""
    if node.dtype is not dt.float32 or node.op.family == "parameter" or node.op is ops.CONST:
        return False
    return not inherits(node) or (node.op in (ops.MAX, ops.MIN) and root(node) in masked)


def _refuse(source: Source, seen: Mapping[Node, Observed]) -> None:
    """Refuse values that are NaN, or infinite where nothing in the graph says so."""
    masked = _masked(source)
    for node, found in seen.items():
        if found.nans or (found.infinities and node not in masked):
            kind = "NaN" if found.nans else "infinite"
            raise ArgumentError(
                f"calibrate: every value must be finite, but {_named(source, node)} gives others.",
                came=f"{found.nans or found.infinities} elements that are {kind}",
                fix="look at the rows given, and at the weights of this layer",
            )


def _masked(source: Source) -> set[Node]:
    """Return the values that may be infinite on purpose: made of a constant that is."""
    leaves = {leaf: source.weights[name] for name, leaf in source.leaves.items()}
    found: set[Node] = set()
    for node in source.graph.nodes:
        if node.op is ops.CONST:
            endless = isinstance(node.attrs[0], float) and math.isinf(node.attrs[0])
        elif node.op is ops.PAD:
            endless = math.isinf(float(node.attr("value")))
        elif node in leaves:
            endless = leaves[node].dtype.kind == "f" and bool(np.isinf(leaves[node]).any())
        else:
            endless = False
        if endless or (node.op.family != "contraction" and any(x in found for x in node.inputs)):
            found.add(node)
    return found


def _named(source: Source, node: Node) -> str:
    """Return what a value is called in an error: its layer's name."""
    for layer in layers(source):
        if node in layer.nodes:
            return f"layer {layer.name!r} ({node.op.name})"
    return f"an operation {node.op.name!r}"


# -- the table ------------------------------------------------------------------------------------
def _schemes(
    source: Source, ranges: dict[Node, Scheme], learnt: Mapping[Node, Scheme]
) -> dict[Node, Scheme]:
    """Return a scheme for each float32 node, in the graph's order."""
    fixed = {layer.end: KNOWN["softmax"] for layer in layers(source) if layer.kind == "softmax"}
    fixed |= {n: KNOWN[n.op] for n in source.graph.nodes if n.op in KNOWN}
    for node, (scale, zero) in fixed.items():
        ranges[node] = Scheme(np.array(scale, np.float32), np.array(zero, np.int32))
    arrays = {leaf: source.weights[name] for name, leaf in source.leaves.items()}
    for leaf, array in arrays.items():
        if leaf.dtype is dt.float32 and array.size and np.isfinite(array).all():
            ranges[leaf] = range_scheme(float(array.min()), float(array.max()))
    for node, scheme in learnt.items():
        ranges[root(node)] = scheme
    held = _weights(source, 8)
    found: dict[Node, Scheme] = {}
    for node in source.graph.nodes:
        if node.dtype is not dt.float32:
            continue
        if node in held:
            found[node] = held[node]
        elif node.op is ops.CONST:
            if math.isfinite(node.attrs[0]):
                found[node] = range_scheme(float(node.attrs[0]), float(node.attrs[0]))
        elif inherits(node) and node.inputs[0] in found:
            found[node] = found[node.inputs[0]]
        elif node in ranges:
            found[node] = ranges[node]
    return found


def _weights(source: Source, bits: int) -> dict[Node, Scheme]:
    """Return the schemes of the weights held in eight bits, and of what they are moved to."""
    names = {leaf: name for name, leaf in source.leaves.items()}
    found: dict[Node, Scheme] = {}
    for held in held_weights(source):
        name = names[held.leaf]
        scheme = weight_scheme(name, source.weights[name], held.axis, bits)
        found[held.leaf] = scheme
        for node, axis in held.moved.items():
            found[node] = Scheme(scheme.scale, scheme.zero_point, axis)
    return found
