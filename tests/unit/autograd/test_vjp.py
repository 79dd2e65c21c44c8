"""Each rule against central differences in float64, and the rule's own graph once more."""

from dataclasses import dataclass
from math import inf, prod

import numpy as np
import pytest

from tenor.autograd.part import Piece, Product, total
from tenor.autograd.vjp import VJP
from tenor.compiler.emit.reference import run
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import Node
from tenor.ir.verify import verify


class GraphTape:
    """One operation of a plain graph.

    `node` is a copy with inputs of its own: a rule that handed it to the builder, rather than
    asking for a value, would make a graph that does not verify.
    """

    def __init__(self, b, node, g, needed):
        strangers = tuple(Node(ops.LEAF, (), (), x.shape, x.dtype) for x in node.inputs)
        self.b, self.g = b, g
        self.node = Node(node.op, strangers, node.attrs, node.shape, node.dtype)
        self.real, self.needed = node, needed
        self.asked = set()

    def x(self, i):
        self.asked.add(i)
        return self.real.inputs[i]

    def y(self):
        self.asked.add("y")
        return self.real

    def needs(self, i):
        return self.real.inputs[i] in self.needed


def differentiate(b, output, wrt, used=None):
    """Append the gradients of a scalar node with respect to leaves; zeros where it has none.

    Names of the rules that were used are added to `used`.
    """
    used = set() if used is None else used
    nodes = tuple(b.nodes)
    needed = set(wrt)
    for node in nodes:
        if VJP[node.op.name] and node.dtype.is_floating_point and needed & set(node.inputs):
            needed.add(node)
    cotangents = {output: b.const(1.0, output.dtype)}
    for node in reversed(nodes):
        g = cotangents.get(node)
        if g is None or node not in needed or node in wrt:
            continue
        assert (g.shape, g.dtype) == (node.shape, node.dtype)
        used.add(node.op.name)
        parts = VJP[node.op.name](GraphTape(b, node, g, needed))
        assert len(parts) == len(node.inputs)
        for x, part in zip(node.inputs, parts, strict=True):
            assert (part is not None) <= (x in needed), f"{node} gave a gradient nobody needs"
            if isinstance(part, Piece | Product):
                (part,) = total(b, [part], x.shape, leaf=False)
            if part is not None:
                assert (part.shape, part.dtype) == (x.shape, x.dtype)
                cotangents[x] = b.add(cotangents[x], part) if x in cotangents else part
    return [cotangents.get(x) or b.zeros(x.shape, x.dtype) for x in wrt]


def weighted(b, values, weights):
    """Return sum_k sum(values[k] * weights[k]), a scalar."""
    total = b.const(0.0, dt.float64)
    for value, weight in zip(values, weights, strict=True):
        product = b.mul(value, weight)
        flat = b.sum(product, range(len(product.shape)))
        total = b.add(total, b.reshape(flat, ()))
    return total


@dataclass
class Case:
    """A function of leaves: its inputs' shapes and where their values are drawn."""

    name: str
    build: object
    shapes: tuple
    low: float = -2.0
    high: float = 2.0

    def __str__(self):
        return f"{self.name}-{'x'.join(str(list(s)).replace(' ', '') for s in self.shapes)}"


def unary(op, low=-2.0, high=2.0, shapes=((), (1,), (3, 5))):
    return [Case(op.name, lambda b, x, op=op: b.emit(op, (x,)), (s,), low, high) for s in shapes]


PAIRS = (((), ()), ((2, 3), (2, 3)), ((), (2, 3)), ((7,), ()))


def binary(op, low=-2.0, high=2.0):
    return [Case(op.name, lambda b, x, y, op=op: b.emit(op, (x, y)), s, low, high) for s in PAIRS]


def emits(op, attrs, *shapes, low=-2.0, high=2.0):
    return [Case(op.name, lambda b, *xs: b.emit(op, xs, attrs), shapes, low, high)]


def index_of(b, values):
    """Return an int64 node holding a list of positions."""
    flat = np.asarray(values)
    pieces = [b.reshape(b.const(int(v), dt.int64), (1,)) for v in flat.ravel()]
    return b.reshape(b.concat(pieces, 0), flat.shape)


def indexed(op, attrs, index, *shapes):
    def build(b, x, *source):
        return b.emit(op, (x, index_of(b, index), *source), attrs)

    return [Case(op.name, build, shapes)]


def choose(b, *branches):
    """where() with a condition made of positions: even ones take the first branch."""
    shape = next((x.shape for x in branches if x.shape), (3, 4))
    even = b.reshape(b.iota(prod(shape), dt.int64), shape)
    even = b.eq(b.emit(ops.MOD, (even, b.const(2, dt.int64))), b.const(0, dt.int64))
    return b.where(even, *branches)


def chosen_by_scalar(b, x, y):
    return b.where(b.const(True, dt.bool_), x, y)


def with_zeros(b, x):
    """Return x with elements 0 and 3 multiplied away."""
    n = x.shape[0]
    mask = b.cast(b.ne(b.emit(ops.MOD, (b.iota(n, dt.int64), b.const(3, dt.int64))),
                       b.const(0, dt.int64)), dt.float64)  # fmt: skip
    return b.prod(b.mul(x, mask), (0,))


CONV2 = ((2, 1), ((1, 2), (0, 1)), (1, 2), 2)
CONV1 = ((1,), ((0, 0),), (1,), 1)
CASES = [
    *unary(ops.NEG), *unary(ops.ABS), *unary(ops.EXP), *unary(ops.EXPM1), *unary(ops.LOG, 0.5),
    *unary(ops.LOG1P, -0.5), *unary(ops.SQRT, 0.5), *unary(ops.RSQRT, 0.5), *unary(ops.SIN),
    *unary(ops.COS), *unary(ops.TANH), *unary(ops.ERF), *unary(ops.SIGMOID, -4, 4),
    *unary(ops.BARRIER), *unary(ops.SIGN), *unary(ops.FLOOR), *unary(ops.CEIL),
    *unary(ops.TRUNC), *unary(ops.ROUND), *binary(ops.FLOORDIV, 0.5),
    *binary(ops.ADD), *binary(ops.SUB), *binary(ops.MUL), *binary(ops.DIV, 0.5),
    *binary(ops.MOD, 0.5), *binary(ops.POW, 0.5), *binary(ops.MAXIMUM), *binary(ops.MINIMUM),
    Case("square", lambda b, x: b.mul(x, x), ((5,),)),
    Case("where", choose, ((3, 4), (3, 4))), Case("where", choose, ((), (3, 4))),
    Case("where", choose, ((), ())), Case("where", chosen_by_scalar, ((2, 3), ())),
    *emits(ops.SUM, ((0, 2),), (2, 3, 2)), *emits(ops.SUM, ((1,),), (3, 5)),
    *emits(ops.PROD, ((1,),), (3, 5)), *emits(ops.PROD, ((0, 2),), (2, 3, 4)),
    *emits(ops.PROD, ((0,),), (1,)),
    Case("prod", with_zeros, ((6,),)), Case("prod", with_zeros, ((3,),)),
    *emits(ops.MAX, ((1,), "even"), (3, 5)), *emits(ops.MAX, ((0, 2), "even"), (2, 3, 2)),
    *emits(ops.MAX, ((1,), "first"), (3, 5)), *emits(ops.MAX, ((0, 2), "first"), (2, 3, 2)),
    *emits(ops.MIN, ((0,), "even"), (3, 5)), *emits(ops.MIN, ((0, 1), "first"), (3, 5)),
    *emits(ops.RESHAPE, ((3, 4),), (2, 6)), *emits(ops.EXPAND, ((2, 3, 4),), (3, 1)),
    *emits(ops.EXPAND, ((2, 3),), ()), *emits(ops.EXPAND, ((1, 3),), (3,)),
    *emits(ops.PERMUTE, ((2, 0, 1),), (2, 3, 4)),
    *emits(ops.SLICE, ((1, 0), (2, 3), (1, 1)), (4, 3)),
    *emits(ops.SLICE, ((4, 1), (3, 2), (-2, 2)), (5, 4)),
    *emits(ops.SLICE, ((0,), (0,), (1,)), (3,)),
    *emits(ops.SLICE, ((), (), ()), ()),
    *emits(ops.PAD, ((1, 0), (0, 2), 3.0), (2, 3)), *emits(ops.UNFOLD, (1, 3, 2, 1), (2, 8)),
    *emits(ops.UNFOLD, (0, 2, 1, 3), (6, 2)), *emits(ops.FOLD, (1, 8, 2, 1), (2, 3, 3)),
    *emits(ops.FOLD, (0, 6, 1, 3), (3, 2, 2)), *emits(ops.CONCAT, (1,), (2, 1), (2, 3), (2, 2)),
    *emits(ops.SLICE_UPDATE, ((1, 0), (2, 1)), (5, 3), (2, 2)),
    *emits(ops.SLICE_UPDATE, ((4,), (-2,)), (5,), (3,)),
    *indexed(ops.TAKE, (1,), [[2, 0], [2, 1]], (2, 3, 2)), *indexed(ops.TAKE, (0,), 1, (3, 2)),
    *indexed(ops.TAKE_ALONG, (1,), [[2, 0, 2], [1, 1, 0]], (2, 3)),
    *indexed(ops.TAKE_ALONG, (0,), [[2, 0]], (3, 4)),
    *indexed(ops.PUT, (1, "add"), [2, 0, 2], (2, 3, 2), (2, 3, 2)),
    *indexed(ops.PUT, (0, "set"), [2, 0], (4, 2), (2, 2)),
    *indexed(ops.PUT_ALONG, (1, "add"), [[2, 0, 2], [1, 1, 0]], (2, 3), (2, 3)),
    *indexed(ops.PUT_ALONG, (0, "set"), [[2, 0, 1]], (3, 4), (1, 3)),
    *emits(ops.MATMUL, (), (2, 3), (3, 4)), *emits(ops.MATMUL, (), (2, 1, 3), (2, 3, 2)),
    *emits(ops.CONV, CONV1, (2, 2, 5), (3, 2, 3)),
    *emits(ops.CONV, CONV2, (2, 4, 4, 5), (2, 2, 3, 2)),
    *emits(ops.CONV_INPUT, ((2, 2, 5), *CONV1), (2, 3, 3), (3, 2, 3)),
    *emits(ops.CONV_INPUT, ((2, 4, 4, 5), *CONV2), (2, 2, 3, 4), (2, 2, 3, 2)),
    *emits(ops.CONV_WEIGHT, ((3, 2, 3), *CONV1), (2, 2, 5), (2, 3, 3)),
    *emits(ops.CONV_WEIGHT, ((2, 2, 3, 2), *CONV2), (2, 4, 4, 5), (2, 2, 3, 4)),
    *emits(ops.ATTENTION, (True, 0.5), (2, 1, 4, 3), (2, 1, 5, 3), (2, 1, 5, 2)),
    *emits(ops.ATTENTION_GRADIENT, (False, 0.5), (1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2),
           (1, 4, 2, 2)),
    *emits(ops.CUMSUM, (1, False), (2, 4)), *emits(ops.CUMSUM, (0, True), (3, 2)),
]  # fmt: skip


def drawn(case):
    """Return a graph builder, the case's leaves and values; ties and kinks are improbable."""
    rng = np.random.default_rng(sum(map(ord, str(case))))
    b = GraphBuilder()
    leaves = [b.leaf(s, dt.float64) for s in case.shapes]
    values = [rng.uniform(case.low, case.high, s) for s in case.shapes]
    output = case.build(b, *leaves)
    leaves.append(b.leaf(output.shape, dt.float64))
    values.append(rng.uniform(-1, 1, output.shape))
    return rng, b, leaves, values, output


def compare(b, loss, leaves, values, tolerance):
    """Compare a scalar's gradients with central differences, at up to 12 elements of each leaf."""
    gradients = differentiate(b, loss, leaves)
    graph = verify(b.graph(loss, *gradients))
    _, *exact = run(graph, values, [])
    forward = b.graph(loss)
    step = 1e-6
    for k, gradient in enumerate(exact):
        places = list(np.ndindex(*values[k].shape))
        for i in np.random.default_rng(k).permutation(len(places))[:12]:
            at = places[i]
            moved = [v.copy() for v in values]
            moved[k][at] += step
            (above,) = run(forward, moved, [])
            moved[k][at] -= 2 * step
            (below,) = run(forward, moved, [])
            difference = (above - below) / (2 * step)
            assert gradient[at] == pytest.approx(float(difference), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_first_order_is_the_central_difference(case):
    _, b, leaves, values, output = drawn(case)
    loss = weighted(b, [output], [leaves[-1]])
    compare(b, loss, leaves, values, 1e-6)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_order_is_the_central_difference_of_the_first(case):
    rng, b, leaves, values, output = drawn(case)
    first = differentiate(b, weighted(b, [output], [leaves[-1]]), leaves)
    weights = [b.leaf(x.shape, dt.float64) for x in leaves]
    values += [rng.uniform(-1, 1, w.shape) for w in weights]
    loss = weighted(b, first, weights)
    compare(b, loss, leaves + weights, values, 1e-5)


def test_every_rule_has_a_case(record_property):
    with_rule = {name for name, rule in VJP.items() if rule}
    tested = set()
    for case in CASES:
        _, b, leaves, _, output = drawn(case)
        differentiate(b, weighted(b, [output], [leaves[-1]]), leaves, tested)
    record_property("cases", 2 * len(CASES))
    # A cast rounds, so differences cannot show its derivative; it has a test of its own below.
    assert with_rule - tested == {"cast"}


# -- edges: values PyTorch gives ------------------------------------------------------------------
def gradients(build, *values):
    """Return the gradients of sum(build(values)) in float64."""
    b = GraphBuilder()
    values = [np.asarray(v, np.float64) for v in values]
    leaves = [b.leaf(v.shape, dt.float64) for v in values]
    output = build(b, *leaves)
    ones = b.full(output.shape, 1.0, dt.float64)
    found = differentiate(b, weighted(b, [output], [ones]), leaves)
    return run(verify(b.graph(*found)), values, [])


def reduce_with(op, ties, dims=(0,)):
    return lambda b, x: b.emit(op, (x,), (dims, ties))


@pytest.mark.parametrize(
    ("op", "ties", "expected"),
    [
        (ops.MAX, "even", [0, 0.5, 0.5]), (ops.MAX, "first", [0, 1, 0]),
        (ops.MIN, "even", [1, 0, 0]), (ops.MIN, "first", [1, 0, 0]),
    ],
)  # fmt: skip
def test_ties_share_the_gradient_or_give_it_to_the_first(op, ties, expected):
    (found,) = gradients(reduce_with(op, ties), [1, 2, 2])
    assert found.tolist() == expected


def test_the_first_of_several_dims_is_the_first_in_row_major_order():
    (found,) = gradients(reduce_with(ops.MAX, "first", (0, 1)), [[1, 3], [3, 3]])
    assert found.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("op", [ops.MAXIMUM, ops.MINIMUM])
def test_equal_operands_share_the_gradient(op):
    a, b = gradients(lambda g, x, y: g.emit(op, (x, y)), [1, 2, 3], [2, 2, 2])
    larger = [0, 0.5, 1]
    assert a.tolist() == (larger if op is ops.MAXIMUM else larger[::-1])
    assert (a + b).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("x", "expected"),
    [([2, 0, 5], [0, 10, 0]), ([0, 3, 0], [0, 0, 0]), ([2, 3, 5], [15, 10, 6])],
)
def test_prod_is_exact_with_zeros(x, expected):
    (found,) = gradients(lambda b, v: b.prod(v, (0,)), x)
    assert found.tolist() == expected


def test_prod_twice_is_exact_with_two_zeros():
    b = GraphBuilder()
    x, v = b.leaf((3,), dt.float64), b.leaf((3,), dt.float64)
    (first,) = differentiate(b, b.reshape(b.prod(x, (0,)), ()), [x])
    (second,) = differentiate(b, weighted(b, [first], [v]), [x])
    values = [np.array([0.0, 7.0, 0.0]), np.array([1.0, 0.0, 0.0])]
    assert run(b.graph(second), values, [])[0].tolist() == [0, 0, 7]


def test_pow_at_zero():
    base, exponent = gradients(lambda b, x, y: b.pow(x, y), [0, 0, 0, 2, 0], [0, 1, 2, 0, -1])
    assert base.tolist()[:4] == [0, 1, 0, 0]
    assert base[4] == -inf
    assert exponent[:4] == pytest.approx([0, 0, 0, np.log(2)])
    assert exponent[4] == -inf


def test_pow_twice_at_zero_is_finite():
    b = GraphBuilder()
    x, y = b.leaf((3,), dt.float64), b.const(2.0, dt.float64)
    ones = b.full((3,), 1.0, dt.float64)
    (first,) = differentiate(b, weighted(b, [b.pow(x, y)], [ones]), [x])
    (second,) = differentiate(b, weighted(b, [first], [ones]), [x])
    assert run(b.graph(second), [np.array([0.0, 1.0, -3.0])], [])[0].tolist() == [2, 2, 2]


def test_where_keeps_an_infinite_gradient_on_its_own_side():
    def guarded_root(b, x):
        positive = b.lt(b.const(0.0, dt.float64), x)
        return b.where(positive, b.sqrt(b.where(positive, x, b.const(1.0, dt.float64))), x)

    (found,) = gradients(guarded_root, [-1, 0, 4])
    assert found.tolist() == [1, 1, 0.25]


def test_a_gradient_comes_back_in_the_inputs_dtype():
    b = GraphBuilder()
    x = b.leaf((3,), dt.float32)
    loss = b.reshape(b.sum(b.cast(x, dt.float64), (0,)), ())
    (found,) = differentiate(b, loss, [x])
    assert found.dtype is dt.float32
    assert run(b.graph(found), [np.zeros(3, np.float32)], [])[0].tolist() == [1, 1, 1]


def test_a_cast_from_integers_has_no_gradient():
    b = GraphBuilder()
    node = b.cast(b.leaf((3,), dt.int64), dt.float64)
    tape = GraphTape(b, node, b.zeros((3,), dt.float64), set(node.inputs))
    assert VJP["cast"](tape) == (None,)


@pytest.mark.parametrize(
    ("op", "wanted", "asked"),
    [
        (ops.MUL, 0, {1}), (ops.MUL, 1, {0}), (ops.ADD, 0, set()), (ops.DIV, 0, {1}),
        (ops.MATMUL, 0, {1}), (ops.MATMUL, 1, {0}), (ops.SUB, 1, set()),
    ],
)  # fmt: skip
def test_a_rule_asks_only_for_the_values_it_uses(op, wanted, asked):
    b = GraphBuilder()
    pair = b.leaf((3, 3), dt.float64), b.leaf((3, 3), dt.float64)
    node = b.emit(op, pair)
    tape = GraphTape(b, node, b.zeros((3, 3), dt.float64), {pair[wanted]})
    parts = VJP[op.name](tape)
    assert tape.asked == asked
    assert parts[1 - wanted] is None
