"""Scales that training learnt come into the record, and their operations out of the graph."""

import copy

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.fold import folded
from tenor.export.quantize import calibrate, simulate
from tenor.export.quantize.running import Batches, Running
from tenor.export.quantize.trained import stripped
from tenor.export.source import opened, source_of
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tests.export import zoo

quantization = tn.ao.quantization


def of(model, rows, batch=8):
    return folded(source_of(opened(model, rows[:batch]), batch=batch))


def answers(source, rows):
    run, batches = Running(source, list(source.outputs.values())), Batches(source, rows)
    return np.concatenate([run(arrays)[0][:new] for arrays, new in batches])


def by_model(model, rows):
    with tn.no_grad():
        return model.eval()(tn.tensor(rows)).numpy()


def accuracy(answered, labels):
    return float(np.mean(answered.argmax(1) == labels))


def counted(source):
    return sum(n.op is ops.ROUND for n in source.graph.nodes)


# -- the operations are found ---------------------------------------------------------------------
@pytest.mark.parametrize("name", ["digits", "residual", "transformer", "sound"])
def test_what_simulate_writes_is_read_back(name, tmp_path):
    path, rows = zoo.bundle(name, tmp_path / "m.tnr")
    source = folded(source_of(opened(path), batch=8))
    first = calibrate(source, rows)
    made = simulate(first)
    assert counted(made) > 2
    bare, learnt = stripped(made)
    assert [n.op for n in bare.graph.nodes] == [n.op for n in source.graph.nodes]
    again = calibrate(made, rows)
    assert counted(again.source) == 0
    for old, new in zip(source.graph.nodes, again.source.graph.nodes, strict=True):
        if new in learnt or old.op is ops.LEAF:
            a, b = first.schemes.get(old), again.schemes.get(new)
            assert (a is None) == (b is None)
            if a is not None and old in source.leaves.values():
                np.testing.assert_allclose(a.scale, b.scale, rtol=1e-6)
    ends = {n for n in learnt if n in set(again.source.graph.nodes)}
    assert ends


def rounding(low, high, zero, scale=0.05):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)

        def forward(self, x):
            y = self.first(x)
            return tn.fake_quantize_per_tensor_affine(y, scale, zero, low, high).tanh()

    return Model()


@pytest.mark.parametrize(
    ("low", "high", "zero", "wanted"),
    [(0, 255, 128, 0), (0, 255, 3, -125), (-128, 127, -5, -5), (-127, 127, 0, 0)],
)
def test_eight_bits_of_any_kind_become_int8(low, high, zero, wanted):
    rows = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    found = calibrate(of(rounding(low, high, zero), rows), rows)
    assert counted(found.source) == 0
    (end,) = (n for n in found.source.graph.nodes if n.op is ops.ADD)
    assert float(found.schemes[end].scale) == np.float32(0.05)
    assert int(found.schemes[end].zero_point) == wanted


@pytest.mark.parametrize(("low", "high"), [(0, 15), (-2000, 2000)])
def test_other_widths_stay_in_the_graph(low, high):
    rows = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    source = of(rounding(low, high, 0), rows)
    bare, learnt = stripped(source)
    assert bare is source
    assert not learnt


def test_other_rounding_stays_in_the_graph():
    class Model(nn.Module):
        def forward(self, x):
            return (x / 0.5).round().clamp(-3, 3) * 0.25, (x * 4).round() * 0.25, x.round() * 1.0

    rows = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    bare, learnt = stripped(of(Model(), rows))
    assert counted(bare) == 3
    assert not learnt


# -- what is learnt is kept -----------------------------------------------------------------------
def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def trained(model, epochs, rate):
    x, y, *_ = tn.data.load_digits()
    optimizer = tn.optim.Adam(model.train().parameters(), lr=rate)
    draw = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in np.array_split(draw.permutation(len(x)), 15):
            loss = nn.functional.cross_entropy(model(tn.tensor(x[rows])), tn.tensor(y[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@pytest.fixture(scope="module")
def float_model():
    tn.manual_seed(0)
    return trained(network(), 3, 1e-2)


def test_the_record_of_a_trained_model_is_what_it_learnt(float_model):
    _, _, rows, _ = tn.data.load_digits()
    model = nn.Sequential(quantization.QuantStub(), *copy.deepcopy(float_model))
    ready = trained(quantization.prepare_qat(model.train()), 1, 1e-3)
    source = of(ready, rows, batch=90)
    found = calibrate(source, rows)
    assert counted(found.source) == 0
    learnt = {
        float(m.scale.item()): int(m.zero_point.item()) - 128
        for m in ready.modules()
        if isinstance(m, quantization.FakeQuantize) and m.ch_axis is None
    }
    assert len(learnt) == 4
    held = {float(s.scale): int(s.zero_point) for s in found.schemes.values() if s.axis is None}
    assert learnt.items() <= held.items()
    wanted, came = by_model(ready, rows), answers(simulate(found), rows)
    step = max(learnt)
    assert np.mean(wanted == came) > 0.9  # the norm is multiplied in, which moves a last bit
    assert np.abs(wanted - came).max() <= 2.01 * step
    plain = quantization.convert(ready)
    np.testing.assert_array_equal(by_model(plain, rows), wanted)
    again = calibrate(of(plain, rows, batch=90), rows)
    for a, b in zip(found.schemes.values(), again.schemes.values(), strict=True):
        np.testing.assert_array_equal(a.scale, b.scale)
        np.testing.assert_array_equal(a.zero_point, b.zero_point)


@pytest.mark.parametrize(
    ("method", "agree", "off"),
    [("minmax", 0.99, 0.02), ("percentile", 0.99, 0.03), ("entropy", 0.96, 0.15)],
)
def test_quantising_afterwards_costs_a_good_model_little(float_model, method, agree, off):
    x, _, rows, labels = tn.data.load_digits()
    source = of(float_model, rows, batch=90)
    exact = answers(source, rows)
    came = answers(simulate(calibrate(source, x[:360], method=method)), rows)
    assert accuracy(exact, labels) > 0.94
    assert abs(accuracy(came, labels) - accuracy(exact, labels)) < 0.02
    assert np.mean(came.argmax(1) == exact.argmax(1)) >= agree
    assert np.linalg.norm(came - exact) / np.linalg.norm(exact) < off


def test_training_recovers_what_quantising_afterwards_loses(float_model):
    x, _, rows, labels = tn.data.load_digits()
    model = copy.deepcopy(float_model)
    with tn.no_grad():  # the same function, one channel's values far larger than the others'
        model[1].weight[0:1] *= 400.0
        model[1].bias[0:1] *= 400.0
        model[3].weight[:, 0:1] /= 400.0
    exact = accuracy(by_model(model, rows), labels)
    assert exact > 0.94
    after = accuracy(answers(simulate(calibrate(of(model, rows, 90), x[:360])), rows), labels)
    assert after < exact - 0.3
    ready = trained(quantization.prepare_qat(model.train()), 3, 3e-3)
    found = calibrate(of(ready, rows, 90), x[:360])
    recovered = accuracy(answers(simulate(found), rows), labels)
    assert recovered > after + 0.3
    assert recovered > 0.85
    assert all(s.scale.dtype == np.float32 for s in found.schemes.values())
    floats = [n for n in found.source.graph.nodes if n.dtype is dt.float32]
    assert set(found.schemes) == set(floats)
