"""What several primitives become in one operation: the operation is there, and right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.onnx import export_onnx
from tests.export import zoo
from tests.export.onnx.test_export import Applied, answers, relative

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

F = nn.functional
IMAGE = (2, 4, 9, 11)


class layer(NamedTuple):
    """A row of a layer rather than a function."""

    make: Any


# name: (function, input shape, the ONNX operations and nothing else)
ROWS = {
    "relu": (lambda x: x.relu(), IMAGE, "Relu"),
    "leaky relu": (lambda x: F.leaky_relu(x, 0.2), IMAGE, "LeakyRelu"),
    "elu": (lambda x: F.elu(x, 0.7), IMAGE, "Elu"),
    "relu6": (F.relu6, IMAGE, "Clip"),
    "clamp": (lambda x: x.clamp(-0.2, 0.1), IMAGE, "Clip"),
    "clamp below": (lambda x: x.clamp(min=-0.2), IMAGE, "Clip"),
    "clamp above": (lambda x: x.clamp(max=0.3), IMAGE, "Clip"),
    "hardswish": (F.hardswish, IMAGE, "Add Clip Mul Div"),
    "softplus": (lambda x: F.softplus(x * 50), IMAGE, "Mul Softplus"),
    "positive part": (lambda x: tn.where(x > 0, x, tn.zeros(())), IMAGE, "Relu"),
    "prelu": (lambda x: F.prelu(x, tn.tensor([0.1, 0.2, -0.3, 2.0])), IMAGE, "PRelu"),
    "mish": (F.mish, IMAGE, "Softplus Tanh Mul"),
    "softmax": (lambda x: x.softmax(1), IMAGE, "Softmax"),
    "log softmax": (lambda x: x.log_softmax(-1), IMAGE, "LogSoftmax"),
    "linear": (layer(lambda: nn.Linear(11, 3)), (5, 11), "Gemm"),
    "linear of sequences": (layer(lambda: nn.Linear(11, 3)), (5, 7, 11), "MatMul Add"),
    "convolution": (layer(lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2)), IMAGE, "Conv"),
    "convolution 1-d": (layer(lambda: nn.Conv1d(4, 2, 3, dilation=2)), (2, 4, 9), "Conv"),
    "convolution 3-d": (layer(lambda: nn.Conv3d(2, 2, 2)), (2, 2, 3, 4, 5), "Conv"),
    "transposed": (layer(lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2)), IMAGE, "ConvTranspose"),
    "transposed 1-d": (
        layer(lambda: nn.ConvTranspose1d(4, 6, 4, 3, dilation=2)), (2, 4, 9), "ConvTranspose",
    ),
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE, "MaxPool"),
    "max pool dilated": (lambda x: F.max_pool2d(x, 2, 1, dilation=2), IMAGE, "MaxPool"),
    "max pool ceil": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), IMAGE, "MaxPool"),
    "max pool 1-d": (lambda x: F.max_pool1d(x, 3), (2, 4, 10), "MaxPool"),
    "average pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE, "AveragePool"),
    "average pool 1-d": (lambda x: F.avg_pool1d(x, 2), (2, 4, 10), "AveragePool"),
    "adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), (2, 4, 8, 9), "AveragePool"),
    "global pool": (lambda x: F.adaptive_avg_pool2d(x, 1), IMAGE, "GlobalAveragePool"),
    "mean of images": (lambda x: x.mean((2, 3)), IMAGE, "GlobalAveragePool Flatten"),
    "mean": (lambda x: x.mean(1), IMAGE, "ReduceMean"),
    "sum": (lambda x: x.sum((1, 2)), IMAGE, "ReduceSum"),
    "argmax": (lambda x: x.argmax(1), IMAGE, "ArgMax"),
    "layer norm": (layer(lambda: nn.LayerNorm(11)), IMAGE, "LayerNormalization"),
    "layer norm of two": (layer(lambda: nn.LayerNorm((9, 11))), IMAGE, "LayerNormalization"),
    "group norm": (
        layer(lambda: nn.GroupNorm(2, 4)), IMAGE, "Reshape InstanceNormalization Reshape Mul Add",
    ),
    "flatten": (lambda x: x.flatten(1), IMAGE, "Reshape"),
    "index": (lambda x: x[:, tn.tensor([0, -1])], IMAGE, "Gather"),
    "dropout": (lambda x: F.dropout(x, 0.5, training=False) * 2, IMAGE, "Mul"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_one_operation(name, tmp_path):
    function, shape, wanted = ROWS[name]
    x = zoo.images(*shape) - 0.5
    tn.manual_seed(1)
    model = function.make() if isinstance(function, layer) else Applied(function)
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    kinds = [node.op_type for node in onnx.load(made.path).graph.node]
    assert Counter(kinds) == Counter(wanted.split())
    assert made.batch == "batch"
    want = model(tn.tensor(x)).detach().numpy()
    assert relative(next(iter(answers(made.path, [x]).values())), want) < 2e-6


def test_gelu_is_an_operation_from_opset_20_and_is_fused_below(tmp_path):
    x = zoo.images(3, 7) * 4 - 2
    for opset, wanted in ((18, {"Div", "Erf", "Add", "Mul"}), (20, {"Gelu"})):
        made = export_onnx(Applied(F.gelu), tmp_path / "m.onnx", example_inputs=x, opset=opset)
        assert {n.op_type for n in onnx.load(made.path).graph.node} == wanted
        assert made.difference < 1e-6
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "fused.onnx")
        onnxruntime.InferenceSession(str(made.path), options, providers=["CPUExecutionProvider"])
        kinds = [n.op_type for n in onnx.load(tmp_path / "fused.onnx").graph.node]
        assert kinds == ["Gelu"]


# -- where they do not fit ----------------------------------------------------------------------
OTHERS = {
    "softplus of another slope": lambda x: F.softplus(x, beta=2.0),
    "softplus cut early": lambda x: F.softplus(x, threshold=0.1),
    "a value inside is an output": lambda x: {"a": (y := x * 2 - 1), "b": y.relu()},
    "the product is read": lambda x: {"a": (p := x @ tn.ones(5, 4)), "b": p + tn.ones(4)},
    "where with another bound": lambda x: tn.where(x <= 0.5, tn.zeros(()), x),
    "where with another value": lambda x: tn.where(x <= 0, tn.ones(()), x),
    "where with another operand": lambda x: tn.where(x <= 0, tn.zeros(()), x * 2),
    "bounds that cross": lambda x: x.clamp(0.7, 0.2),
    "e read besides": lambda x: (e := (x - x.amax(1, keepdim=True)).exp()) / e.sum(1, True) + e,
    "sum of another dim": lambda x: (e := (x - x.amax(1, keepdim=True)).exp()) / e.sum(0, True),
    "mean of another count": lambda x: x.sum(1) / 4,
    "variance": lambda x: x.var(1),
    "max of overlapping windows": lambda x: x.unfold(1, 2, 1).amax(-1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_looks_like_a_pattern(name, tmp_path):
    model, x = Applied(OTHERS[name]), zoo.images(3, 5) - 0.4
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x, batch=3)
    want = model(tn.tensor(x))
    want = want if isinstance(want, dict) else {"output": want}
    got = answers(Path(made.path), [x])
    for a, b in zip(got.values(), want.values(), strict=True):
        assert relative(a, b.numpy()) < 1e-6


def test_padding_wider_than_a_window_stays_outside(tmp_path):
    model = Applied(lambda x: F.max_pool2d(F.pad(x, (3, 3, 0, 0), value=-np.inf), 2))
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=zoo.images(2, 1, 4, 4))
    assert [n.op_type for n in onnx.load(made.path).graph.node] == ["Pad", "MaxPool"]
