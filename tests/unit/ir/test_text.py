"""Text and back: exact for every graph, and a refusal with a line number for everything else."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenor.errors import CompileError, FormatError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir import text as text_module
from tenor.ir.build import GraphBuilder
from tenor.ir.node import Graph
from tenor.ir.text import parse, to_text
from tenor.ir.verify import verify

EXAMPLE = """\
graph {
  %0 = leaf f32[32,784]
  %1 = scalar f32[]
  %2 = expand f32[32,784] (%1) shape=[32,784]
  %3 = mul f32[32,784] (%0, %2)
  %4 = pad f32[34,784] (%3) low=[1,0] high=[1,0] value=-inf
  %5 = max f32[1,784] (%4) dims=[0] ties="even"
  return %3, %5
  update %0 0
}
"""


def exactly(value):
    """Return a form in which 1, 1.0 and True differ, 0.0 and -0.0 differ, and NaN equals NaN."""
    if isinstance(value, tuple):
        return tuple(map(exactly, value))
    return (type(value), repr(value) if isinstance(value, float) else value)


def record(graph):
    """Return a graph as plain data."""
    numbers = {node: i for i, node in enumerate(graph.nodes)}
    nodes = [
        (n.op, [numbers[x] for x in n.inputs], exactly(n.attrs), n.shape, n.dtype)
        for n in graph.nodes
    ]
    updates = [(numbers[leaf], k) for leaf, k in graph.updates]
    return nodes, [numbers[x] for x in graph.outputs], updates


# -- round trip -----------------------------------------------------------------------------------
def test_the_example_is_canonical():
    assert to_text(parse(EXAMPLE)) == EXAMPLE


def test_what_is_read_is_what_is_written():
    graph = parse(EXAMPLE)
    assert [n.op for n in graph.nodes] == [
        ops.LEAF,
        ops.SCALAR,
        ops.EXPAND,
        ops.MUL,
        ops.PAD,
        ops.MAX,
    ]
    assert graph.nodes[4].attrs == ((1, 0), (1, 0), -float("inf"))
    assert graph.nodes[3].inputs == (graph.nodes[0], graph.nodes[2])
    assert graph.updates == ((graph.nodes[0], 0),)


def test_a_graph_of_every_primitive_comes_back():
    b = GraphBuilder()
    every_primitive(b)
    graph = b.graph(*b.nodes[::3])
    assert {n.op.name for n in graph.nodes} == set(ops.OPS)
    assert record(parse(to_text(graph))) == record(verify(graph))


def every_primitive(b):
    """Append each primitive once at least."""
    x, s = b.leaf((2, 3), dt.float32), b.scalar(dt.float32)
    n = b.leaf((2, 3), dt.int64)
    t = b.ne(x, s)
    for op in ops.OPS.values():
        if op.family == "elementwise" and op.arity == 1 and not op.attrs and op is not ops.NOT:
            b.emit(op, (x,))
        if op.family == "elementwise" and op.arity == 2:
            b.emit(op, (n, n) if op.name in ("and", "or", "xor", "shl", "shr") else (x, s))
        if op.family == "tape" and op is not ops.FUNCTION:
            b.emit(op, (x,))
    b.emit(ops.FUNCTION, (x, x), (3,))
    b.emit(ops.NOT, (t,))
    b.emit(ops.WRAP_INDEX, (n,), (3, "label"))
    b.where(t, b.cast(n, dt.float32), b.const(0.1, dt.float32))
    b.emit(ops.RANDOM_BITS, (b.scalar(dt.int64), b.const(-5, dt.int64)), ((2, 3),))
    for op in (ops.SUM, ops.PROD):
        b.emit(op, (x,), ((0, 1),))
    for op in (ops.MAX, ops.MIN):
        b.emit(op, (x,), ((1,), "first"))
    b.argmax(x, 1)
    b.argmin(x, 0)
    b.cumsum(x, 1, reverse=True)
    b.emit(ops.ARGSORT, (x,), (1, False))
    b.emit(ops.TOPK, (x,), (1, 2, True))
    b.reshape(x, (3, 2))
    b.permute(x, (1, 0))
    b.slice(x, (1, 2), (2, 2), (-1, -2))
    b.pad(x, (0, 1), (1, 0), 2)
    b.fold(b.unfold(x, 1, 2, 1), 1, 3, 1)
    b.concat([x, x], 1)
    b.slice_update(x, b.leaf((1, 2), dt.float32), (0, 0), (1, 2))
    index, along = b.iota(2, dt.int64), b.leaf((1, 3), dt.int64)
    b.take_along(x, along, 0)
    b.put(x, index, b.take(x, index, 0), 0, "add")
    b.put_along(x, along, b.leaf((1, 3), dt.float32), 0, "set")
    b.matmul(x, b.transpose(x))
    b.emit(ops.MATMUL_INT8, (b.leaf((2, 4), dt.uint8), b.leaf((3, 4), dt.int8)))
    b.expand(b.const(True, dt.bool_), (0, 4))
    image, weight = b.leaf((1, 2, 5), dt.float32), b.leaf((2, 1, 3), dt.float32)
    attrs = ((1,), ((1, 0),), (1,), 2)
    y = b.emit(ops.CONV, (image, weight), attrs)
    stored = b.emit(ops.QUANTIZE, (image,), (-3, -128, 127))
    b.emit(ops.CONV_INT8, (stored, b.leaf((2, 1, 3), dt.int8)), (*attrs, -3))
    b.emit(ops.CONV_INPUT, (y, weight), ((1, 2, 5), *attrs))
    b.emit(ops.CONV_WEIGHT, (image, y), ((2, 1, 3), *attrs))
    q = b.leaf((1, 2, 3, 4), dt.float32)
    attended = b.attention(q, q, q, causal=True, scale=0.5)
    b.emit(ops.ATTENTION_GRADIENT, (q, q, q, attended), (True, 0.5))


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def append(draw, b, x):
    """Append one operation that reads x."""
    rank = len(x.shape)
    steps = [
        lambda: b.const(draw(FLOATS), x.dtype),
        lambda: b.scalar(x.dtype),
        lambda: b.exp(x),
        lambda: b.mul(x, b.const(draw(FLOATS), x.dtype)),
        lambda: b.lt(x, x),
        lambda: b.sum(x, draw(st.sets(st.integers(0, rank - 1)).map(sorted)) if rank else ()),
        lambda: b.permute(x, draw(st.permutations(range(rank)))),
        lambda: b.pad(x, (1,) * rank, (draw(st.integers(0, 2)),) * rank, draw(FLOATS)),
        lambda: b.reshape(x, (*x.shape, 1)),
        lambda: b.expand(x, (draw(st.integers(0, 3)), *x.shape)),
        lambda: b.concat([x, x], 0) if rank else b.neg(x),
        lambda: b.slice(x, (0,) * rank, tuple(n // 2 for n in x.shape), (2,) * rank),
    ]
    draw(st.sampled_from(steps))()


@st.composite
def graphs(draw):
    """Draw a graph: each node reads earlier ones, whatever their shapes allow."""
    b = GraphBuilder()
    dtype = draw(st.sampled_from([dt.float32, dt.float64, dt.float16, dt.bfloat16]))
    leaf = b.leaf(tuple(draw(st.lists(st.integers(0, 3), max_size=3))), dtype)
    for _ in range(draw(st.integers(0, 12))):
        append(draw, b, draw(st.sampled_from([n for n in b.nodes if n.dtype is dtype])))
    outputs = draw(st.lists(st.sampled_from(b.nodes), max_size=4))
    fits = [k for k, n in enumerate(outputs) if (n.shape, n.dtype) == (leaf.shape, dtype)]
    return Graph(b.nodes, outputs, [(leaf, k) for k in fits[:1]])


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_any_graph_comes_back_exactly(graph):
    text = to_text(graph)
    again = parse(text)
    assert record(again) == record(graph)
    assert to_text(again) == text


# -- hostile input --------------------------------------------------------------------------------
def swapped(old, new):
    assert old in EXAMPLE
    return EXAMPLE.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "expected graph"),
        ("graph {", 1, "ends before"),
        (swapped("%1 = scalar", "%2 = scalar"), 3, "numbered"),
        (swapped("mul f32[32,784] (%0, %2)", "mul f32[32,784] (%0, %9)"), 5, "%9 does not stand"),
        (swapped("(%0, %2)", "(%0, %3)"), 5, "%3 does not stand"),
        (swapped("(%0, %2)", "(%0)"), 5, "takes 2 inputs"),
        (swapped("= mul", "= evil"), 5, "no such operation"),
        (swapped("leaf f32", "leaf f31"), 2, "no such dtype"),
        (swapped("expand f32[32,784]", "expand f32[32,785]"), 4, "inference gives"),
        (swapped("expand f32", "expand f64"), 4, "inference gives"),
        (swapped(" shape=[32,784]", ""), 4, "expected shape"),
        (swapped("shape=[32,784]", "shape=[[32,784]]"), 4, "must be extents"),
        (swapped('ties="even"', 'ties="odd"'), 7, "ties must be"),
        (swapped("dims=[0]", "dims=[1,0]"), 7, "ascending"),
        (swapped("dims=[0]", "dims=[7]"), 7, "dim must lie"),
        (swapped("dims=[0]", "dims=0"), 7, "ascending"),
        (swapped("low=[1,0]", "low=[1]"), 6, "2 entries"),
        (swapped("low=[1,0]", "low=[-1,0]"), 6, "low must be"),
        (swapped("low=[1,0]", "low=[[[[[[1]]]]]]"), 6, "nest"),
        (swapped("low=[1,0]", "low=[281474976710656,0]"), 6, "low must be"),
        (swapped("value=-inf", "value=__import__"), 6, "expected"),
        (swapped("value=-inf", "value=1e99999"), 6, "unreadable"),
        (swapped("value=-inf", "value=" + "9" * 5000), 6, "unreadable"),
        (swapped("leaf f32[32,784]", "leaf f32[281474976710656]"), 2, "extents lie"),
        (
            swapped("leaf f32[32,784]", "leaf f32[16777216,16777216]"),
            2,
            "too many elements|extents",
        ),
        (swapped("leaf f32[32,784]", f"leaf f32[{','.join('1' * 65)}]"), 2, "at most 64 dims"),
        (swapped("update %0 0", "update %0 1"), 10, "does not fit"),
        (swapped("update %0 0", "update %2 0"), 10, "no leaf"),
        (swapped("update %0 0", "update %0 5"), 10, "output 5 of 2"),
        (swapped("return %3, %5", "return %3 %5"), 8, "expected end"),
        (EXAMPLE + "more", 10, "after the graph's end"),
        (swapped("%0 = leaf", "%0 = leaf \x00"), 2, "unreadable|expected"),
        (swapped("%0 = leaf", "%\u0660 = leaf"), 2, "unreadable"),
    ],
)
def test_a_damaged_text_is_refused_with_its_line(text, line, says):
    with pytest.raises(FormatError) as caught:
        parse(text)
    assert re.search(f"line {line}: .*({says})", str(caught.value), re.DOTALL)


@pytest.mark.parametrize(
    "node",
    [
        "take f32[2,2] (%0, %0) dim=0",
        "concat f32[4,3] (%0, %1) dim=0",
        "concat f32[] () dim=0",
        "slice f32[2] (%0) starts=[0] sizes=[2] steps=[0]",
        "slice f32[2,9] (%0) starts=[0,0] sizes=[2,9] steps=[1,1]",
        "unfold f32[2,2,2] (%0) dim=1 size=2 step=0 dilation=1",
        "fold f32[2] (%0) dim=1 length=4 step=1 dilation=1",
        "random_bits u32[4] (%0, %0) shape=[4]",
        "const i8[] value=200 dtype=i8",
        "const i8[] value=1.5 dtype=i8",
        "pad i64[3] (%2) low=[1] high=[0] value=nan",
        "conv f32[2,3] (%0, %0) stride=[] padding=[] dilation=[] groups=0",
        "conv f32[2] (%2, %2) stride=[1] padding=[[0,0]] dilation=[1] groups=1",
        "conv_input f32[9,9] (%0, %0) shape=[9,9] stride=[] padding=[] dilation=[] groups=1",
        "slice_update f32[2,3] (%0, %2) starts=[0,0] steps=[1,1]",
        "leaf f32[2] (%0)",
        "iota f32[3] length=3 dtype=f64",
        "cast f32[2,3] (%0) dtype=[1]",
        "permute f32[3,2] (%0) dims=[0,0]",
    ],
)
def test_a_node_that_breaks_a_rule_is_refused(node):
    leaves = ["%0 = leaf f32[2,3]", "%1 = leaf f64[2,3]", "%2 = leaf i64[2]"]
    text = "\n".join(["graph {", *leaves, f"%3 = {node}", "return %3", "}"])
    with pytest.raises(FormatError, match="line 5"):
        parse(text)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_is_read_as_a_graph_or_refused(data):
    text = EXAMPLE
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.integers(0, 8))
        alphabet = st.one_of(
            st.text(max_size=3), st.text("[]%(){}=,-.0123456789einf \n", max_size=4)
        )
        text = text[:at] + data.draw(alphabet) + text[end:]
    try:
        graph = parse(text)
    except FormatError:
        return
    assert record(parse(to_text(graph))) == record(graph)


def test_a_text_too_long_is_refused_before_it_is_read():
    with pytest.raises(FormatError, match="at most"):
        parse(" " * (text_module.MAX_TEXT + 1))


def test_a_graph_of_too_many_nodes_is_refused(monkeypatch):
    monkeypatch.setattr(text_module, "MAX_NODES", 3)
    with pytest.raises(FormatError, match="line 5: a graph has at most 3 nodes"):
        parse(EXAMPLE)


def test_reading_takes_time_in_proportion_to_the_text():
    lines = "\n".join(f"  %{i} = neg f32[8] (%{i - 1})" for i in range(1, 5000))
    text = f"graph {{\n  %0 = leaf f32[8]\n{lines}\n  return %4999\n}}\n"
    began = time.perf_counter()
    assert len(parse(text).nodes) == 5000
    assert time.perf_counter() - began < 5


def test_a_graph_whose_output_is_missing_is_not_written():
    b = GraphBuilder()
    x = b.leaf((2,), dt.float32)
    with pytest.raises(CompileError, match="neg"):
        to_text(Graph([x], [b.neg(x)]))
