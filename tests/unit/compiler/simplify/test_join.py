"""The join pass: which sums of pieces become concatenations, and that no bit changes."""

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.compiler.simplify import dead, join
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.dtype import float32, int64
from tenor.ir.node import Graph
from tenor.ir.verify import verify


def summed(spans, extent, *, dim=0, rank=1, dtype=float32, value=0.0):
    """Return a graph that adds up pieces at spans of one dim."""
    b = GraphBuilder()
    total = None
    for start, stop in spans:
        shape = [2] * rank
        shape[dim] = stop - start
        low, high = [0] * rank, [0] * rank
        low[dim], high[dim] = start, extent - stop
        leaf = b.leaf(tuple(shape), dtype)
        piece = b.emit(ops.PAD, (leaf,), (tuple(low), tuple(high), value))
        total = piece if total is None else b.emit(ops.ADD, (total, piece))
    return Graph(b.nodes, [total])


def names(graph):
    """Return the operations of a graph, parameters left out."""
    return [n.op.name for n in graph.nodes if n.op.family != "parameter"]


def results(graph):
    """Return the graph's outputs on numbers with both zeros among them."""
    rng = np.random.default_rng(0)
    inputs = []
    for leaf in graph.nodes:
        if leaf.op is ops.LEAF:
            x = rng.integers(-1, 2, leaf.shape).astype(leaf.dtype.numpy)
            inputs.append(np.where(x == 0, -x, x) if x.dtype.kind == "f" else x)
    return reference.run(graph, inputs, [])


JOINED = {
    "in order": ([(0, 2), (2, 3), (3, 6)], {"extent": 6}),
    "from the end": ([(4, 6), (2, 4), (0, 2)], {"extent": 6}),
    "with gaps": ([(1, 2), (4, 5)], {"extent": 7}),
    "along the last dim": ([(0, 3), (3, 4)], {"extent": 4, "dim": 1, "rank": 2}),
    "integers": ([(0, 3), (3, 4)], {"extent": 4, "dtype": int64, "value": 0}),
}


@pytest.mark.parametrize("case", JOINED)
def test_disjoint_pieces_are_concatenated_to_the_same_bits(case):
    spans, options = JOINED[case]
    graph = summed(spans, **options)
    made = dead(join(graph))
    verify(made, "graph")
    assert "concat" in names(made)
    assert "pad" not in names(made)
    for before, after in zip(results(graph), results(made), strict=True):
        assert before.tobytes() == after.tobytes()


KEPT = {
    "overlap": ([(0, 3), (2, 4)], {"extent": 5}),
    "another filling": ([(0, 2), (2, 4)], {"extent": 4, "value": 1.0}),
    "one piece": ([(1, 2)], {"extent": 4}),
}


@pytest.mark.parametrize("case", KEPT)
def test_other_sums_stay(case):
    spans, options = KEPT[case]
    graph = summed(spans, **options)
    assert names(dead(join(graph))) == names(graph)


def test_a_part_of_the_sum_that_is_used_elsewhere_is_joined_as_well():
    graph = summed([(0, 1), (1, 2), (2, 3)], 3)
    inner = next(n for n in graph.nodes if n.op is ops.ADD)
    both = Graph(graph.nodes, [*graph.outputs, inner])
    made = dead(join(both))
    assert names(made).count("concat") == 2
    for before, after in zip(results(both), results(made), strict=True):
        assert before.tobytes() == after.tobytes()


def test_pieces_along_different_dims_stay_a_sum():
    b = GraphBuilder()
    x, y = b.leaf((1, 3), float32), b.leaf((3, 1), float32)
    left = b.emit(ops.PAD, (x,), ((0, 0), (2, 0), 0.0))
    right = b.emit(ops.PAD, (y,), ((0, 0), (0, 2), 0.0))
    graph = Graph(b.nodes, [b.emit(ops.ADD, (left, right))])
    assert "concat" not in names(join(graph))
