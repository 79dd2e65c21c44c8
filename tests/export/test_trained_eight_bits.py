"""A model trained with fake quantisation, exported: every kind of file holds what it learnt."""

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError
from tenor.export.edge import export_edge
from tenor.export.fold import folded
from tenor.export.onnx import export_onnx
from tenor.export.quantize import calibrate, integer, moved
from tenor.export.quantize.running import Batches, Running
from tenor.export.source import opened, source_of
from tenor.export.tflite import export_tflite
from tenor.export.web import export_web
from tenor.ir import op as ops
from tests.export.edge import machines
from tests.export.web.engines import InWasmtime

quantization = tn.ao.quantization
ROWS = 24


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Return a bundle, its record, the scales its training found, and its own answers."""
    tn.manual_seed(5)
    x, y, *_ = tn.data.load_digits()
    model = quantization.prepare_qat(
        nn.Sequential(
            quantization.QuantStub(), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10),
        ).train()
    )  # fmt: skip
    optimizer = tn.optim.Adam(model.parameters(), lr=1e-2)
    for at in range(0, 12 * 32, 32):
        loss = nn.functional.cross_entropy(
            model(tn.tensor(x[at : at + 32])), tn.tensor(y[at : at + 32])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = x[:ROWS]
    path = tmp_path_factory.mktemp("learnt") / "learnt.tnr"
    tn.save(model.eval(), path, example_inputs=rows, name="learnt")
    found = calibrate(folded(source_of(opened(path), batch=8)), x[:64])
    scales = {
        (np.float32(m.scale.item()), int(m.zero_point.item()) - 128)
        for m in model.modules()
        if isinstance(m, quantization.FakeQuantize) and m.ch_axis is None
    }
    assert len(scales) == 3
    assert scales <= held(s for s in found.schemes.values() if s.axis is None)
    with tn.no_grad():
        answers = model(tn.tensor(rows)).numpy()
    step = max(float(s.scale) for s in map(found.schemes.get, found.source.outputs.values()))
    return path, found, scales, rows, answers, step


def held(schemes):
    return {(np.float32(s.scale.item()), int(s.zero_point.item())) for s in schemes}


def near(came, wanted, step):
    """Compare with the trained model's own answers: a last bit may move a value by a step."""
    assert np.abs(came - wanted).max() <= 2.01 * step
    assert np.mean(came.argmax(1) == wanted.argmax(1)) > 0.9


@pytest.mark.parametrize("batch", [1, 5])
def test_the_record_moves_to_another_batch_size(batch, learnt):
    path, found, scales, rows, answers, step = learnt
    source = folded(source_of(opened(path), batch=batch))
    assert any(n.op is ops.ROUND for n in source.graph.nodes)
    there = moved(found, source)
    assert there.source.batch == batch
    assert not any(n.op is ops.ROUND for n in there.source.graph.nodes)
    assert set(there.schemes) <= set(there.source.graph.nodes)
    assert scales <= held(s for s in there.schemes.values() if s.axis is None)
    whole = integer(there)
    run = Running(whole, list(whole.outputs.values()))
    came = np.concatenate([run(given)[0][:new] for given, new in Batches(whole, rows)])
    near(came, answers, step)


def test_another_models_record_is_refused(learnt):
    """The same layers with other weights are another model: the scales would not fit."""
    path, found, *_ = learnt
    source = folded(source_of(opened(path)))
    name = next(iter(source.weights))
    changed = {**source.weights, name: source.weights[name] * 2}
    source.weights.update(changed)
    with pytest.raises(ArgumentError, match="of the model that is exported"):
        moved(found, source)


def test_onnx(learnt, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path, found, scales, rows, answers, step = learnt
    made = export_onnx(path, tmp_path / "m.onnx", quantization=found)
    assert made.batch == "batch"
    model = onnx.load(made.path)
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    written = {
        (np.float32(arrays[n.input[1]]), int(arrays[n.input[2]]))
        for n in model.graph.node
        if n.op_type == "QuantizeLinear"
    }
    assert scales <= written
    assert "Round" not in {n.op_type for n in model.graph.node}
    session = runtime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    near(session.run(None, {session.get_inputs()[0].name: rows})[0], answers, step)


def test_tflite(learnt, tmp_path):
    pytest.importorskip("flatbuffers")
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path, found, scales, rows, answers, step = learnt
    made = export_tflite(path, tmp_path / "m.tflite", quantization=found, batch=ROWS)
    engine = litert.Interpreter(str(made.path))
    engine.allocate_tensors()
    written = {
        (np.float32(scale), zero)
        for scale, zero in (d["quantization"] for d in engine.get_tensor_details())
    }
    assert scales <= written
    assert not {"ROUND", "FLOOR"} & set(made.operators)
    engine.set_tensor(engine.get_input_details()[0]["index"], rows)
    engine.invoke()
    near(engine.get_tensor(engine.get_output_details()[0]["index"]), answers, step)


@pytest.mark.parametrize("target", ["x86_64-baseline", "aarch64-linux-dotprod", "cortex-m4"])
def test_edge(target, learnt, tmp_path):
    path, found, _, rows, answers, step = learnt
    batch = 4
    weights = "array" if target in machines.BARE else "bin"
    made = export_edge(
        path, tmp_path, target=target, weights=weights, batch=batch, quantization=found
    )
    whole = integer(moved(found, folded(source_of(opened(path), batch=batch))))
    near(machines.answered(made, whole, [rows[:batch]])[0], answers[:batch], step)


def test_web(learnt, tmp_path):
    path, found, _, rows, answers, step = learnt
    export_web(path, tmp_path / "web", batch=3, quantization=found)
    status, came = InWasmtime(tmp_path / "web").run(rows[:3])
    assert status == 0
    near(next(iter(came.values())), answers[:3], step)
