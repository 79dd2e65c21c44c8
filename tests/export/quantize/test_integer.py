"""Models of bytes: what they compute is the stated formula, exactly, and near the float model."""

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.engine import backend
from tenor.errors import ArgumentError
from tenor.export.fold import folded
from tenor.export.quantize.integer import integer
from tenor.export.quantize.record import Quantization, Scheme
from tenor.export.source import opened, source_of
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.runtime import allocator
from tests.export.zoo import ZOO, bundle


def scheme_of(low, high):
    """Return the scheme of activations in a range; 0 is always held exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max(high - low, 1e-6) / 255)
    return Scheme(scale, np.int32(np.clip(np.rint(-128 - low / scale), -128, 127)))


def quantised(source, rows):
    """Return a source with schemes of the least and largest numbers met."""
    graph, weights = source.graph, dict(zip(source.leaves.values(), source.weights.values(),
                                            strict=True))  # fmt: skip
    wanted = [n for n in graph.nodes if n.dtype is dt.float32 and n not in weights and n.shape]
    every = type(graph)(graph.nodes, wanted)
    low, high = np.full(len(wanted), np.inf), np.full(len(wanted), -np.inf)
    for i in range(len(next(iter(rows.values())))):
        given = [x[i : i + 1] for x in rows.values()]
        for at, value in enumerate(reference.run(every, [*given, *weights.values()], [])):
            value = value[np.isfinite(value)]  # padding of maximum pools
            low[at], high[at] = min(low[at], value.min()), max(high[at], value.max())
    schemes = {n: scheme_of(*ends) for n, *ends in zip(wanted, low, high, strict=True)}
    for node in graph.nodes:
        if node.op in (ops.CONV, ops.MATMUL) and node.inputs[1] in weights:
            axis = 0 if node.op is ops.CONV else 1
            value = np.moveaxis(weights[node.inputs[1]], axis, 0).reshape(node.shape[1], -1)
            scale = np.maximum(np.abs(value).max(1), 1e-6).astype(np.float32) / np.float32(127)
            schemes[node.inputs[1]] = Scheme(scale, np.zeros(len(scale), np.int32), axis)
    return Quantization(source, schemes)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return name -> (folded source, its quantization), made once each."""
    made = {}

    def of(name):
        if name not in made:
            path, inputs = bundle(name, tmp_path_factory.mktemp("zoo") / f"{name}.tnr")
            source = folded(source_of(opened(path)))
            rows = dict(zip(source.inputs, inputs, strict=True))
            made[name] = (source, quantised(source, {k: x[:4] for k, x in rows.items()}), rows)
        return made[name]

    return of


def compiled(source, rows):
    """Return what this machine computes."""
    leaves = [n for n in source.graph.nodes if n.op is ops.LEAF]
    given = [*rows.values(), *source.weights.values()]
    runner = backend.load(source.graph)
    buffers = [allocator.copy_of(np.ascontiguousarray(x)) for x in given]
    out, *status = runner.run(buffers, [])
    assert len(leaves) == len(given)
    assert status == [0, 0]
    return [
        b.array(n.dtype.numpy, n.shape).copy()
        for b, n in zip(out, source.graph.outputs, strict=True)
    ]


def row(rows, i):
    return {name: x[i : i + 1] for name, x in rows.items()}


def interpreted(source, rows):
    return reference.run(source.graph, [*rows.values(), *source.weights.values()], [])


def names(source):
    return [n.op.name for n in source.graph.nodes]


@pytest.mark.parametrize("name", ["digits", "mlp", "keywords", "mobilenet", "residual", "unet",
                                  "sound"])  # fmt: skip
def test_the_machine_computes_what_the_interpreter_does(name, models):
    _, quantization, rows = models(name)
    made = integer(quantization)
    for i in (5, 9):
        for a, b in zip(compiled(made, row(rows, i)), interpreted(made, row(rows, i)), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-7)
    inner = {**made.outputs}
    assert inner.keys() == quantization.source.outputs.keys()


@pytest.mark.parametrize("name", ["digits", "mlp", "keywords", "mobilenet"])
def test_bytes_at_the_edges_are_exact(name, models):
    _, quantization, rows = models(name)
    made = integer(quantization, edges="int8")
    (entry,) = made.inputs
    assert made.inputs[entry].dtype is dt.int8
    scheme = quantization.schemes[quantization.source.inputs[entry]]
    given = {entry: scheme.stored(rows[entry][3:4])}
    out, want = compiled(made, given), interpreted(made, given)
    steps = np.abs(out[0].astype(int) - want[0].astype(int)).max()
    # digits ends in a softmax, whose exponentials differ by an ulp from NumPy's.
    assert steps <= (1 if name == "digits" else 0)
    assert made.rows[entry].dtype == np.int8


@pytest.mark.parametrize("name", ["digits", "mlp", "keywords", "mobilenet"])
def test_every_layer_is_in_bytes_and_the_answers_are_near(name, models):
    source, quantization, rows = models(name)
    made = integer(quantization)
    layers = sum(op in ("conv", "matmul") for op in names(source))
    assert not {"conv", "matmul"} & set(names(made))
    assert sum(op in ("conv_int8", "matmul_int8") for op in names(made)) == layers
    got = np.concatenate([interpreted(made, row(rows, i))[0] for i in range(8)])
    want = np.concatenate([interpreted(source, row(rows, i))[0] for i in range(8)])
    assert np.abs(got - want).max() <= 0.06 * np.abs(want).max()


def by_hand(quantization, x):
    """Compute the perceptron by the formula of the module alone."""
    source, schemes = quantization.source, quantization.schemes
    arrays = dict(zip(source.leaves.values(), source.weights.values(), strict=True))
    held = schemes[next(iter(source.inputs.values()))]
    inverse = np.float32(1 / np.float64(held.scale))
    q = np.clip(np.rint(x * inverse) + held.zero_point, -128, 127).astype(np.int64)
    layers = [n for n in source.graph.nodes if n.op is ops.MATMUL]
    biases = [n for n in source.graph.nodes if n.op is ops.ADD]
    ends = [n for n in source.graph.nodes if n.op is ops.WHERE]
    for i, (layer, bias) in enumerate(zip(layers, biases, strict=True)):
        scheme = schemes[layer.inputs[1]]
        w = scheme.stored(arrays[layer.inputs[1]]).astype(np.int64)
        scale = scheme.scale.astype(np.float64) * np.float64(held.scale)
        b = np.rint(arrays[bias.inputs[1].inputs[0]] / scale).astype(np.int64)
        total = q @ w - int(held.zero_point) * w.sum(0) + b
        assert np.abs(total).max() < 2**31
        if i == len(layers) - 1:
            return total.astype(np.float32) * scale.astype(np.float32)
        held = schemes[ends[i]]
        factor = (scale / np.float64(held.scale)).astype(np.float32)
        real = np.rint(total.astype(np.float32) * factor) + held.zero_point
        q = np.clip(real, held.zero_point, 127).astype(np.int64)
    raise AssertionError("a perceptron ends in a product")


def test_a_perceptron_is_the_stated_formula_exactly(models):
    _, quantization, rows = models("mlp")
    made = integer(quantization)
    for i in range(4):
        (got,) = compiled(made, row(rows, i))
        np.testing.assert_array_equal(got, by_hand(quantization, rows["x"][i : i + 1]))


@pytest.mark.parametrize("name", sorted(set(ZOO) - {"mobilenet", "mlp", "keywords", "digits"}))
def test_what_cannot_be_bytes_stays_float(name, models):
    source, quantization, rows = models(name)
    made = integer(quantization)
    for a, b in zip(
        interpreted(made, row(rows, 2)), interpreted(source, row(rows, 2)), strict=True
    ):
        if a.dtype.kind == "f":
            assert np.abs(a - b).max() <= 0.15 * max(np.abs(b).max(), 0.5)


def test_pools_and_relus_stay_bytes(models):
    _, quantization, _ = models("digits")
    made = integer(quantization)
    pools = [n for n in made.graph.nodes if n.op is ops.MAX and len(n.shape) > 2]
    assert [n.dtype for n in pools] == [dt.int8]
    bounds = [n.attrs for n in made.graph.nodes if n.op is ops.QUANTIZE]
    assert (0 if bounds[1][1] is None else bounds[1][1]) == bounds[1][0]  # relu: low is zero


def test_without_schemes_nothing_changes(models):
    source, _, rows = models("keywords")
    made = integer(Quantization(source))
    assert "conv_int8" not in names(made)
    a, b = interpreted(made, row(rows, 0)), interpreted(source, row(rows, 0))
    np.testing.assert_array_equal(a[0], b[0])


def test_edges_are_one_of_two(models):
    _, quantization, _ = models("digits")
    with pytest.raises(ArgumentError, match="edges"):
        integer(quantization, edges="uint8")
