"""Reductions that read reshaped values flat: scalars, stored or given, meet every element."""

import numpy as np
import pytest

from tenor.engine.backend import interpret, load
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.dtype import float32
from tenor.ir.node import Graph
from tenor.runtime import allocator


def constant(b):
    return b.const(2.0, float32)


def given(b):
    return b.leaf((), float32)


def one_by_one(b):
    return b.emit(ops.EXPAND, (b.leaf((1, 1), float32),), ((4, 3),))


def computed(b):
    return b.emit(ops.EXP, (b.leaf((), float32),))


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("scalar", [constant, given, one_by_one, computed])
def test_a_scalar_meets_every_element_of_a_flat_sum(scalar, stored):
    b = GraphBuilder()
    x = b.leaf((4, 3), float32)
    factor = scalar(b)
    product = b.emit(ops.MUL, (x, factor))
    flat = b.emit(ops.RESHAPE, (product,), ((12,),))
    total = b.emit(ops.SUM, (flat,), ((0,),))
    graph = Graph(b.nodes, [total, factor] if stored and factor.op is not ops.LEAF else [total])
    rng = np.random.default_rng(0)
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    arrays = [rng.standard_normal(n.shape).astype(np.float32) for n in leaves]
    buffers = [allocator.copy_of(a) for a in arrays]
    outputs, code, _ = load(graph).run(buffers, [])
    assert code == 0
    for found, node, wanted in zip(
        outputs, graph.outputs, interpret(graph, buffers, []), strict=True
    ):
        np.testing.assert_allclose(found.array(np.dtype("float32"), node.shape), wanted, rtol=1e-5)
