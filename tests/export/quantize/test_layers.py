"""Where an eight-bit machine rounds: once a layer."""

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.fold import folded
from tenor.export.quantize import layers
from tenor.export.source import opened, source_of
from tests.export import zoo

F = nn.functional


def of(model, *inputs):
    example = inputs if len(inputs) > 1 else inputs[0]
    return folded(source_of(opened(model, example), batch=4))


def described(made):
    return [(x.name, x.kind, [n.op.name for n in x.nodes]) for x in layers(made)]


class Of(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


X = np.random.default_rng(0).random((4, 3, 8, 8)).astype(np.float32)


def test_a_product_takes_its_norm_bias_and_clipping():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.Linear(144, 5),
    ).eval()  # fmt: skip
    found = described(of(model, X))
    assert [row[:2] for row in found] == [("x", "input"), ("0", "conv"), ("4", "matmul")]
    assert found[1][2][:2] == ["conv", "add"]
    assert found[2][2] == ["matmul", "add"]


def test_what_is_read_twice_is_rounded():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            y = self.a(x)
            return (y + self.b(y.relu())).relu()

    found = described(of(Block(), X))
    assert [row[:2] for row in found] == [
        ("x", "input"), ("a", "conv"), ("le", "table"), ("b", "conv"), ("add", "add"),
    ]  # fmt: skip
    assert found[1][2] == ["conv", "add"]
    assert found[4][2] == ["add", "le", "where"]


@pytest.mark.parametrize(
    ("function", "kind", "count"),
    [(lambda x: x.softmax(-1), "softmax", 1), (lambda x: x.log_softmax(1), "log_softmax", 1),
     (lambda x: F.layer_norm(x, (8, 8)), "norm", 1), (lambda x: F.rms_norm(x, (8,)), "norm", 1),
     (lambda x: F.group_norm(x, 3), "norm", 1), (lambda x: x / x.sum(-1, True), "rows", 1),
     (F.gelu, "table", 1), (F.elu, "table", 1),
     (lambda x: x.sigmoid() * x, "table", 1), (lambda x: x.mean((2, 3)), "sum", 1),
     (lambda x: F.layer_norm(F.gelu(x), (8,)).relu(), "table", 3),
     (lambda x: tn.cat([x, x * 2], 1), "table", 2), (lambda x: F.max_pool2d(x, 2), None, 0),
     (lambda x: x.transpose(1, 2)[:, 1:].reshape(4, -1), None, 0)],
)  # fmt: skip
def test_a_function_is_one_operation(function, kind, count):
    found = layers(of(Of(function), X))[1:]
    assert len(found) == count
    assert [x.kind for x in found[:1]] == [kind][:count]


@pytest.mark.parametrize("name", zoo.ZOO)
def test_layers_are_apart_and_nothing_but_ends_is_read_outside(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    made = folded(source_of(opened(path), batch=4))
    found = layers(made)
    every = [n for x in found for n in x.nodes]
    assert len(set(every)) == len(every)
    assert len({x.name for x in found}) == len(found)
    place = {n: at for at, n in enumerate(made.graph.nodes)}
    owner = {n: x for x in found for n in x.nodes}
    for x in found:
        assert x.end is x.nodes[-1]
        assert [place[n] for n in x.nodes] == sorted(place[n] for n in x.nodes)
    for node in made.graph.nodes:
        for read in node.inputs:
            home = owner.get(read)
            assert home is None or read is home.end or owner.get(node) is home
    for out in made.graph.outputs:
        assert out not in owner or owner[out].end is out
