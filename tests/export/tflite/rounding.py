"""A quantization by the least and largest values, and what a graph that rounds so answers.

Both by the reference interpreter: no exporter's code takes part.
"""

import numpy as np

from tenor.compiler.emit import reference
from tenor.export.fold import folded
from tenor.export.patterns import layers_of
from tenor.export.quantize.record import Quantization, Scheme
from tenor.export.source import opened, source_of
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node

CHANNELS = {ops.CONV: 0, ops.CONV_INPUT: 1, ops.MATMUL: 1}
"""The dim of a weight whose indices are output channels."""
PRESCRIBED = {
    "softmax": (1 / 256, -128), "sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0),
    "log_softmax": (16 / 256, 127),
}  # fmt: skip
"""Scale and zero point of results that the format prescribes."""
KEPT = ("max_pool", "avg_pool", "reshape")
"""Layers whose results have their operand's."""


def values(source, rows):
    """Return every float32 value of a graph for one batch: inputs and what is computed."""
    weights = set(source.leaves.values())
    nodes = [n for n in source.graph.nodes if n.dtype is dt.float32 and n not in weights]
    graph = Graph(source.graph.nodes, nodes)
    return dict(
        zip(nodes, reference.run(graph, [*rows, *source.weights.values()], []), strict=True)
    )


def minmax(model, rows=8):
    """Return a quantization of a model by the ranges its example rows have."""
    source = folded(source_of(opened(model)))
    low, high, masked = {}, {}, set()
    for i in range(rows):
        one = [source.rows[name][i : i + 1] for name in source.inputs]
        for node, value in values(source, one).items():
            if not np.isfinite(value).all():
                masked.add(node)
                continue
            low[node] = min(low.get(node, 0.0), float(value.min(initial=0)))
            high[node] = max(high.get(node, 0.0), float(value.max(initial=0)))
    schemes = {node: ranged(low[node], high[node]) for node in low if node not in masked}
    for name, leaf in source.leaves.items():
        for node in source.graph.nodes:
            if node.op in CHANNELS and node.inputs[1] is leaf:
                schemes[leaf] = by_channel(source.weights[name], CHANNELS[node.op])
    for layer in layers_of(source):
        if layer.kind in KEPT and layer.inputs[0] in schemes:
            schemes[layer.output] = schemes[layer.inputs[0]]
        elif layer.kind in PRESCRIBED and low.get(layer.output, -99) >= -16:
            scale, zero = PRESCRIBED[layer.kind]
            schemes[layer.output] = Scheme(
                np.float32(scale).reshape(()), np.int32(zero).reshape(())
            )
    return Quantization(source, schemes)


def step(quantization):
    """Return the largest step of an output, as a part of its largest magnitude."""
    source, schemes = quantization.source, quantization.schemes
    return max(
        float(schemes[node].scale / np.abs(source.answers[name]).max())
        for name, node in source.outputs.items()
        if node in schemes
    )


def ranged(low, high):
    """Return a scheme of one scale that holds [low, high] and 0."""
    scale = max((high - low) / 255, 1e-9)
    zero = np.clip(np.rint(-128 - low / scale), -128, 127)
    return Scheme(np.float32(scale).reshape(()), np.int32(zero).reshape(()))


def by_channel(weight, axis):
    """Return a weight's symmetric scheme, one scale a channel."""
    rest = tuple(d for d in range(weight.ndim) if d != axis)
    scale = np.maximum(np.abs(weight).max(rest) / 127, 1e-9).astype(np.float32)
    return Scheme(scale, np.zeros(scale.size, np.int32), axis)


def simulated(quantization, rows):
    """Return the outputs for rows, one after another, of a graph that rounds after every layer."""
    source, schemes = quantization.source, quantization.schemes
    ends = {layer.output for layer in layers_of(source)} | set(source.inputs.values())
    answers = {name: [] for name in source.outputs}
    for i in range(len(next(iter(rows.values())))):
        known = {
            leaf: rounded(source.weights[name], schemes.get(leaf))
            for name, leaf in source.leaves.items()
        }
        for name, leaf in source.inputs.items():
            known[leaf] = rounded(rows[name][i : i + 1], schemes.get(leaf))
        for node in source.graph.nodes:
            if node not in known:
                known[node] = one(node, known)
                if node in ends:
                    known[node] = rounded(known[node], schemes.get(node))
        for name, node in source.outputs.items():
            answers[name].append(known[node])
    return {name: np.concatenate(parts) for name, parts in answers.items()}


def rounded(value, scheme):
    """Return a value as a scheme holds it."""
    return value if scheme is None else scheme.real(scheme.stored(value))


def one(node, known):
    """Return what one operation makes of known values."""
    leaves = [Node(ops.LEAF, (), (x.shape, x.dtype), x.shape, x.dtype) for x in node.inputs]
    last = Node(node.op, tuple(leaves), node.attrs, node.shape, node.dtype)
    return reference.run(Graph([*leaves, last], [last]), [known[x] for x in node.inputs], [])[0]
