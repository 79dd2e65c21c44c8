"""Patterns find layers again, cover what they should, and leave what somebody else reads."""

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.fold import folded
from tenor.export.patterns import ACTIVATIONS, FUSABLE, KINDS, layers_of
from tenor.export.source import opened, source_of
from tenor.ir.op import OPS
from tests.export import zoo

F = nn.functional


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.linear = nn.Linear(9, 5)

    def forward(self, x):
        return self.function(self, x)


def layers(function, *shape):
    """Return the layers of a function of a module and an image."""
    x = np.random.default_rng(0).normal(size=shape or (2, 4, 8, 9)).astype(np.float32)
    tn.manual_seed(2)
    return layers_of(folded(source_of(opened(Of(function).eval(), x))))


def kinds(found):
    return [layer.kind for layer in found if layer.kind not in ("const", "expand")]


FOUND = {
    "relu": F.relu, "relu6": F.relu6, "silu": F.silu, "gelu": F.gelu, "elu": F.elu,
    "hard_swish": F.hardswish, "leaky_relu": F.leaky_relu, "tanh": lambda x: x.tanh(),
    "log_softmax": lambda x: F.log_softmax(x, 1), "clamp": lambda x: x.clamp(-1, 2),
    "softmax": lambda x: x.softmax(2),
    "mean": lambda x: x.mean((2, 3)), "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool": lambda x: F.avg_pool2d(x, 2), "sigmoid": lambda x: x.sigmoid(),
    "concat": lambda x: tn.cat([x, x], 1), "permute": lambda x: x.permute(0, 2, 3, 1),
    "max_over": lambda x: F.adaptive_max_pool2d(x, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOUND)
def test_one_layer(kind):
    found = layers(lambda _, x: FOUND[kind](x))
    assert kinds(found) == [kind]
    (layer,) = [one for one in found if one.kind == kind]
    assert layer.nodes[-1] is layer.output
    assert len(set(layer.nodes)) == len(layer.nodes)


ATTRS = [
    (lambda _, x: F.gelu(x, approximate="tanh"), "gelu", {"approximate": True}),
    (lambda _, x: F.gelu(x), "gelu", {"approximate": False}),
    (lambda _, x: x.clamp(-1, 2), "clamp", {"low": -1.0, "high": 2.0}),
    (lambda _, x: F.hardtanh(x, -0.5, 0.5), "clamp", {"low": -0.5, "high": 0.5}),
    (lambda _, x: x.softmax(1), "softmax", {"dim": 1}),
    (lambda _, x: x.mean(1), "mean", {"dims": (1,)}),
    (lambda _, x: F.adaptive_avg_pool2d(x, 1), "mean", {"dims": (2, 3)}),
    (
        lambda _, x: F.avg_pool2d(x, (2, 3), (1, 2), (1, 0)), "avg_pool",
        {"size": (2, 3), "stride": (1, 2), "padding": ((1, 1), (0, 0)), "dilation": (1, 1)},
    ),
    (
        lambda _, x: F.max_pool2d(x, 2, 1, 0, 3), "max_pool",
        {"size": (2, 2), "stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (3, 3)},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind", "attrs"), ATTRS)
def test_attributes(function, kind, attrs):
    (layer,) = (one for one in layers(function) if one.kind != "const")
    assert (layer.kind, layer.attrs) == (kind, attrs)


def test_a_convolution_takes_its_bias_and_activation():
    (layer,) = layers(lambda m, x: m.conv(x).relu())
    assert layer.kind == "conv"
    assert layer.attrs["activation"] == "relu"
    assert len(layer.inputs) == 3
    assert {n.op.name for n in layer.nodes} == {"conv", "expand", "add", "le", "where"}


def test_a_product_of_more_dims_takes_its_bias():
    found = layers(lambda m, x: m.linear(x).relu())
    assert kinds(found) == ["reshape", "linear"]
    assert found[-1].attrs["activation"] == "relu"
    assert found[-1].output.shape == (1, 4, 8, 5)


def test_what_somebody_else_reads_stays():
    found = layers(lambda m, x: (m.conv(x).relu(), m.conv(x)))
    assert kinds(found).count("conv") == 2

    def both(m, x):
        y = m.conv(x)
        return y.relu() + y

    found = layers(both)
    assert kinds(found) == ["conv", "relu", "add"]
    assert "activation" not in found[0].attrs

    def gate(_, x):
        y = x.sigmoid()
        return x * y, y

    assert kinds(layers(gate)) == ["sigmoid", "mul"]


def test_what_only_looks_alike_stays():
    assert kinds(layers(lambda _, x: tn.where(x <= 0, 0.5, x))) != ["relu"]
    assert "softmax" not in kinds(layers(lambda _, x: x.exp() / x.exp().sum(1, keepdim=True)))
    assert "mean" not in kinds(layers(lambda _, x: x.sum((2, 3)) / 71))
    assert "avg_pool" not in kinds(layers(lambda _, x: F.avg_pool2d(x, 2, divisor_override=3)))
    assert "silu" not in kinds(layers(lambda _, x: x * (x + 1).sigmoid()))
    assert "elu" not in kinds(layers(lambda _, x: F.elu(x, 0.5)))


def test_a_mean_of_averages_is_two_layers():
    found = layers(lambda _, x: F.avg_pool2d(x, 2).mean((2, 3)))
    assert kinds(found) == ["avg_pool", "mean"]


@pytest.mark.parametrize("name", zoo.ZOO)
def test_layers_of_the_zoo(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    source = folded(source_of(opened(path)))
    found = layers_of(source)
    made = {*source.inputs.values(), *source.leaves.values()}
    covered = set()
    for number, layer in enumerate(found):
        assert set(layer.inputs) <= made, layer.name(number)
        assert not covered & set(layer.nodes)
        covered |= set(layer.nodes)
        made.add(layer.output)
        assert layer.kind in KINDS or layer.kind in OPS
        assert layer.attrs.get("activation", "relu") in ACTIVATIONS
        assert "activation" not in layer.attrs or layer.kind in FUSABLE
    assert set(source.outputs.values()) <= made
    assert len(found) < 0.9 * len(source.graph.nodes)


def test_digits_is_six_layers(tmp_path):
    path, _ = zoo.bundle("digits", tmp_path / "m.tnr")
    found = layers_of(folded(source_of(opened(path))))
    assert kinds(found) == ["conv", "conv", "max_pool", "reshape", "linear", "softmax"]
    assert found[0].name(0) == "0 conv 1x16x8x8"
