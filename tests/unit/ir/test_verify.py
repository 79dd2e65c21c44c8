"""Each legality rule: a graph that breaks it is refused by the rule's name."""

import pytest

from tenor.errors import CompileError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import Graph, Node
from tenor.ir.op import Op
from tenor.ir.verify import NODE_RULES, STAGES, verify

F32 = dt.float32
X = Node(ops.LEAF, (), ((2, 3), F32), (2, 3), F32)
Y = Node(ops.LEAF, (), ((2, 3), F32), (2, 3), F32)
N = Node(ops.LEAF, (), ((2, 3), dt.int64), (2, 3), dt.int64)


def made(op, inputs, attrs, shape=(2, 3), dtype=F32):
    return Node(op, inputs, attrs, shape, dtype)


NEG = made(ops.NEG, (X,), ())
BROKEN = {
    "order": [Graph([NEG, X], [NEG]), Graph([NEG], [NEG]), Graph([X, X], [X])],
    "outputs": [Graph([X], [NEG])],
    "updates": [
        Graph([X, NEG], [NEG], [(NEG, 0)]),
        Graph([X, NEG], [NEG], [(X, 1)]),
        Graph([X, NEG], [NEG], [(N, 0)]),
        Graph([X, N, NEG], [NEG], [(N, 0)]),
        Graph([X, NEG], [NEG, NEG], [(X, 0), (X, 1)]),
        Graph([X, Y, NEG], [NEG], [(X, 0), (Y, 0)]),
    ],
    "reachable": [Graph([X, NEG], [X])],
}
BROKEN_NODES = {
    "known": [made(Op("neg", "elementwise", 1, "", "an impostor"), (X,), ())],
    "arity": [made(ops.ADD, (X,), ()), made(ops.CONCAT, (), (0,)), made(ops.NEG, (X, X), ())],
    "attributes": [
        made(ops.SUM, (X,), ((1, 0),)), made(ops.SUM, (X,), ([0],)), made(ops.SUM, (X,), ()),
        made(ops.MAX, (X,), ((0,), "last")), made(ops.CUMSUM, (X,), (0, 1)),
        made(ops.CUMSUM, (X,), (-1, True)), made(ops.RESHAPE, (X,), ((-1,),)),
        made(ops.CAST, (X,), ("f32",)), made(ops.PAD, (X,), ((0, 0), (0, 0), "0")),
        made(ops.SLICE, (X,), ((0, 0), (2, 3), (1, 0))),
    ],
    "per-dim": [
        made(ops.SLICE, (X,), ((0,), (2, 3), (1, 1))),
        made(ops.PAD, (X,), ((0,), (0, 0), 0)),
    ],
    "operands": [
        made(ops.CONCAT, (X, N), (0,)), made(ops.SLICE_UPDATE, (X, N), ((0, 0), (1, 1))),
        made(ops.RANDOM_BITS, (X, N), ((2, 3),), dtype=dt.uint32),
        made(ops.CONST, (), (256, dt.uint8), (), dt.uint8),
        made(ops.CONST, (), (-1, dt.uint8), (), dt.uint8),
        made(ops.CONST, (), (2, dt.bool_), (), dt.bool_),
        made(ops.CONST, (), (0.0, dt.int8), (), dt.int8),
        made(ops.FOLD, (X,), (1, 3, 1, 1)),
    ],
    "inferred": [
        made(ops.NEG, (X,), (), (3, 2)), made(ops.NEG, (X,), (), (2, 3), dt.float64),
        made(ops.ADD, (X, N), ()), made(ops.SUM, (X,), ((2,),)), made(ops.EXPAND, (X,), ((2, 4),)),
        made(ops.PAD, (X,), ((2**40, 2**40), (0, 0), 0), (2**40 + 2, 2**40 + 3)),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("rule", "graph"), [(r, g) for r, gs in BROKEN.items() for g in gs])
def test_a_graph_that_breaks_a_rule_is_refused_by_its_name(rule, graph):
    with pytest.raises(CompileError, match=f"rule '{rule}'"):
        verify(graph, "pruned")


@pytest.mark.parametrize(
    ("rule", "node"), [(r, n) for r, ns in BROKEN_NODES.items() for n in ns], ids=str
)
def test_a_node_that_breaks_a_rule_is_named_with_it(rule, node):
    with pytest.raises(CompileError) as caught:
        verify(Graph([X, N, node], [node]))
    assert f"%2 = {node!r}: [{rule}]" in str(caught.value)


def test_every_rule_is_tested():
    assert set(BROKEN_NODES) == {rule.name for rule in NODE_RULES}
    assert {*BROKEN, "nodes"} == {rule.name for rules in STAGES.values() for rule in rules}


def test_a_legal_graph_is_returned_as_it_is():
    b = GraphBuilder()
    x, w = b.leaf((4, 8), F32), b.leaf((8, 2), F32)
    y = b.sub(w, b.matmul(b.transpose(x), b.matmul(x, w)))
    graph = Graph(b.nodes, [y], [(w, 0)])
    for stage in STAGES:
        assert verify(graph, stage) is graph


def test_an_unused_parameter_is_no_dead_node():
    verify(Graph([X, N, NEG], [NEG]), "pruned")


def test_a_cotangent_of_the_wrong_shape_is_refused():
    w = made(ops.LEAF, (), ((2, 3, 2), F32), (2, 3, 2))
    g = made(ops.LEAF, (), ((1, 2, 4), F32), (1, 2, 4))
    attrs = ((1,), ((0, 0),), (1,), 1)
    fits = made(ops.CONV_INPUT, (g, w), ((1, 3, 5), *attrs), (1, 3, 5))
    verify(Graph([w, g, fits], [fits]))
    wrong = made(ops.CONV_INPUT, (g, w), ((1, 3, 7), *attrs), (1, 3, 7))
    with pytest.raises(CompileError, match="g must have shape"):
        verify(Graph([w, g, wrong], [wrong]))
