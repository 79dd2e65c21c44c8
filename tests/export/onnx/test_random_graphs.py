"""Random graphs of any operations, run by ONNX Runtime, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.export.onnx.table import MISSING
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph, Node
from tenor.ir.text import to_text
from tests.export.onnx.test_rows import apart, run, source_of
from tests.ops.differential import drawn, small, wide
from tests.properties.random_graphs import Maker

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SEEDS = range(30_000, 30_120, 10)
UNORDERED = (ops.MAX, ops.MIN, ops.ARGMAX, ops.ARGMIN)


def made(seed):
    """Return a graph and what it is given, moderate numbers; None where ONNX has no form for it."""
    maker = Maker(seed, exact=True)
    graph = maker.graph(int(np.random.default_rng(seed).integers(3, 31)))
    if any(node.op.name in MISSING for node in graph.nodes):
        return None
    return graph, drawn([leaf._replace(draw=tame(leaf.draw)) for leaf in maker.leaves], seed)


def tame(draw):
    """Return a draw of indices as it is, and small numbers otherwise."""
    return lambda rng, shape, dtype: (draw if dtype is dt.int64 else small)(rng, shape, dtype)


def without_bfloat16(graph, arrays):
    """Return a graph that is given, and gives, float32 for bfloat16, which NumPy lacks."""
    new, nodes, given = {}, [], iter(arrays)
    values = []
    for node in graph.nodes:
        if node.op is ops.LEAF:
            values.append(wide(next(given), node.dtype))
        if node.op is not ops.LEAF or node.dtype is not dt.bfloat16:
            inputs = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, inputs, node.attrs, node.shape, node.dtype)
            nodes.append(new[node])
            continue
        leaf = Node(ops.LEAF, (), (node.shape, dt.float32), node.shape, dt.float32)
        new[node] = Node(ops.CAST, (leaf,), (dt.bfloat16,), node.shape, dt.bfloat16)
        nodes += [leaf, new[node]]
    ends = []
    for node in graph.outputs:
        end = new[node]
        if node.dtype is dt.bfloat16:
            end = Node(ops.CAST, (end,), (dt.float32,), node.shape, dt.float32)
            nodes.append(end)
        ends.append(end)
    return Graph(nodes, ends), values


def stated(graph, arrays):
    """Tell whether ONNX says what comes out: no NaN is put in order, and no integers overflow."""
    asked = [n for n in graph.nodes if n.op in (*UNORDERED, ops.SUM, ops.PROD)]
    values = reference.run(Graph(graph.nodes, [n.inputs[0] for n in asked]), arrays, [])
    return all(map(fits, asked, values))


def fits(node, value):
    """Tell whether a reduction of a value is one that ONNX says the result of."""
    dtype = node.inputs[0].dtype
    if dtype.kind == "float":
        return node.op not in UNORDERED or not np.isnan(wide(value, dtype)).any()
    large = np.maximum(1, np.abs(value.astype(np.float64)))
    bits = np.log2(large).sum() if node.op is ops.PROD else np.log2(max(1, large.sum()))
    return node.op in UNORDERED or bits < 31


@pytest.mark.parametrize("first", SEEDS)
def test_a_random_graph_equals_the_reference(first):
    tried = 0
    for seed in range(first, first + 10):
        found = made(seed)
        if found is None or not stated(*found):
            continue
        graph, arrays = without_bfloat16(*found)
        want = reference.run(graph, arrays, [])
        got = run(source_of(graph), arrays)
        for k, (a, b, node) in enumerate(zip(got, want, graph.outputs, strict=True)):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            inner = node.inputs[0].dtype if node.op is ops.CAST else node.dtype
            bad = apart(a, b, inner if inner.kind == "float" else node.dtype)
            story = f"seed {seed}, output {k}: {a[bad][:3]} for {b[bad][:3]}\n{to_text(graph)}"
            assert not np.any(bad), story
        tried += 1
    assert tried > 1
