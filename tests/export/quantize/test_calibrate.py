"""Schemes of whole models: every value has one, and what they cost is little."""

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.compiler.emit import reference
from tenor.errors import ArgumentError, IndexRangeError, ShapeError
from tenor.export.fold import folded
from tenor.export.quantize import calibrate, layers, running, simulate, weights_only
from tenor.export.quantize.layers import inherits
from tenor.export.quantize.running import Batches
from tenor.export.source import opened, source_of
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Graph
from tests.export import zoo

_sources = {}


def source(name, tmp_path_factory=None, batch=8):
    if name not in _sources:
        path, rows = zoo.bundle(name, tmp_path_factory.mktemp("zoo") / f"{name}.tnr")
        _sources[name] = folded(source_of(opened(path), batch=batch)), rows
    return _sources[name]


def of(model, *inputs, batch=4):
    example = inputs if len(inputs) > 1 else inputs[0]
    return folded(source_of(opened(model, example), batch=batch))


def values(made, rows, nodes):
    """Return nodes' values by the reference interpreter."""
    graph = Graph(made.graph.nodes, nodes)
    return reference.run(graph, [*rows, *made.weights.values()], [])


def answers(made, rows):
    return values(made, rows, list(made.graph.outputs))


# -- every value ----------------------------------------------------------------------------------
CLIPPED = ("digits", "residual", "tabular", "sound")
METHODS = [(name, "minmax") for name in zoo.ZOO]
METHODS += [(name, method) for name in CLIPPED for method in ("percentile", "entropy")]


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_every_value_has_a_scheme_and_answers_stay(name, method, tmp_path_factory):
    made, rows = source(name, tmp_path_factory)
    found = calibrate(made, rows, method=method)
    assert found.source is made
    assert found.method == method
    floats = [n for n in made.graph.nodes if n.dtype is dt.float32]
    assert set(found.schemes) == set(floats)
    for node, scheme in found.schemes.items():
        assert np.all(scheme.scale > 0)
        assert np.all(np.isfinite(scheme.scale))
        if node.op is not ops.LEAF and node.inputs and inherits(node) and scheme.axis is None:
            assert scheme is found.schemes[node.inputs[0]] or node.inputs[0].op is ops.LEAF
    batch = [a[:8] for a in rows]
    for exact, came in zip(
        answers(made, batch), answers(simulate(found), batch), strict=True
    ):  # fmt: skip
        if exact.dtype.kind == "f":
            off = np.linalg.norm(came - exact) / np.linalg.norm(exact)
            assert off < (0.05 if method == "minmax" else 0.1), f"{off:.3f}"


AGREE = {"digits": 1.0, "mlp": 1.0, "keywords": 1.0, "mobilenet": 1.0}


@pytest.mark.parametrize("name", AGREE)
def test_the_same_classes_win(name, tmp_path_factory):
    made, rows = source(name, tmp_path_factory)
    found = calibrate(made, rows)
    batch = [a[8:] for a in rows]
    exact, came = answers(made, batch)[0], answers(simulate(found), batch)[0]
    assert np.mean(exact.argmax(1) == came.argmax(1)) >= AGREE[name]


# -- ranges that are known ------------------------------------------------------------------------
def test_known_ranges():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    with tn.no_grad():
        model[0].weight.copy_(tn.tensor([[1.0, 0.0], [0.0, -2.0]]))
    rows = np.array([[0, 1], [2, -3], [5.1, 0.5], [-0.1, 0]], np.float32)
    made = of(model, rows)
    found = calibrate(made, rows)
    (leaf,), (out,) = made.inputs.values(), made.outputs.values()
    product = next(n for n in made.graph.nodes if n.op is ops.MATMUL)
    weight = product.inputs[1]
    for node, low, high in ((leaf, -3.0, 5.1), (product, -2.0, 6.0), (out, 0.0, 6.0)):
        scheme = found.schemes[node]
        np.testing.assert_allclose(float(scheme.scale), (high - low) / 255, rtol=1e-6)
        assert int(scheme.zero_point) == round(-128 - low / float(scheme.scale))
    np.testing.assert_allclose(found.schemes[weight].scale, [1 / 127, 2 / 127], rtol=1e-6)
    assert found.schemes[weight].axis == 1


def test_functions_whose_range_is_known_have_the_scales_other_runtimes_ask_for():
    class Curves(nn.Module):
        def forward(self, x):
            return x.sigmoid(), x.tanh(), x.softmax(-1)

    rows = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    made = of(Curves(), rows)
    found = calibrate(made, rows)
    held = [found.schemes[n] for n in made.outputs.values()]
    assert [(float(s.scale), int(s.zero_point)) for s in held] == [
        (1 / 256, -128), (1 / 128, 0), (1 / 256, -128),
    ]  # fmt: skip


def test_the_ranges_of_many_runs_are_those_of_one(monkeypatch):
    rows = np.random.default_rng(1).standard_normal((37, 3, 12, 12)).astype(np.float32)
    tn.manual_seed(0)
    model = zoo.Residual()
    small, large = of(model, rows[:2], batch=5), of(model, rows[:2], batch=37)
    for method in ("minmax", "percentile"):
        whole = calibrate(large, rows, method=method)
        monkeypatch.setattr(running, "MOST_BYTES", 20_000)  # in several programs
        parts = calibrate(small, rows, method=method)
        monkeypatch.undo()
        ours, theirs = list(parts.schemes.values()), list(whole.schemes.values())
        for a, b in zip(ours, theirs, strict=True):
            rtol = 1e-6 if method == "minmax" else 0.02  # the last batch is filled up
            np.testing.assert_allclose(a.scale, b.scale, rtol=rtol)


def test_a_value_without_extent():
    class Zeros(nn.Module):
        def forward(self, x):
            return (x * 0.0 + 0.0) + x.abs().neg().clamp(max=-1.0), x * 0.0

    rows = np.random.default_rng(2).random((4, 3)).astype(np.float32)
    made = of(Zeros(), rows)
    found = calibrate(made, rows)
    below, zeros = (found.schemes[n] for n in made.outputs.values())
    np.testing.assert_allclose(float(below.scale), 1 / 255, rtol=1e-6)
    assert int(below.zero_point) == 127
    assert float(zeros.scale) == 1.0
    exact, none = answers(simulate(found), [rows])
    np.testing.assert_allclose(exact, -np.ones((4, 3)), rtol=1e-6)
    assert not none.any()


# -- what is refused ------------------------------------------------------------------------------
class Named(nn.Module):
    """A layer whose result another function cannot take."""

    def __init__(self, function):
        super().__init__()
        self.first, self.function = nn.Linear(3, 3), function

    def forward(self, x):
        return self.function(self.first(x))


@pytest.mark.parametrize(
    ("function", "kind"),
    [(lambda x: (x - x.abs() - 1).log(), "NaN"), (lambda x: (x * x + 200).exp(), "infinite")],
)
def test_a_value_that_is_not_finite_is_refused_with_its_layer(function, kind):
    rows = np.ones((4, 3), np.float32)
    made = of(Named(function), rows)
    with pytest.raises(ArgumentError, match=r"layer '(log|exp)'") as caught:
        calibrate(made, rows)
    assert kind in str(caught.value)


def test_rows_that_are_not_finite_are_refused_with_the_input():
    made = of(nn.Linear(3, 2), np.ones((4, 3), np.float32))
    rows = np.full((4, 3), np.nan, np.float32)
    with pytest.raises(ArgumentError, match="layer 'input'"):
        calibrate(made, rows)


def test_a_mask_stays_float32():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(5, 5)

        def forward(self, x):
            hidden = tn.ones(5, 5).triu(1) > 0
            return self.first(x).masked_fill(hidden, -tn.inf).softmax(-1)

    rows = np.random.default_rng(0).standard_normal((4, 5, 5)).astype(np.float32)
    made = of(Masked(), rows)
    found = calibrate(made, rows)
    floats = [n for n in made.graph.nodes if n.dtype is dt.float32 and n.op is not ops.LEAF]
    endless = [n for n, v in zip(floats, values(made, [rows], floats), strict=True)
               if np.isinf(v).any()]  # fmt: skip
    assert len(endless) >= 2
    assert set(endless) == set(floats) - set(found.schemes)
    exact, came = answers(made, [rows])[0], answers(simulate(found), [rows])[0]
    assert np.abs(exact - came).max() < 0.02
    assert not came[:, 0, 1:].any()


@pytest.mark.parametrize(
    ("rows", "error"),
    [(np.ones((4, 2), np.float32), ShapeError), (np.ones((0, 3), np.float32), ShapeError),
     (np.ones(3, np.float32), ShapeError), (np.ones((4, 3), np.int64), ArgumentError),
     ({"other": np.ones((4, 3))}, ArgumentError), ((1, 2), ArgumentError)],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused(rows, error):
    made = of(nn.Linear(3, 2), np.ones((4, 3), np.float32))
    with pytest.raises(error, match="quantize"):
        calibrate(made, rows)


def test_an_index_that_is_out_of_range_is_refused():
    model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 2))
    made = of(model, np.zeros((4, 1), np.int64))
    with pytest.raises(IndexRangeError, match="below 5"):
        calibrate(made, np.full((4, 1), 5))


# -- rows in batches ------------------------------------------------------------------------------
def test_rows_come_in_batches_and_the_last_is_filled_up():
    made = of(nn.Linear(3, 2), np.ones((4, 3), np.float32), batch=4)
    rows = np.arange(18, dtype=np.float32).reshape(6, 3)
    got = [(arrays[0][:, 0].tolist(), new) for arrays, new in Batches(made, rows)]
    assert got == [([0, 3, 6, 9], 4), ([12, 15, 0, 3], 2)]


def test_a_model_of_one_size_takes_several_of_it(tmp_path):
    path = tmp_path / "m.tnr"
    tn.save(nn.Linear(3, 2), path, example_inputs=np.ones((2, 3), np.float32), dynamic=None)
    made = folded(source_of(opened(path)))
    assert made.batch == 0
    rows = np.arange(18, dtype=np.float32).reshape(6, 3)
    assert [a[0].shape for a, _ in Batches(made, rows)] == [(2, 3)] * 3
    one = calibrate(made, rows).schemes[made.inputs["input"]]
    np.testing.assert_allclose(float(one.scale), 17 / 255, rtol=1e-6)
    with pytest.raises(ShapeError):
        Batches(made, rows[:5])


# -- weights alone --------------------------------------------------------------------------------
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_alone(bits, tmp_path_factory):
    made, rows = source("keywords", tmp_path_factory)
    found = weights_only(made, bits=bits)
    assert found.method == "weights"
    assert all(n.op is ops.LEAF for n in found.schemes)
    small = simulate(found)
    assert [n.op for n in small.graph.nodes] == [n.op for n in made.graph.nodes]
    batch = [a[:8] for a in rows]
    exact, came = answers(made, batch)[0], answers(small, batch)[0]
    off = np.linalg.norm(came - exact) / np.linalg.norm(exact)
    assert 0 < off < (0.01 if bits == 8 else 0.5)


def test_bits_that_are_none_are_refused():
    made = of(nn.Linear(3, 2), np.ones((4, 3), np.float32))
    with pytest.raises(ArgumentError, match="bits"):
        weights_only(made, bits=9)


# -- the simulated graph --------------------------------------------------------------------------
def test_the_simulated_graph_rounds_as_the_record_does(tmp_path_factory):
    made, rows = source("digits", tmp_path_factory)
    found = calibrate(made, rows)
    batch = [a[:8] for a in rows]
    first = next(x for x in layers(made) if x.kind == "conv")
    names = {leaf: name for name, leaf in made.leaves.items()}
    weights = {
        name: found.schemes[leaf].real(found.schemes[leaf].stored(made.weights[name]))
        if name == names[first.weights[0]] else made.weights[name]
        for leaf, name in names.items()
    }  # fmt: skip
    scheme = found.schemes[next(iter(made.inputs.values()))]
    entered = scheme.real(scheme.stored(batch[0]))
    graph = Graph(made.graph.nodes, [first.end])
    exact = reference.run(graph, [entered, *weights.values()], [])[0]
    held = found.schemes[first.end]
    small = simulate(found)
    at = next(n for n in small.graph.nodes if n.shape == first.end.shape and n.op is ops.MUL)
    np.testing.assert_array_equal(values(small, batch, [at])[0], held.real(held.stored(exact)))
