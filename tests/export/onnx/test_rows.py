"""Every primitive's row, run by ONNX Runtime, against the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.errors import ExportError
from tenor.export.onnx import file
from tenor.export.onnx.check import session
from tenor.export.onnx.model import write_graph
from tenor.export.onnx.table import MISSING, ROWS
from tenor.export.source import Source
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import size
from tenor.ir.op import OPS
from tests.ops.differential import narrow, seed_of, wide
from tests.ops.test_primitives import CASES

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

QUICK = (dt.float32, dt.bfloat16, dt.int64, dt.uint8, dt.bool_)
PAIRS = [
    pytest.param(name, dtype, marks=() if dtype in QUICK else pytest.mark.slow)
    for name, case in CASES.items()
    for dtype in case.dtypes
    if name in ROWS
]
MOST = 14
"""Samples of a primitive and dtype; the shapes repeat, and each is three times NumPy's work."""
LARGEST = 6000
"""Elements of a sample's operands."""
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
ROOM = 64
"""Units in the last place of the largest magnitude: others may round otherwise."""


def source_of(graph, name="sample"):
    """Return a graph without weights as a source."""
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    inputs = {f"in{i}": n for i, n in enumerate(leaves)}
    outputs = {f"out{i}": n for i, n in enumerate(graph.outputs)}
    return Source(name, "predict", graph, inputs, {}, outputs, {}, {}, 0)


def run(source, arrays, opset=18):
    """Return what ONNX Runtime makes of a source."""
    pack = file.packed(write_graph(source, opset=opset), "m.onnx")
    file.library().checker.check_model(pack.proto, full_check=True)
    ready = session(pack.proto.SerializeToString())
    return ready.run(list(source.outputs), dict(zip(source.inputs, arrays, strict=True)))


# -- what is tried ----------------------------------------------------------------------------
def chosen(samples):
    """Return some samples of each kind: few, small, spread over the list."""
    fit = [s for s in samples if sum(size(leaf.shape) for leaf in s.leaves) <= LARGEST]
    fit = [s for s in fit if not s.scalars]
    step = max(1, len(fit) // MOST)
    return fit[::step]


def outside(dtype):
    """Return the dtype a bfloat16 is handed over in: Python's side of the runtime has none."""
    return dt.float32 if dtype is dt.bfloat16 else dtype


def graph_of(samples):
    """Return one graph of many samples, and the leaves' shapes, dtypes and draws."""
    b, leaves, outputs = GraphBuilder(), [], []
    given = [[b.leaf(x.shape, outside(x.dtype)) for x in s.leaves] for s in samples]
    for sample, nodes in zip(samples, given, strict=True):
        every = zip(nodes, sample.leaves, strict=True)
        made = sample.build(b, *(b.cast(n, x.dtype) for n, x in every))
        outputs += made if isinstance(made, tuple) else (made,)
        leaves += sample.leaves
    return b.graph(*(b.cast(o, outside(o.dtype)) for o in outputs)), leaves


UNORDERED = {"max", "min", "argmax", "argmin"}
"""Where ONNX leaves NaN to the runtime."""
UNBOUNDED = {"sum", "prod"}
"""Where it leaves to the runtime what becomes of integers that the dtype cannot hold."""


def drawn(leaf, rng, name):
    """Return a value for a leaf, as it is handed over."""
    values = np.asarray(leaf.draw(rng, leaf.shape, leaf.dtype))
    if name in UNORDERED and leaf.dtype.kind == "float":
        values = np.where(np.isnan(values), 0.25, values)
    if name in UNBOUNDED and leaf.dtype.kind in ("int", "uint"):
        values = values % 3
    if name == "cast" and leaf.dtype.kind == "float":
        values = np.clip(np.nan_to_num(values, posinf=9, neginf=-9), -120, 120)
    return np.asarray(wide(narrow(values, leaf.dtype), leaf.dtype))


def apart(got, want, dtype):
    """Return which elements differ by more than rounding."""
    if dtype.kind != "float":
        return got != want
    a, b = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(all="ignore"):
        finite = np.abs(b[np.isfinite(b)])
        large = np.maximum(np.abs(b), finite.max(initial=0.0) / 8)
        near = np.abs(a - b) <= EPS[dtype.name] * np.maximum(1, ROOM * large)
        tiny = (np.abs(a) < 1e-37) & (np.abs(b) < 1e-37)
    return ~(near | tiny | (a == b) | (np.isnan(a) & np.isnan(b)))


# -- tests ------------------------------------------------------------------------------------
def test_every_primitive_is_in_one_of_the_tables():
    assert set(ROWS) | set(MISSING) == set(OPS)
    assert not set(ROWS) & set(MISSING)


# What ONNX Runtime has no kernel for, and nothing may stand in.
REFUSED = {
    ("erf", "float64"): "Erf", ("conv", "float64"): "Conv",
    ("conv_input", "float64"): "ConvTranspose", ("conv_weight", "float64"): "Conv",
}  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), PAIRS, ids=lambda p: getattr(p, "name", p))
def test_a_row_computes_what_the_reference_computes(name, dtype):
    if (name, dtype.name) in REFUSED:
        graph, _ = graph_of(chosen(list(CASES[name].samples(dtype))))
        with pytest.raises(ExportError, match=f"no {REFUSED[name, dtype.name]} of float64"):
            write_graph(source_of(graph), opset=18)
    else:
        agree(name, dtype, 18)


def agree(name, dtype, opset):
    """Write a graph of many samples of a primitive, run it, and compare every output."""
    samples = list(CASES[name].samples(dtype))
    if name == "pow" and dtype.kind != "float":
        samples = [s for s in samples if s.label in ("to the 0", "to the 1", "to the 5")]
    graph, leaves = graph_of(chosen(samples))
    rng = np.random.default_rng(seed_of(name, dtype.name))
    arrays = [drawn(leaf, rng, name) for leaf in leaves]
    source = source_of(graph)
    want = reference.run(graph, arrays, [])
    got = run(source, arrays, opset)
    problems = []
    for k, (a, b, node) in enumerate(zip(got, want, graph.outputs, strict=True)):
        inner = node.inputs[0].dtype if node.op is ops.CAST else node.dtype
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        bad = apart(a, b, inner)
        if np.any(bad):
            problems.append(f"output {k}: {bad.sum()} of {bad.size}: {a[bad][:3]} for {b[bad][:3]}")
    assert not problems, "\n".join(problems)


BITWISE = {"and", "or", "xor", "not"}
ONCE = [
    (name, next(d for d in (dt.float32, *case.dtypes) if d in case.dtypes))
    for name, case in CASES.items()
    if name in ROWS
]


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize(("name", "dtype"), ONCE, ids=lambda p: getattr(p, "name", p))
def test_a_row_in_the_oldest_and_the_newest_opset(name, dtype, opset):
    if name in BITWISE and opset < 18:
        graph, _ = graph_of(chosen(list(CASES[name].samples(dtype))))
        with pytest.raises(ExportError, match="opset=18"):
            write_graph(source_of(graph), opset=opset)
    else:
        agree(name, dtype, opset)


def test_a_power_of_integers_that_is_not_written_in_the_model_is_refused():
    b = GraphBuilder()
    x, y = b.leaf((3,), dt.int64), b.leaf((3,), dt.int64)
    with pytest.raises(ExportError, match="power") as caught:
        write_graph(source_of(b.graph(b.pow(x, y))), opset=18)
    assert "operation 3 of 3 in 'predict'" in str(caught.value)


@pytest.mark.parametrize("name", MISSING)
def test_a_primitive_without_a_row_is_named_with_its_place(name):
    case = CASES[name]
    sample = next(iter(case.samples(case.dtypes[0])))
    b = GraphBuilder()
    leaves = [b.leaf(leaf.shape, leaf.dtype) for leaf in sample.leaves]
    numbers = [b.scalar(dtype) for dtype, _ in sample.scalars]
    graph = b.graph(sample.build(b, *leaves, *numbers))
    found = next(node for node in graph.nodes if node.op.name == name)
    found.site = ("net.py", 12)
    with pytest.raises(ExportError) as caught:
        write_graph(source_of(graph, "net"), opset=18)
    text = str(caught.value)
    assert f"{name} of {found.dtype.name}" in text
    assert "in 'predict' at net.py:12: " + MISSING[name][0] in text
    assert MISSING[name][1] in text
    assert caught.value.where == ("net.py", 12)
