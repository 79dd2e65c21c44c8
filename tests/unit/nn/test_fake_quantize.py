"""Fake quantisation and observers against PyTorch's, bit for bit."""

import copy

import numpy as np
import pytest
import torch
from torch.ao import quantization as theirs

import tenor as tn
from tenor import nn
from tenor.compiler import PASSES
from tenor.config import config
from tenor.engine.trace import reset_trie
from tenor.errors import ArgumentError, DTypeError, ShapeError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore:Please use quant_min:UserWarning"),
]
ours = tn.ao.quantization
DTYPES = {tn.uint8: torch.quint8, tn.int8: torch.qint8}
SHAPES = [(7,), (3, 5), (2, 3, 4, 5), (0, 3), ()]
BOUNDS = [(0.03, 10, 0, 255), (0.1, 0, -128, 127), (0.1, 0, -127, 127), (0.5, 3, 0, 15)]


def drawn(shape, seed=0, scale=3.0):
    made = np.random.default_rng(seed).standard_normal(shape) * scale
    return np.asarray(made, np.float32)


def both(shape, seed=0, scale=3.0):
    x = drawn(shape, seed, scale)
    return tn.tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)


def same(a, b):
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


# -- functions ------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("tensors", [False, True])
def test_per_tensor_is_pytorchs(shape, bounds, tensors):
    scale, zero, low, high = bounds
    a, b = both(shape)
    mine, its = (scale, zero), (scale, zero)
    if tensors:
        mine = tn.tensor([scale]), tn.tensor(np.array([zero], np.int32))
        its = torch.tensor([scale]), torch.tensor([zero], dtype=torch.int32)
    came = tn.fake_quantize_per_tensor_affine(a, *mine, low, high)
    wanted = torch.fake_quantize_per_tensor_affine(b, *its, low, high)
    same(came, wanted)
    weight = drawn(shape, 1)
    (came * tn.tensor(weight)).sum().backward()
    (wanted * torch.tensor(weight)).sum().backward()
    same(a.grad, b.grad)
    with tn.no_grad():
        same(tn.fake_quantize_per_tensor_affine(a, *mine, low, high), wanted)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_per_channel_is_pytorchs(shape):
    for axis in range(-len(shape), len(shape)):
        draw = np.random.default_rng(axis + 9)
        scale = (draw.random(shape[axis]) * 0.1 + 0.01).astype(np.float32)
        zero = draw.integers(-20, 20, shape[axis]).astype(np.int32)
        a, b = both(shape)
        came = tn.fake_quantize_per_channel_affine(
            a, tn.tensor(scale), tn.tensor(zero), axis, -128, 127
        )
        wanted = torch.fake_quantize_per_channel_affine(
            b, torch.tensor(scale), torch.tensor(zero), axis % len(shape), -128, 127
        )
        same(came, wanted)
        came.sum().backward()
        wanted.sum().backward()
        same(a.grad, b.grad)


def test_halves_are_to_even_and_bounds_let_gradients_through():
    x = tn.tensor([0.5, 1.5, 2.5, -0.5, 254.0, 255.4, 255.6, -0.4, -1.0]).requires_grad_()
    y = tn.fake_quantize_per_tensor_affine(x, 1.0, 0, 0, 255)
    assert y.tolist() == [0, 2, 2, 0, 254, 255, 255, 0, 0]
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1, 1, 1, 0, 1, 0]


OPTIONAL = [step.name for step in PASSES if not step.required]


@pytest.mark.parametrize("mode", ["replayed", "compiled", "immediate", "reference", "apart"])
def test_every_way_of_running_gives_the_same_bits(mode, monkeypatch):
    x = drawn((9, 33))
    wanted = torch.fake_quantize_per_tensor_affine(torch.tensor(x), 0.07, 3, -128, 127)

    def run():
        y = tn.tensor(x).requires_grad_()
        out = tn.fake_quantize_per_tensor_affine(y, 0.07, 3, -128, 127)
        out.sum().backward()
        return out, y.grad

    reset_trie()
    if mode == "apart":
        monkeypatch.setattr(config, "skip_passes", frozenset(OPTIONAL))
    if mode == "reference":
        monkeypatch.setattr(config, "backend", "reference")
    if mode == "replayed":
        run()
    if mode == "immediate":
        with tn.immediate():
            out, grad = run()
    elif mode == "compiled":
        function = tn.compile(lambda y: tn.fake_quantize_per_tensor_affine(y, 0.07, 3, -128, 127))
        function(tn.tensor(x))
        out, (_, grad) = function(tn.tensor(x)), run()
    else:
        out, grad = run()
    same(out, wanted)
    inside = np.rint(x * (np.float32(1) / np.float32(0.07))) + 3
    np.testing.assert_array_equal(grad.numpy(), (inside >= -128) & (inside <= 127))


def test_halves_stay_halves():
    x = tn.tensor(drawn((4, 4))).to(tn.bfloat16)
    assert tn.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127).dtype is tn.bfloat16


def test_what_does_not_fit_is_refused():
    x = tn.ones(2, 3)
    with pytest.raises(ArgumentError, match="quant_min"):
        tn.fake_quantize_per_tensor_affine(x, 1.0, 300, 0, 255)
    with pytest.raises(ArgumentError, match="quant_min"):
        tn.fake_quantize_per_tensor_affine(x, 1.0, 0, 5, -5)
    with pytest.raises(DTypeError, match="floating"):
        tn.fake_quantize_per_tensor_affine(x.int(), 1.0, 0, 0, 255)
    with pytest.raises(ShapeError, match="one number"):
        tn.fake_quantize_per_tensor_affine(x, tn.ones(2), 0, 0, 255)
    zeros = tn.zeros(3, dtype=tn.int32)
    for scale, zero, axis in (
        (tn.ones(2), zeros, 1),
        (tn.ones(3), zeros, 0),
        (tn.ones(3), zeros, 5),
    ):
        with pytest.raises(ShapeError, match="channel"):
            tn.fake_quantize_per_channel_affine(x, scale, zero, axis, 0, 255)


# -- observers ------------------------------------------------------------------------------------
TENSORS = ["MinMaxObserver", "MovingAverageMinMaxObserver"]
CHANNELS = ["PerChannelMinMaxObserver", "MovingAveragePerChannelMinMaxObserver"]
KINDS = [(n, f"per_tensor_{k}") for n in TENSORS for k in ("affine", "symmetric")]
KINDS += [(n, f"per_channel_{k}") for n in CHANNELS for k in ("affine", "symmetric")]


@pytest.mark.parametrize(("name", "scheme"), KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("bounds", [{}, {"quant_min": -127, "quant_max": 127}, {"reduce_range": 1}])
def test_an_observer_is_pytorchs(name, scheme, dtype, bounds):
    unsigned = dtype is tn.uint8
    if unsigned and (bounds.get("quant_min") or (bounds and scheme.endswith("symmetric"))):
        bounds = {"quant_min": 0, "quant_max": 100}
    more = {"ch_axis": 1} if "Channel" in name else {}
    mine = getattr(ours, name)(dtype=dtype, qscheme=scheme, **bounds, **more)
    its = getattr(theirs, name)(
        dtype=DTYPES[dtype], qscheme=getattr(torch, scheme), **bounds, **more
    )
    assert (mine.quant_min, mine.quant_max) == (its.quant_min, its.quant_max)
    for seed, (size, shift) in enumerate([(1, 0), (3, 2), (0.1, -9), (2, 0)]):
        x = drawn((3, 4, 2), seed, size) + np.float32(shift)
        assert mine(tn.tensor(x)).tolist() == x.tolist()
        its(torch.tensor(x))
        for a, b in zip(mine.calculate_qparams(), its.calculate_qparams(), strict=True):
            same(a, b)
    same(mine.min_val, its.min_val)
    same(mine.max_val, its.max_val)


@pytest.mark.parametrize("shift", [5.0, -5.0])
def test_0_is_always_in_the_range(shift):
    made = ours.MinMaxObserver(dtype=tn.int8)
    made(tn.tensor(drawn((30,))) * 0.1 + shift)
    scale, zero = made.calculate_qparams()
    assert zero.item() == (-128 if shift > 0 else 127)
    assert scale.item() == pytest.approx(abs(shift) / 255, rel=0.2)


def test_nothing_seen_is_scale_1():
    for name in (*TENSORS, *CHANNELS):
        made = getattr(ours, name)()
        assert [x.item() for x in made.calculate_qparams()] == [1.0, 0]
        made(tn.zeros(0, 3))
        assert [x.item() for x in made.calculate_qparams()] == [1.0, 0]


def test_an_observer_forgets():
    made = ours.MinMaxObserver()
    made(tn.full((3,), 100.0))
    made.reset_min_max_vals()
    made(tn.full((3,), 1.0))
    assert made.max_val.item() == 1.0


@pytest.mark.parametrize(
    "given",
    [{"dtype": tn.int32}, {"qscheme": "per_channel_affine"}, {"quant_min": 3, "quant_max": 9}],
)
def test_an_observer_refuses_what_is_none(given):
    with pytest.raises(ArgumentError, match="MinMaxObserver"):
        ours.MinMaxObserver(**given)


# -- the module -----------------------------------------------------------------------------------
def test_a_module_is_pytorchs_over_many_batches():
    mine = ours.FakeQuantize(ours.MovingAverageMinMaxObserver, 0, 255, dtype=tn.uint8)
    its = theirs.FakeQuantize(theirs.MovingAverageMinMaxObserver, 0, 255, dtype=torch.quint8)
    for seed in range(5):
        a, b = both((4, 6), seed, seed + 1.0)
        x, y = mine(a), its(b)
        same(x, y)
        x.sum().backward()
        y.sum().backward()
        same(a.grad, b.grad)
        same(mine.scale, its.scale)
        same(mine.zero_point, its.zero_point)


def test_its_scale_moves_in_training_alone():
    made = ours.FakeQuantize()
    made(tn.full((3,), 5.0))
    before = made.scale.item()
    made.eval()(tn.full((3,), 500.0))
    assert made.scale.item() == before
    made.train().apply(ours.disable_observer)
    assert made(tn.full((3,), 500.0)).tolist() == pytest.approx([5.0] * 3)
    assert made.scale.item() == before
    made.apply(ours.disable_fake_quant)
    assert made(tn.full((3,), 500.0)).tolist() == [500.0] * 3
    made.apply(ours.enable_observer)
    made.apply(ours.enable_fake_quant)
    made(tn.full((3,), 500.0))
    assert made.scale.item() > before


def test_its_state_goes_into_another():
    make = ours.FakeQuantize.with_args(observer=ours.MinMaxObserver, dtype=tn.int8)
    first, second = make(), make()
    first(tn.tensor(drawn((4, 4))))
    second.load_state_dict(first.state_dict())
    x = tn.tensor(drawn((4, 4), 1))
    assert second.eval()(x).tolist() == first.eval()(x).tolist()
    assert copy.deepcopy(first)(x).tolist() == first(x).tolist()


def test_a_training_step_can_be_compiled():
    tn.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    compiled, plain = ours.prepare_qat(model), ours.prepare_qat(model)

    def step(network, optimizer, x):
        loss = (network(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    optimizers = [tn.optim.SGD(m.parameters(), lr=0.1) for m in (compiled, plain)]
    fast = tn.compile(lambda x: step(compiled, optimizers[0], x))
    for seed in range(6):
        x = tn.tensor(drawn((8, 5), seed))
        assert fast(x).item() == step(plain, optimizers[1], x).item()
    for a, b in zip(compiled.buffers(), plain.buffers(), strict=True):
        same(a, b)
