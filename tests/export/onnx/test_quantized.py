"""Eight-bit models: pairs around every value, weights as int8, biases as int32, answers near."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tenor.export.onnx import export_onnx
from tenor.export.quantize.record import Quantization, Scheme
from tenor.export.source import opened
from tests.export import zoo
from tests.export.onnx.minmax import quantized
from tests.export.onnx.test_export import answers

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# Of an output's largest magnitude, from ranges of 16 rows.
ERRORS = {"digits": 0.01, "mlp": 0.02, "keywords": 0.02, "mobilenet": 0.02, "residual": 0.02,
          "unet": 0.02, "sound": 0.03}  # fmt: skip


def exported(name, folder, batch=16):
    """Export a model of the zoo in eight bits; return what came, the model and its inputs."""
    path, inputs = zoo.bundle(name, folder / "m.tnr")
    model = opened(path)
    named = {s.name: x for s, x in zip(model.signature().inputs, inputs, strict=True)}
    few = {n: x[:batch] for n, x in named.items()}
    made = export_onnx(path, folder / "m.onnx", quantization=quantized(model, batch, few))
    return made, onnx.load(folder / "m.onnx"), inputs


@pytest.mark.parametrize("name", ERRORS)
def test_answers_are_near(name, tmp_path):
    made, model, inputs = exported(name, tmp_path, batch=4 if name == "mobilenet" else 16)
    assert made.checked == "onnxruntime"
    assert 0 < made.difference < ERRORS[name]
    assert made.batch == "batch"
    answers(made.path, [x[:3] for x in inputs])  # another batch
    kinds = Counter(n.op_type for n in model.graph.node)
    assert kinds["DequantizeLinear"] > kinds["QuantizeLinear"] > 1


def test_what_is_in_eight_bits(tmp_path):
    _, model, _ = exported("digits", tmp_path)
    graph = model.graph
    tensors = {t.name: t for t in graph.initializer}
    makers = {n.output[0]: n for n in graph.node}
    for conv in (n for n in graph.node if n.op_type in ("Conv", "Gemm")):
        x, weight, bias = (makers[name] for name in conv.input)
        assert x.op_type == weight.op_type == bias.op_type == "DequantizeLinear"
        assert makers[x.input[0]].op_type == "QuantizeLinear"
        assert tensors[weight.input[0]].data_type == onnx.TensorProto.INT8
        assert tensors[bias.input[0]].data_type == onnx.TensorProto.INT32
        scale, of_x, of_weight = (
            onnx.numpy_helper.to_array(tensors[name])
            for name in (bias.input[1], x.input[1], weight.input[1])
        )
        np.testing.assert_allclose(scale, of_x * of_weight, rtol=1e-6)
        axis = next(a.i for a in weight.attribute if a.name == "axis")
        assert axis == (0 if conv.op_type == "Conv" else 1)
        after = next(n for n in graph.node if conv.output[0] in n.input)
        assert after.op_type in ("Relu", "QuantizeLinear")


def test_a_runtime_makes_integers_of_it(tmp_path):
    made, _, _ = exported("keywords", tmp_path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(str(made.path), options, providers=["CPUExecutionProvider"])
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert kinds["QLinearConv"] == 9
    assert kinds["QGemm"] == 1
    assert kinds["QuantizeLinear"] == kinds["DequantizeLinear"] == 1


def test_weights_alone(tmp_path):
    path, inputs = zoo.bundle("mlp", tmp_path / "m.tnr")
    model = opened(path)
    every = quantized(model, 16, {model.signature().inputs[0].name: inputs[0]})
    leaves = set(every.source.leaves.values())
    schemes = {n: s for n, s in every.schemes.items() if n in leaves}
    made = export_onnx(path, tmp_path / "m.onnx", quantization=Quantization(every.source, schemes))
    kinds = Counter(n.op_type for n in onnx.load(made.path).graph.node)
    assert kinds == {"Gemm": 4, "Relu": 3, "DequantizeLinear": 4}
    assert made.path.stat().st_size < 1_600_000
    assert 0 < made.difference < 0.02


def test_one_scale_for_a_whole_weight(tmp_path):
    path, inputs = zoo.bundle("digits", tmp_path / "m.tnr")
    model = opened(path)
    every = quantized(model, 16, {model.signature().inputs[0].name: inputs[0]})
    schemes = {
        n: s if s.axis is None else Scheme(s.scale.max(), np.int32(0))
        for n, s in every.schemes.items()
    }
    made = export_onnx(path, tmp_path / "m.onnx", quantization=Quantization(every.source, schemes))
    assert 0 < made.difference < 0.03


def test_rounding_is_that_of_the_record():
    scheme = Scheme(np.float32(0.1), np.int32(3))
    values = np.array([-99, -0.25, 0, 0.05, 0.149, 12.44, 99], np.float32)
    assert scheme.stored(values).tolist() == [-128, 1, 3, 3, 4, 127, 127]
