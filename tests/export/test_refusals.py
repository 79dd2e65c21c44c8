"""What cannot be exported: which operation, where in the model, what instead; nothing written."""

import re

import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError, DTypeError, ExportError
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tenor.export.web.gpu import part_of
from tenor.nn import functional as F
from tests.export import zoo

PLACE = r"operation \d+ of \d+ in 'predict', after the weight 'first\.weight'"


class Gradient(nn.Module):
    """A gradient in a model that predicts."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        with tn.enable_grad():
            q = self.first(x).detach().requires_grad_()
            made = F.scaled_dot_product_attention(q, q, q, is_causal=True)
            return tn.autograd.grad(made.sum(), q)[0]


class Other(nn.Module):
    """A product in another dtype."""

    def __init__(self, dtype):
        super().__init__()
        self.first, self.dtype = nn.Linear(3, 3, bias=False), dtype

    def forward(self, x):
        y = self.first(x).to(self.dtype)
        return (y * y).float()


class Selected(nn.Module):
    """Elements set at indices that are computed."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        y = self.first(x)
        z = y * 1
        z[y[:, 0].argsort()] = y
        return z


def images():
    return zoo.images(2, 1, 20, 3)


def rows():
    return zoo.images(4, 3)


REFUSED = {
    "onnx": ("onnx", Gradient, images, {}, "attention_gradient of float32", "that predicts"),
    "tflite": ("tflite", Gradient, images, {}, "attention_gradient of float32", "that predicts"),
    "tflite, one use": ("tflite", Selected, rows, {}, "put of float32", r"where\(\) with a mask"),
    "edge": ("edge", lambda: Other(tn.float16), rows, {"target": "riscv32-bare"},
             "mul in float16", "cast to float32"),
    "web": ("web", lambda: Other(tn.float16), rows, {}, "float16 in the model", r"model\.float"),
}  # fmt: skip
NEEDS = {"onnx": "onnx", "tflite": "flatbuffers"}


@pytest.mark.parametrize("case", REFUSED)
def test_the_operation_its_place_and_what_to_use_are_said(case, tmp_path):
    to, make, inputs, options, what, instead = REFUSED[case]
    if to in NEEDS:
        pytest.importorskip(NEEDS[to])
    with pytest.raises(ExportError) as caught:
        tn.export(make(), tmp_path / "new", to=to, example_inputs=inputs(), **options)
    text = str(caught.value)
    assert what in text
    assert re.search(PLACE, text)
    assert re.search(f"fix: .*{instead}", text)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "inputs", "error", "what", "instead"),
    [
        (Gradient, images, ArgumentError, "attention_gradient of float32", "that predicts"),
        (lambda: Other(tn.float64), rows, DTypeError, "float64", "use one of bfloat16"),
    ],
)
def test_shaders_say_it_too(make, inputs, error, what, instead):
    source = folded(source_of(opened(make(), inputs()), batch=2))
    with pytest.raises(error) as caught:
        part_of(source)
    text = str(caught.value)
    assert re.search(f"{what}, {PLACE}", text)
    assert re.search(f"fix: .*{instead}", text)
