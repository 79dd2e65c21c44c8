"""Where channels stand: corners in which a wrong order, padding or group would show."""

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.export.tflite import export_tflite
from tests.export.tflite import rounding

pytest.importorskip("ai_edge_litert")
pytest.importorskip("flatbuffers")

F = nn.functional


class Of(nn.Module):
    """A function of an image between convolutions: its values come and go with channels last."""

    def __init__(self, function, come=3, go=4, **conv):
        super().__init__()
        self.first = nn.Conv2d(come, go, 3, **conv)
        self.function = function

    def forward(self, x):
        return self.function(self.first(x))


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def exported(module, *inputs, **options):
    """Return a module's export; it was run by LiteRT and is right."""
    import tempfile
    from pathlib import Path

    tn.manual_seed(3)
    given = inputs[0] if len(inputs) == 1 else inputs
    with tempfile.TemporaryDirectory() as folder:
        made = export_tflite(
            module.eval(), Path(folder) / "m.tflite", example_inputs=given, **options
        )
        assert made.rows == len(inputs[0])
        assert made.difference < 1e-5
        return made


def in_eight_bits(module, x, tmp_path, room=0.05):
    """Return a module's export in eight bits; it is as far off as rounding makes it."""
    path = tmp_path / "m.tnr"
    tn.save(module.eval(), path, example_inputs=x)
    quantization = rounding.minmax(path, len(x))
    made = export_tflite(path, tmp_path / "m.tflite", quantization=quantization)
    assert made.difference < room
    return made


FUNCTIONS = {
    "flattened": lambda y: y.flatten(1),
    "flattened into a product": lambda y: F.linear(y.flatten(1), tn.arange(4 * 6 * 7.0)[None] / 9),
    "rows flattened": lambda y: y.reshape(-1, 4, 42),
    "joined along channels": lambda y: tn.cat([y, y.relu(), y[:, :2]], 1),
    "joined along height": lambda y: tn.cat([y, y * 2], 2),
    "softmax over channels": lambda y: y.softmax(1),
    "softmax over height": lambda y: y.softmax(2),
    "log softmax over channels": lambda y: y.log_softmax(1),
    "mean over channels": lambda y: y.mean(1),
    "mean over height": lambda y: y.mean(2),
    "mean over both": lambda y: y.mean((2, 3)),
    "sum over channels and width": lambda y: y.sum((1, 3), keepdim=True) + y,
    "greatest over channels": lambda y: y.amax(1, keepdim=True) * y,
    "greatest of all": lambda y: y.amax((1, 2, 3)),
    "a number a channel": lambda y: y * tn.tensor([1.0, -2, 3, 0.5]).reshape(4, 1, 1),
    "a number a column": lambda y: y + tn.arange(7.0),
    "a number a row": lambda y: y - tn.arange(6.0).reshape(6, 1),
    "a slice": lambda y: y[:, 1:3, ::2, 1:],
    "backwards": lambda y: y.flip(1, 3),
    "padded": lambda y: F.pad(y, (1, 2, 0, 3), value=1.5),
    "padded with zeros, channels too": lambda y: F.pad(y, (1, 2, 0, 3, 1, 0)),
    "permuted": lambda y: y.permute(0, 2, 3, 1),
    "permuted back": lambda y: y.permute(0, 2, 3, 1).permute(0, 3, 1, 2).relu(),
    "turned": lambda y: y.transpose(2, 3),
    "running sum over channels": lambda y: y.cumsum(1),
    "the largest channel": lambda y: y.argmax(1),
    "adaptive pool to one": lambda y: F.adaptive_avg_pool2d(y, 1),
    "adaptive pool to 3": lambda y: F.adaptive_avg_pool2d(y, 3),
    "adaptive max pool to one": lambda y: F.adaptive_max_pool2d(y, 1),
    "max pool, padded": lambda y: F.max_pool2d(y, 3, 2, 1),
    "max pool, dilated": lambda y: F.max_pool2d(y, 2, 1, 0, 2),
    "max pool, uneven": lambda y: F.max_pool2d(y, (2, 3), (1, 2)),
    "average pool, padded": lambda y: F.avg_pool2d(y, 3, 1, 1),
    "enlarged": lambda y: F.interpolate(y, scale_factor=2),
    "shuffled": lambda y: y.reshape(-1, 2, 2, 6, 7).transpose(1, 2).reshape(-1, 4, 6, 7),
    "chosen": lambda y: tn.where(y > 0, y, y.exp() - 1),
    "two ways": lambda y: (y, y.relu(), y.mean((2, 3))),
    "relu6": F.relu6, "hardswish": F.hardswish, "silu": F.silu, "elu": F.elu, "gelu": F.gelu,
    "leaky relu": lambda y: F.leaky_relu(y, 0.2), "softplus": F.softplus, "mish": F.mish,
    "gelu by tanh": lambda y: F.gelu(y, approximate="tanh"),
    "clamped": lambda y: y.clamp(-0.5, 0.25),
    "group norm": lambda y: F.group_norm(y, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_after_a_convolution(name):
    exported(Of(FUNCTIONS[name]), image(2, 3, 8, 9))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_after_a_convolution_in_eight_bits(name, tmp_path):
    tn.manual_seed(3)
    path, x = tmp_path / "m.tnr", image(4, 3, 8, 9)
    tn.save(Of(FUNCTIONS[name]).eval(), path, example_inputs=x)
    quantization = rounding.minmax(path, len(x))
    source = quantization.source
    made = export_tflite(path, tmp_path / "m.tflite", quantization=quantization)
    if "argmax" in source.outputs or source.graph.outputs[0].dtype.kind != "float":
        assert made.difference < 0.1  # of the positions
        return
    wanted = rounding.simulated(quantization, source.rows)
    expected = max(
        float(np.abs(wanted[key] - answer).max() / np.abs(answer).max())
        for key, answer in source.answers.items()
    )
    assert made.difference <= 1.5 * expected + rounding.step(quantization)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((3, 4, 3), {"padding": 1}),
        ((3, 4, 3), {"padding": 1, "stride": 2}),
        ((3, 4, 3), {"padding": (0, 2), "stride": (1, 2)}),
        ((3, 4, (2, 3)), {"padding": (1, 0), "dilation": (1, 2)}),
        ((4, 8, 3), {"groups": 2, "padding": 1}),
        ((4, 8, 3), {"groups": 4, "stride": 2, "padding": 1}),
        ((4, 4, (3, 2)), {"groups": 4, "dilation": 2, "bias": False}),
        ((3, 5, 1), {"stride": 2}),
        ((1, 1, 5), {"padding": 2}),
        ((3, 4, 2), {"padding": "same"}),
    ],
)
@pytest.mark.parametrize("shape", [(9, 11), (8, 8)])
def test_convolutions(sizes, options, shape, tmp_path):
    module, x = nn.Conv2d(*sizes, **options), image(3, sizes[0], *shape)
    exported(module, x)
    exported(module, x, channels_last=True)
    in_eight_bits(nn.Sequential(module, nn.ReLU()), x, tmp_path)


def test_same_padding_needs_no_operator_of_its_own():
    made = exported(nn.Conv2d(3, 4, 3, padding=1, stride=1), image(1, 3, 8, 8))
    assert "PAD" not in made.operators
    made = exported(nn.Conv2d(3, 4, 3, padding=1, stride=2), image(1, 3, 8, 8))
    assert made.operators["PAD"] == 1  # SAME would pad one side alone
    made = exported(nn.Conv2d(3, 4, 3, padding=1, stride=2), image(1, 3, 9, 9))
    assert "PAD" not in made.operators


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((4, 6, 2), {"stride": 2}),
        ((4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((4, 6, 3), {"stride": (3, 2), "padding": (0, 1), "output_padding": (2, 0)}),
        ((4, 6, 3), {"groups": 2, "stride": 2}),
        ((4, 6, 3), {"dilation": 2, "padding": 2, "bias": False}),
        ((1, 1, 4), {"stride": 2, "padding": 1}),
    ],
)
def test_transposed_convolutions(sizes, options, tmp_path):
    module, x = nn.ConvTranspose2d(*sizes, **options), image(3, sizes[0], 5, 6)
    exported(module, x)
    in_eight_bits(nn.Sequential(module, nn.ReLU()), x, tmp_path)


LINES = {
    "convolution": nn.Conv1d(3, 4, 5, stride=2, padding=3),
    "groups": nn.Conv1d(3, 6, 2, groups=3, dilation=3),
    "transposed": nn.ConvTranspose1d(3, 4, 4, stride=3, padding=1),
    "max pool": nn.MaxPool1d(3, 2, 1),
    "average pool": nn.AvgPool1d(2),
    "three in a row": nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten()),
}


@pytest.mark.parametrize("name", LINES)
def test_lines(name, tmp_path):
    exported(LINES[name], image(2, 3, 20))
    in_eight_bits(LINES[name], image(2, 3, 20), tmp_path)


def test_volumes():
    body = nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten())
    exported(body, image(2, 2, 4, 6, 4))


class Shortcut(nn.Module):
    """An input that is read plain and channels last."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = (x + self.a(x)).relu()
        z = self.b(y) + y
        return z.reshape(-1, 4, 48).transpose(1, 2), z


def test_a_shortcut_is_transposed_once():
    made = exported(Shortcut(), image(2, 4, 6, 8))
    assert made.operators["TRANSPOSE"] <= 3


def test_flattening_into_a_product_moves_the_weights_instead(tmp_path):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    made = exported(body, image(2, 3, 8, 8), channels_last=True)
    assert "TRANSPOSE" not in made.operators
    made = in_eight_bits(body, image(2, 3, 8, 8), tmp_path)
    assert made.operators["TRANSPOSE"] == 1  # the image


class Attending(nn.Module):
    """Attention with a mask and without, and products of two values."""

    def forward(self, q, k):
        mask = tn.tensor([[0.0, -1.0, -np.inf, 0.0, 1.0]] * 4)
        one = F.scaled_dot_product_attention(q, k, k, attn_mask=mask)
        return one, q @ k.transpose(-1, -2), F.scaled_dot_product_attention(q, q, q, is_causal=True)


class Masked(nn.Module):
    """A causal product of rows, hidden by -inf."""

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        hidden = tn.tensor(np.triu(np.full((4, 4), -np.inf, np.float32), 1))
        return ((self.q(x) @ self.k(x).transpose(-1, -2)) + hidden).softmax(-1) @ x


def test_a_mask_stays_real(tmp_path):
    tn.manual_seed(0)
    exported(Masked(), image(4, 4, 6))
    made = in_eight_bits(Masked(), image(4, 4, 6), tmp_path)
    assert made.operators["FULLY_CONNECTED"] == 2
    assert made.operators["SOFTMAX"] == 1


def test_attention():
    exported(Attending(), image(2, 3, 4, 6), image(2, 3, 5, 6, seed=1))


class Twice(nn.Module):
    """Outputs that are an input, a constant, and one value under two names."""

    def forward(self, x):
        y = x * 2
        return {"same": x, "seven": tn.full((2, 2), 7.0), "a": y, "b": y}


def test_outputs_that_share_a_value():
    exported(Twice(), image(1, 3))
