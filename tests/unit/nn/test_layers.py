"""Every layer against PyTorch: values, gradients, names, printing, initial distributions."""

import copy

import numpy as np
import pytest
import torch

import tenor as tn

INDEX = np.array([[1, 0, 4], [4, 4, 2]])

LAYERS = [
    # class, arguments, keywords, shapes of the inputs
    ("Linear", (5, 3), {}, [(4, 5)]),
    ("Linear", (5, 3), {"bias": False}, [(2, 4, 5)]),
    ("Linear", (5, 3), {}, [(5,)]),
    ("Linear", (5, 3), {}, [(0, 5)]),
    ("Flatten", (), {}, [(2, 3, 4)]),
    ("Flatten", (0, 1), {}, [(2, 3, 4)]),
    ("Unflatten", (1, (2, 3)), {}, [(4, 6)]),
    ("Identity", (), {}, [(4, 3)]),
    ("ReLU", (), {}, [(4, 3)]),
    ("ReLU6", (), {}, [(4, 3)]),
    ("LeakyReLU", (), {}, [(4, 3)]),
    ("LeakyReLU", (0.2,), {}, [(4, 3)]),
    ("PReLU", (), {}, [(4, 3)]),
    ("PReLU", (3,), {"init": 0.5}, [(4, 3, 2)]),
    ("PReLU", (3,), {}, [(4, 3)]),
    ("PReLU", (), {}, [(5,)]),
    ("Threshold", (0.1, 20), {}, [(4, 3)]),
    ("GLU", (), {}, [(4, 6)]),
    ("GLU", (1,), {}, [(2, 4, 3)]),
    ("ELU", (), {}, [(4, 3)]),
    ("ELU", (0.5,), {}, [(4, 3)]),
    ("SELU", (), {}, [(4, 3)]),
    ("GELU", (), {}, [(4, 3)]),
    ("GELU", (), {"approximate": "tanh"}, [(4, 3)]),
    ("SiLU", (), {}, [(4, 3)]),
    ("Mish", (), {}, [(4, 3)]),
    ("Hardswish", (), {}, [(4, 3)]),
    ("Hardsigmoid", (), {}, [(4, 3)]),
    ("Hardtanh", (-0.5, 0.25), {}, [(4, 3)]),
    ("Sigmoid", (), {}, [(4, 3)]),
    ("LogSigmoid", (), {}, [(4, 3)]),
    ("Tanh", (), {}, [(4, 3)]),
    ("Softsign", (), {}, [(4, 3)]),
    ("Softplus", (), {}, [(4, 3)]),
    ("Softplus", (2.0, 1.0), {}, [(4, 3)]),
    ("Softmax", (-1,), {}, [(4, 3)]),
    ("Softmax", (0,), {}, [(4, 3)]),
    ("LogSoftmax", (1,), {}, [(4, 3)]),
    ("Softmin", (1,), {}, [(4, 3)]),
    ("PixelShuffle", (2,), {}, [(2, 8, 3, 5)]),
    ("PixelShuffle", (3,), {}, [(18, 2, 1)]),
    ("PixelShuffle", (2,), {}, [(2, 3, 4, 2, 3)]),
    ("PixelUnshuffle", (2,), {}, [(2, 3, 4, 6)]),
    ("PixelUnshuffle", (3,), {}, [(2, 3, 6)]),
    *[(f"{kind}Pad{d}d", (2,), {}, [(2, 3, 3, 4, 5)[: 2 + d]])
      for kind in ("Zero", "Reflection", "Replication", "Circular") for d in (1, 2, 3)],
    *[(f"ConstantPad{d}d", (1, 3.5), {}, [(2, 3, 3, 4, 5)[: 2 + d]]) for d in (1, 2, 3)],
    ("ZeroPad2d", ((1, 0, -1, 2),), {}, [(2, 3, 4, 5)]),
    ("ReflectionPad2d", ((1, 0, 3, 2),), {}, [(3, 4, 5)]),
    ("ReplicationPad1d", ((3, 1),), {}, [(2, 3, 4)]),
    ("CosineSimilarity", (), {}, [(4, 3), (4, 3)]),
    ("CosineSimilarity", (), {"dim": -1, "eps": 1e-3}, [(2, 4, 3), (4, 3)]),
    ("Conv1d", (3, 4, 3), {}, [(2, 3, 8)]),
    ("Conv1d", (3, 4, 3), {"padding": "same", "dilation": 2}, [(2, 3, 8)]),
    ("Conv1d", (3, 4, 2), {"padding": "same"}, [(2, 3, 8)]),
    ("Conv2d", (3, 4, 3), {}, [(2, 3, 7, 6)]),
    ("Conv2d", (3, 4, 3), {"bias": False, "padding": "valid"}, [(2, 3, 7, 6)]),
    ("Conv2d", (3, 4, (3, 2)), {"stride": (2, 1), "padding": (1, 0)}, [(2, 3, 7, 6)]),
    ("Conv2d", (4, 6, 3), {"padding": 1, "groups": 2}, [(2, 4, 5, 6)]),
    ("Conv2d", (4, 8, 3), {"padding": 1, "groups": 4, "dilation": 2}, [(2, 4, 7, 6)]),
    ("Conv2d", (3, 4, 1), {"stride": 2}, [(2, 3, 7, 6)]),
    ("Conv2d", (3, 4, 3), {"padding": 1, "padding_mode": "reflect"}, [(2, 3, 5, 6)]),
    ("Conv2d", (3, 4, 3), {"padding": 2, "padding_mode": "circular"}, [(2, 3, 5, 6)]),
    ("Conv2d", (3, 4, 3), {"padding": "same", "padding_mode": "replicate"}, [(2, 3, 5, 6)]),
    ("Conv2d", (3, 4, 3), {}, [(3, 7, 6)]),
    ("Conv3d", (2, 3, 2), {"padding": 1, "stride": 2}, [(2, 2, 4, 5, 4)]),
    ("ConvTranspose1d", (3, 4, 3), {"stride": 2}, [(2, 3, 5)]),
    ("ConvTranspose2d", (3, 4, 2), {"stride": 2}, [(2, 3, 4, 5)]),
    ("ConvTranspose2d", (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1},
     [(2, 3, 4, 5)]),
    ("ConvTranspose2d", (4, 6, 3), {"groups": 2, "dilation": 2, "bias": False}, [(2, 4, 4, 5)]),
    ("ConvTranspose1d", (4, 6, 3), {"output_padding": 1, "dilation": 2, "groups": 2}, [(2, 4, 5)]),
    ("ConvTranspose2d", (3, 4, 2), {"stride": 2}, [(3, 4, 5)]),
    ("ConvTranspose2d", (3, 4, 2), {"stride": (1, 2), "output_padding": (1, 2), "dilation": 3},
     [(2, 3, 4, 5)]),
    ("MaxPool1d", (2,), {}, [(2, 3, 8)]),
    ("MaxPool1d", (3, 1, 1), {"return_indices": True}, [(2, 3, 8)]),
    ("MaxPool2d", (2,), {}, [(2, 3, 6, 8)]),
    ("MaxPool2d", (3, 2, 1), {}, [(2, 3, 7, 8)]),
    ("MaxPool2d", ((3, 2),), {"dilation": (1, 2), "ceil_mode": True}, [(2, 3, 8, 9)]),
    ("MaxPool2d", (3, 2, 1), {"return_indices": True, "ceil_mode": True}, [(2, 3, 8, 6)]),
    ("MaxPool2d", (2,), {}, [(3, 6, 8)]),
    ("AvgPool1d", (3, 2, 1), {}, [(2, 3, 8)]),
    ("AvgPool2d", (2,), {}, [(2, 3, 6, 8)]),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, [(2, 3, 7, 8)]),
    ("AvgPool2d", (3, 2, 1), {"ceil_mode": True}, [(2, 3, 8, 7)]),
    ("AvgPool2d", (3, 2, 1), {"ceil_mode": True, "count_include_pad": False}, [(2, 3, 8, 6)]),
    ("AvgPool2d", (2,), {"divisor_override": 3}, [(2, 3, 6, 8)]),
    ("AdaptiveAvgPool1d", (3,), {}, [(2, 3, 7)]),
    ("AdaptiveAvgPool2d", (1,), {}, [(2, 3, 6, 8)]),
    ("AdaptiveAvgPool2d", ((3, 4),), {}, [(2, 3, 7, 8)]),
    ("AdaptiveAvgPool2d", ((None, 2),), {}, [(2, 3, 3, 8)]),
    ("AdaptiveMaxPool1d", (2,), {}, [(2, 3, 7)]),
    ("AdaptiveMaxPool1d", (3,), {"return_indices": True}, [(2, 3, 7)]),
    ("AdaptiveMaxPool2d", ((3, 4),), {}, [(2, 3, 7, 8)]),
    ("AdaptiveMaxPool2d", ((3, None),), {"return_indices": True}, [(2, 3, 7, 8)]),
    ("AdaptiveMaxPool2d", (2,), {"return_indices": True}, [(3, 5, 8)]),
    ("BatchNorm1d", (3,), {}, [(4, 3)]),
    ("BatchNorm1d", (3,), {"momentum": None}, [(4, 3, 5)]),
    ("BatchNorm2d", (3,), {}, [(4, 3, 5, 6)]),
    ("BatchNorm2d", (3,), {"affine": False}, [(4, 3, 5, 6)]),
    ("BatchNorm2d", (3,), {"bias": False}, [(4, 3, 5, 6)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [(4, 3, 5, 6)]),
    ("BatchNorm3d", (3,), {}, [(2, 3, 2, 3, 2)]),
    ("InstanceNorm1d", (3,), {"affine": True}, [(2, 3, 5)]),
    ("InstanceNorm2d", (3,), {"track_running_stats": True}, [(2, 3, 4, 5)]),
    ("LayerNorm", (6,), {}, [(4, 6)]),
    ("LayerNorm", ((5, 6),), {}, [(4, 5, 6)]),
    ("LayerNorm", (6,), {"bias": False}, [(4, 6)]),
    ("LayerNorm", (6,), {"elementwise_affine": False, "eps": 1e-3}, [(4, 6)]),
    ("RMSNorm", (6,), {}, [(4, 6)]),
    ("RMSNorm", ((5, 6),), {"eps": 1e-3, "elementwise_affine": False}, [(4, 5, 6)]),
    ("GroupNorm", (2, 4), {}, [(3, 4, 5)]),
    ("GroupNorm", (4, 4), {"affine": False}, [(3, 4, 2)]),
    ("GroupNorm", (2, 4), {"bias": False}, [(3, 4, 2)]),
    ("GroupNorm", (1, 4), {}, [(3, 4, 5, 2)]),
    ("Embedding", (5, 3), {}, [INDEX]),
    ("Embedding", (5, 3), {"padding_idx": -1}, [INDEX]),
    ("Embedding", (5, 3), {"max_norm": 1.0}, [INDEX]),
    ("Embedding", (5, 3), {"padding_idx": 1, "scale_grad_by_freq": True}, [INDEX]),
    ("Upsample", (), {"scale_factor": 2}, [(2, 3, 4, 5)]),
    ("Upsample", (), {"scale_factor": (1.5, 2), "mode": "bilinear"}, [(2, 3, 4, 5)]),
    ("LSTM", (4, 3), {}, [(5, 2, 4)]),
    ("LSTM", (4, 3), {"num_layers": 2, "batch_first": True}, [(2, 5, 4)]),
    ("LSTM", (4, 3), {"num_layers": 2, "bidirectional": True, "bias": False}, [(5, 2, 4)]),
    ("LSTM", (4, 3), {"proj_size": 2}, [(5, 2, 4)]),
    ("LSTM", (4, 3), {}, [(5, 4)]),
    ("GRU", (4, 3), {"num_layers": 2}, [(5, 2, 4)]),
    ("GRU", (4, 3), {"bidirectional": True, "batch_first": True}, [(2, 5, 4)]),
    ("RNN", (4, 3), {"nonlinearity": "relu"}, [(5, 2, 4)]),
    ("RNN", (4, 3), {}, [(5, 2, 4), (1, 2, 3)]),
    ("LSTMCell", (4, 3), {}, [(2, 4)]),
    ("GRUCell", (4, 3), {}, [(2, 4), (2, 3)]),
    ("RNNCell", (4, 3), {"bias": False}, [(4,)]),
]  # fmt: skip
COARSE = ("Hardsigmoid",)


def label(row):
    """Return a row's name in the test report."""
    name, args, kwargs, shapes = row
    given = [*map(str, args), *[f"{k}={v}" for k, v in kwargs.items()]]
    sizes = "x".join(str(n) for n in np.shape(shapes[0]) or shapes[0])
    return f"{name}({', '.join(given)}) on {sizes}".replace("(2,) on 2", "")


def both(row, seed=0):
    """Return (ours, theirs), made of the same arguments."""
    name, args, kwargs, _ = row
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    for p in theirs.parameters():  # norms begin as the identity, which would hide mistakes
        torch.nn.init.normal_(p, std=0.5)
    return getattr(tn.nn, name)(*args, **kwargs), theirs


@pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore:LSTM with projections")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", LAYERS, ids=label)
def test_values_and_gradients_are_pytorchs(row, dtype, agree):
    ours, theirs = both(row)
    if row[0] in COARSE and dtype == "float64":
        pytest.skip("PyTorch's float64 gradient has the precision of float32")
    agree(ours, theirs, row[3], dtype)


@pytest.mark.parametrize(
    "row", [r for r in LAYERS if "Cell" not in r[0] and r[0] != "CosineSimilarity"], ids=label
)
def test_the_input_may_be_named_as_pytorchs_is(row):
    ours, _ = both(row)
    x = row[3][0] if isinstance(row[3][0], np.ndarray) else np.zeros(row[3][0], np.float32)
    ours.eval()(**{"x" if row[0] == "RMSNorm" else "input": tn.tensor(x)})


@pytest.mark.parametrize("row", [r for r in LAYERS if "Norm" in r[0]], ids=label)
def test_running_statistics_are_used_in_evaluation(row, agree):
    ours, theirs = both(row)
    for i in range(3):
        x = np.random.default_rng(i).standard_normal(row[3][0]).astype(np.float32) + 1
        ours(tn.tensor(x))
        theirs(torch.tensor(x))
    for name, value in theirs.named_buffers():
        np.testing.assert_allclose(ours.get_buffer(name).numpy(), value.numpy(), rtol=1e-4)
    agree(ours.eval(), theirs.eval(), row[3])


@pytest.mark.parametrize("row", LAYERS, ids=label)
def test_names_shapes_and_printing_are_pytorchs(row):
    ours, theirs = both(row)
    mine = {name: (tuple(v.shape), v.dtype.name) for name, v in ours.state_dict().items()}
    its = {n: (tuple(v.shape), str(v.numpy().dtype)) for n, v in theirs.state_dict().items()}
    assert list(mine) == list(its)
    assert mine == its
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("row", LAYERS, ids=label)
def test_state_comes_back_from_a_copy(row):
    ours, _ = both(row)
    again = copy.deepcopy(ours)
    for p in again.parameters():
        with tn.no_grad():
            p.add_(1.0)
    for name, value in ours.state_dict().items():
        if name in dict(again.named_parameters()):
            assert not np.array_equal(value.numpy(), again.state_dict()[name].numpy())
    again.load_state_dict(ours.state_dict())
    for name, value in ours.state_dict().items():
        assert np.array_equal(value.numpy(), again.state_dict()[name].numpy())


DRAWN = [
    ("Linear", (400, 300), {}),
    ("Conv2d", (16, 64, 5), {"groups": 2}),
    ("ConvTranspose2d", (64, 16, 5), {}),
    ("Embedding", (400, 50), {"padding_idx": 3}),
    ("LSTM", (60, 50), {"num_layers": 2}),
    ("GRUCell", (60, 50), {}),
    ("BatchNorm2d", (64,), {}),
    ("LayerNorm", ((8, 8),), {}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), DRAWN)
def test_parameters_begin_as_pytorchs_do(name, args, kwargs):
    torch.manual_seed(0)
    tn.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    ours = getattr(tn.nn, name)(*args, **kwargs)
    for key, value in theirs.named_parameters():
        mine, its = ours.get_parameter(key).detach().numpy(), value.detach().numpy()
        spread = its.std() + 1e-6
        assert abs(mine.std() / spread - 1) < 0.3 or mine.std() == its.std() == 0, key
        assert abs(mine.mean() - its.mean()) < 6 * spread / np.sqrt(mine.size) + 1e-7, key
        if mine.std() and name != "Embedding":  # uniform: the bounds are the distribution
            assert np.abs(mine).max() == pytest.approx(np.abs(its).max(), rel=0.15), key
    first = [p.detach().numpy().copy() for p in ours.parameters()]
    ours.reset_parameters()
    for p, before in zip(ours.parameters(), first, strict=True):
        drawn_again = not np.array_equal(p.detach().numpy(), before)
        assert drawn_again == (before.std() > 0), "constants stay, the rest is drawn again"
