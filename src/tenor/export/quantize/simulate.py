"""The float graph that rounds as an eight-bit machine does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tenor.export.copying import Copy
from tenor.export.quantize.layers import layers
from tenor.export.quantize.rewriting import real_weight, rounded
from tenor.export.quantize.scaling import held_weights
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.export.quantize.record import Quantization
    from tenor.export.source import Source
    from tenor.ir.node import Node

__all__ = ["simulate"]


def simulate(quantization: Quantization) -> Source:
    """Return a source that computes in float32 and rounds as the record says.

    Weights are those read back from eight bits. A value is divided, rounded, clamped and multiplied
    where it would be stored: at the end of each layer (see `layers`), not between a product, its
    bias and its clipping.

    Example:
        >>> import tenor as tn
        >>> from tenor.export.fold import folded
        >>> from tenor.export.quantize import calibrate
        >>> from tenor.export.source import opened, source_of
        >>> source = folded(source_of(opened(tn.nn.Linear(3, 2), tn.ones(4, 3)), batch=4))
        >>> [n.op.name for n in simulate(calibrate(source, source.rows)).graph.nodes].count("round")
        2
    """
    source, schemes = quantization.source, quantization.schemes
    ends = {layer.end for layer in layers(source)}
    copy = Copy()
    new: dict[Node, Node] = {}
    for node in source.graph.nodes:
        made = node if node.op is ops.LEAF else copy.over(node, new)
        scheme = schemes.get(node)
        new[node] = rounded(copy, made, scheme) if node in ends and scheme is not None else made
    made_source = copy.done(source, new)
    names = {leaf: name for name, leaf in source.leaves.items()}
    read_back = {
        names[held.leaf]: real_weight(source.weights[names[held.leaf]], schemes[held.leaf])
        for held in held_weights(source)
        if held.leaf in schemes
    }
    kept = {n: a for n, a in read_back.items() if n in made_source.weights}
    return replace(made_source, weights={**made_source.weights, **kept})
