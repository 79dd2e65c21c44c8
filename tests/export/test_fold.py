"""Folding keeps what a model computes, and leaves one convolution where a norm followed it."""

from collections import Counter

import numpy as np
import pytest

from tenor.compiler.emit import reference
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tests.export import zoo


@pytest.mark.parametrize("name", zoo.ZOO)
def test_same_answers(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    model = opened(path)
    rows = 2
    source = source_of(model, batch=rows)
    small = folded(source)
    assert len(small.graph.nodes) <= len(source.graph.nodes)
    given = [source.rows[n][:rows] for n in source.inputs]
    before = reference.run(source.graph, [*given, *source.weights.values()], [])
    after = reference.run(small.graph, [*given, *small.weights.values()], [])
    for a, b, name in zip(before, after, source.outputs, strict=True):
        scale = np.abs(a).max() if a.dtype.kind == "f" else 0
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-6 * max(1, scale), err_msg=name)


@pytest.mark.parametrize("name", ["digits", "keywords", "mobilenet"])
def test_norms_are_gone(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    counts = Counter(n.op.name for n in folded(source_of(opened(path))).graph.nodes)
    assert not counts["rsqrt"]
    assert counts["add"] <= counts["conv"] + counts["matmul"]


def test_a_value_read_twice_is_not_folded_away(tmp_path):
    import tenor as tn

    class Twice(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = tn.nn.Conv2d(2, 3, 1)
            self.register_buffer("scale", tn.tensor([2.0, 0.5, -1.0]).reshape(1, 3, 1, 1))

        def forward(self, x):
            y = self.conv(x)
            return {"a": y * self.scale, "b": y, "c": 1.0 - y * self.scale}

    x = zoo.images(2, 2, 4, 4)
    model = Twice()
    tn.save(model, tmp_path / "m.tnr", example_inputs=x)
    small = folded(source_of(opened(tmp_path / "m.tnr"), batch=2))
    after = reference.run(small.graph, [x, *small.weights.values()], [])
    wanted = model(tn.tensor(x))
    for name, value in zip(small.outputs, after, strict=True):
        np.testing.assert_allclose(value, wanted[name].detach().numpy(), atol=1e-6, err_msg=name)


def test_a_weight_that_is_rounded_while_trained_is_worked_out():
    import tenor as tn

    model = tn.nn.Sequential(tn.nn.Conv2d(2, 3, 3), tn.nn.BatchNorm2d(3), tn.nn.Linear(4, 5))
    ready = tn.ao.quantization.prepare_qat(model)
    rows = np.random.default_rng(0).standard_normal((2, 2, 6, 6)).astype(np.float32)
    ready(tn.tensor(rows))
    source = folded(source_of(opened(ready, rows), batch=2))
    counts = Counter(n.op.name for n in source.graph.nodes)
    assert counts["round"] == 2  # of the results; those of the weights are gone
    assert counts["add"] == 4  # two biases, two zero points: the norm is in the convolution
    with tn.no_grad():
        wanted = ready.eval()(tn.tensor(rows)).numpy()
    got = reference.run(source.graph, [rows, *source.weights.values()], [])[0]
    step = ready[2].activation_post_process.scale.item()
    assert np.abs(got - wanted).max() <= 1.01 * step


def test_what_only_numbers_repeat_is_not_stored_large():
    import tenor as tn

    class Wide(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = tn.nn.Parameter(tn.ones(1, 512)), tn.nn.Parameter(tn.ones(512, 1))

        def forward(self, x):
            return x + self.a * self.b

    source = folded(source_of(opened(Wide(), np.ones((1, 512, 512), np.float32))))
    assert max(w.size for w in source.weights.values()) == 512
