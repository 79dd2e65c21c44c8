"""A plain Quantization for tests: the smallest and largest value of everything on some rows."""

import numpy as np

from tenor.compiler.emit import reference
from tenor.export.fold import folded
from tenor.export.quantize.record import Quantization, Scheme
from tenor.export.source import source_of
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph

AXES = {ops.CONV: 0, ops.CONV_INPUT: 1, ops.MATMUL: 1}


def activation(values):
    """Return the scheme that holds everything between the extremes, and 0 exactly."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = (high - low) / 255 or 1.0
    zero = np.clip(np.rint(-128 - low / scale), -128, 127)
    return Scheme(np.float32(scale), np.int32(zero))


def weight(values, axis):
    """Return the symmetric scheme of each index of an axis."""
    others = tuple(d for d in range(values.ndim) if d != axis)
    scale = np.abs(values).max(others) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    return Scheme(scale, np.zeros(len(scale), np.int32), axis)


def quantized(model, batch, given):
    """Return a model's Quantization from the ranges that some inputs give."""
    source = folded(source_of(model, batch=batch))
    graph, leaves = source.graph, source.leaves.values()
    held = [n for n in graph.nodes if n.dtype is dt.float32 and n not in leaves
            and n.op not in (ops.CONST, ops.EXPAND)]  # fmt: skip
    inputs = [given[name] for name in source.inputs]
    values = reference.run(Graph(graph.nodes, held), [*inputs, *source.weights.values()], [])
    every = zip(held, values, strict=True)
    schemes = {n: activation(v) for n, v in every if np.isfinite(v).all()}
    arrays = {leaf: source.weights[name] for name, leaf in source.leaves.items()}
    for node in graph.nodes:
        if node.op in AXES and node.inputs[1] in arrays:
            schemes[node.inputs[1]] = weight(arrays[node.inputs[1]], AXES[node.op])
    return Quantization(source, schemes)
