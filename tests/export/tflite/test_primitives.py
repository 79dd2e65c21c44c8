"""Every primitive: written and run by LiteRT on the cases of `tests/ops`, or named as missing."""

import numpy as np
import pytest

from tenor.errors import ExportError
from tenor.export.source import Source
from tenor.export.tflite.convert import Form, converted
from tenor.export.tflite.rows import GIVEN, MISSING, ROWS
from tenor.export.tflite.schema import TYPES
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.op import OPS
from tests.export.tflite import cases
from tests.ops.differential import drawn, graph_of, numbers, repeated, seed_of, small
from tests.ops.primitives import contraction, elementwise, index, movement, order, reduce, source

pytest.importorskip("ai_edge_litert")
pytest.importorskip("flatbuffers")

MODULES = (contraction, elementwise, index, movement, order, reduce, source)
CASES = {name: case for module in MODULES for name, case in module.CASES.items()}
PATTERNED = {"conv": "conv", "conv_input": "transposed"}
"""Primitives that a pattern makes a layer of, by the layer's kind."""
MOST = 9
"""Samples of a primitive and dtype."""
WRITTEN = sorted(set(OPS) - set(MISSING))
REFUSED = {
    "put": "sets nothing at indices that are computed",
    "put_along": "sets nothing at indices that are computed",
    "conv": "3-d convolutions of one group and no dilation",
    "conv_input": "transposed convolution",
    "cast": "has no",
}
"""What of a primitive's samples is refused, by what the error says."""


def positive(rng, shape, dtype):
    """Draw what may be divided by, or be an exponent."""
    return rng.integers(1, 5, shape) if dtype.kind != "float" else rng.uniform(0.5, 3, shape)


def samples(name, dtype):
    """Return a primitive's samples of a dtype, spread over those there are, with tame numbers."""
    every = [
        s for s in CASES[name].samples(dtype)
        if not s.scalars and all(np.prod(leaf.shape) for leaf in s.leaves) and "-2" not in s.label
    ]  # fmt: skip
    tame = positive if name in ("floordiv", "mod", "pow", "log", "rsqrt", "sqrt", "shl") else small
    for s in every[:: (len(every) // MOST) | 1]:  # odd: samples come in pairs
        draws = [tame if leaf.draw in (numbers, repeated) else leaf.draw for leaf in s.leaves]
        draws = [tame if name == "pow" else draw for draw in draws]
        leaves = [leaf._replace(draw=d) for leaf, d in zip(s.leaves, draws, strict=True)]
        graph, drawn_from = graph_of(s._replace(leaves=tuple(leaves)), "plain")
        if all(np.prod(node.shape) for node in graph.nodes):
            arrays = drawn(drawn_from, seed_of(name, s.label))
            yield s.label, graph, arrays


def dtypes(name):
    """Return the dtypes a primitive is written in."""
    kind = PATTERNED.get(name, name)
    row = ROWS[kind].dtypes if kind in ROWS else tuple(TYPES)
    return [d for d in CASES[name].dtypes if d in row]


def refusal(given):
    """Return what a source is refused with, or None."""
    try:
        converted(given, {}, Form())
    except ExportError as error:
        return str(error)
    return None


def test_every_primitive_is_written_or_named():
    kinds = {PATTERNED.get(name, name) for name in OPS}
    written = {*ROWS, *GIVEN}
    assert kinds <= written | set(MISSING)
    assert not written & set(MISSING)
    assert set(MISSING) <= set(OPS)
    assert all(len(row) == 2 and all(row) for row in MISSING.values())


@pytest.mark.parametrize("name", WRITTEN)
def test_as_the_reference_does(name):
    count = 0
    for dtype in dtypes(name):
        for label, graph, arrays in samples(name, dtype):
            given = cases.source_of_graph(graph, arrays)
            said = refusal(given)
            if said is None:
                cases.agree(given, 2e-5, label=f"{dtype} {label}")
                count += 1
            else:
                assert REFUSED.get(name, "nothing") in said, f"{dtype} {label}"
    assert count >= (1 if name in GIVEN else 3)


FAR = np.array([-100, -20, -6, -3, -1, -0.3, -1e-4, -1e-7, 0, 1e-7, 1e-4, 0.3, 1, 3, 6, 20, 80])


@pytest.mark.parametrize("name", ["erf", "expm1", "log1p", "trunc", "sign", "sigmoid", "tanh"])
def test_far_from_and_near_zero(name):
    b = GraphBuilder()
    x = np.float32(np.maximum(FAR, -0.9) if name == "log1p" else FAR)
    graph = b.graph(b.emit(OPS[name], (b.leaf(x.shape, dt.float32),)))
    source_ = cases.source_of_graph(graph, [x])
    got, _ = cases.run(source_)
    room = 2e-7 if name == "erf" else 1e-30
    np.testing.assert_allclose(got["y0"], source_.answers["y0"], rtol=1e-6, atol=room)


MANY = (2, 3, 2, 1, 2, 2)
MANY_DIMS = {
    "broadcast": lambda b, x, y: (b.add(x, b.expand(y, MANY)), b.lt(x, b.expand(y, MANY))),
    "permute": lambda b, x, y: b.permute(x, (5, 3, 1, 0, 2, 4)),
    "slice": lambda b, x, y: b.slice(x, (1, 2, 0, 0, 1, 0), (1, 2, 2, 1, 1, 1), (1, -2, *(1,) * 4)),
    "pad": lambda b, x, y: b.pad(x, (1, 0, 2, 0, 1, 0), (0, 1, 0, 0, 1, 2), 2.5),
    "sum": lambda b, x, y: b.emit(OPS["sum"], (x,), ((1, 4),)),
    "joined": lambda b, x, y: b.concat([x, b.expand(y, MANY)], 2),
    "windows": lambda b, x, y: b.emit(OPS["unfold"], (x,), (1, 2, 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", MANY_DIMS)
def test_many_dims(name):
    b = GraphBuilder()
    shapes = (MANY, (1, 3, 1, 1, 2, 1))
    made = MANY_DIMS[name](b, *(b.leaf(shape, dt.float32) for shape in shapes))
    graph = b.graph(*(made if isinstance(made, tuple) else (made,)))
    rng = np.random.default_rng(0)
    cases.agree(cases.source_of_graph(graph, [np.float32(rng.normal(size=s)) for s in shapes]))


@pytest.mark.parametrize("name", ["conv", "conv_input"])
def test_convolutions_of_known_weights(name):
    for label, graph, arrays in samples(name, dt.float32):
        if len(graph.outputs[0].shape) < 5:
            assert cases.agree(cases.source_of_graph(graph, arrays, known=(1,)), 1e-5), label


@pytest.mark.parametrize("name", ["put", "put_along"])
def test_elements_set_at_known_indices(name):
    count = 0
    for dtype in (dt.float32, dt.int64):
        for label, graph, arrays in samples(name, dtype):
            if label.startswith("set"):
                at = 0 if "into ones" in label else 1
                cases.agree(cases.source_of_graph(graph, arrays, known=(at,)))
                count += 1
    assert count >= 8


@pytest.mark.parametrize("name", sorted(MISSING))
def test_a_missing_one_is_refused_with_what_to_do_instead(name):
    sample = next(
        s for s in CASES[name].samples(CASES[name].dtypes[0])
        if all(np.prod(leaf.shape) for leaf in s.leaves)
    )  # fmt: skip
    graph, _ = graph_of(sample, "plain")
    node = next(n for n in graph.nodes if n.op.name in MISSING)
    node.site = (__file__, 1)
    inputs = {f"x{i}": n for i, n in enumerate(graph.nodes) if n.op is ops.LEAF}
    outputs = {f"y{i}": n for i, n in enumerate(graph.outputs)}
    with pytest.raises(ExportError) as error:
        converted(Source("case", "predict", graph, inputs, {}, outputs, {}, {}, 0), {}, Form())
    text = str(error.value)
    assert node.op.name in text
    assert MISSING[node.op.name][1] in text
    assert f"{__file__}:1" in text
