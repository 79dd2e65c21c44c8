"""Models that train with rounding: what is rounded, against PyTorch, and back to plain layers."""

import numpy as np
import pytest
import torch
from torch.ao import quantization as theirs
from torch.ao.nn import qat as their_layers

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
ours = tn.ao.quantization
qat = nn.quantized.qat


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rounders(model):
    """Return the paths of modules whose results are rounded."""
    fake = {p: getattr(m, "activation_post_process", None) for p, m in model.named_modules()}
    return [p for p, found in fake.items() if isinstance(found, ours.FakeQuantize)]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4), nn.Flatten(), nn.Sequential(nn.Linear(64, 8), nn.GELU()),
        nn.Linear(8, 3),
    )  # fmt: skip


# -- what is rounded ------------------------------------------------------------------------------
def test_a_layer_its_norm_and_its_relu_are_rounded_once():
    model = network()
    ready = ours.prepare_qat(model)
    assert rounders(ready) == ["2", "5", "7.0", "7.1", "8"]
    assert rounders(model) == []
    kinds = [type(m) for m in ready.modules() if isinstance(m, qat.Rounding)]
    assert kinds == [qat.Conv2d, qat.Conv2d, qat.Linear, qat.Linear]
    names = {n for n, _ in ready.named_parameters()}
    assert names == {n for n, _ in model.named_parameters()}
    assert tuple(ready(tn.tensor(drawn(5, 1, 8, 8))).shape) == (5, 3)


def test_none_leaves_a_module_as_it_is():
    model = network()
    model[0].qconfig = model[7].qconfig = None
    ready = ours.prepare_qat(model)
    assert type(ready[0]) is nn.Conv2d
    assert type(ready[7][0]) is nn.Linear
    assert rounders(ready) == ["2", "5", "8"]


class Branches(nn.Module):
    """A block whose layers are called by name."""

    def __init__(self):
        super().__init__()
        self.stub, self.end = ours.QuantStub(), ours.DeQuantStub()
        self.conv, self.bn, self.relu = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU()

    def forward(self, x):
        x = self.stub(x)
        return self.end(x + self.relu(self.bn(self.conv(x))))


def test_groups_are_named_where_a_model_calls_its_layers_itself():
    model = Branches()
    assert rounders(ours.prepare_qat(model)) == ["stub", "conv", "relu"]
    fused = ours.fuse_modules_qat(model, ["conv", "bn", "relu"])
    assert rounders(ours.prepare_qat(fused)) == ["stub", "relu"]
    two = ours.fuse_modules_qat(model, [["conv", "bn"]])
    assert rounders(ours.prepare_qat(two)) == ["stub", "bn", "relu"]
    for group in (["bn", "relu"], ["conv"], ["conv", "relu", "bn"]):
        with pytest.raises(ArgumentError, match="fuse_modules_qat"):
            ours.fuse_modules_qat(model, [group])


def test_in_place_and_shared_layers():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 3), shared, nn.Linear(3, 3), shared)
    made = ours.prepare_qat(model, inplace=True)
    assert made is model
    assert model[1] is model[3]
    assert len(model[1]._forward_hooks) == 1
    layer = nn.Linear(3, 2)
    assert type(ours.prepare_qat(layer)) is qat.Linear


def test_a_model_in_evaluation_mode_is_refused():
    with pytest.raises(ArgumentError, match="training mode"):
        ours.prepare_qat(network().eval())
    with pytest.raises(ArgumentError, match="backend"):
        ours.get_default_qat_qconfig("tpu")


# -- training -------------------------------------------------------------------------------------
def configs():
    """Return one configuration, ours and PyTorch's."""
    mine = ours.QConfig(
        ours.FakeQuantize.with_args(
            observer=ours.MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=tn.uint8
        ),
        ours.FakeQuantize.with_args(
            observer=ours.MovingAveragePerChannelMinMaxObserver, quant_min=-127, quant_max=127,
            dtype=tn.int8, qscheme="per_channel_symmetric", averaging_constant=1.0,
        ),
    )  # fmt: skip
    its = theirs.QConfig(
        theirs.FakeQuantize.with_args(
            observer=theirs.MovingAverageMinMaxObserver, quant_min=0, quant_max=255,
            dtype=torch.quint8,
        ),
        theirs.FakeQuantize.with_args(
            observer=theirs.MovingAveragePerChannelMinMaxObserver, quant_min=-127, quant_max=127,
            dtype=torch.qint8, qscheme=torch.per_channel_symmetric, averaging_constant=1.0,
        ),
    )  # fmt: skip
    return mine, its


@pytest.mark.parametrize(
    ("mine", "its", "shape"),
    [(lambda: nn.Linear(6, 4), lambda: torch.nn.Linear(6, 4), (8, 6)),
     (lambda: nn.Conv1d(2, 4, 3), lambda: torch.nn.Conv1d(2, 4, 3), (8, 2, 9)),
     (lambda: nn.Conv2d(2, 4, 3, padding=1), lambda: torch.nn.Conv2d(2, 4, 3, padding=1),
      (4, 2, 5, 5)),
     (lambda: nn.Conv3d(2, 4, 2), lambda: torch.nn.Conv3d(2, 4, 2), (2, 2, 4, 4, 3))],
)  # fmt: skip
def test_steps_of_a_layer_are_pytorchs(mine, its, shape):
    layer, other = mine(), its()
    layer.load_state_dict(other.state_dict())
    layer.qconfig, other.qconfig = configs()
    ready = ours.prepare_qat(layer)
    their = getattr(their_layers, type(layer).__name__).from_float(other)
    fake = other.qconfig.activation()
    mine_by, its_by = (
        tn.optim.SGD(ready.parameters(), 0.1),
        torch.optim.SGD(their.parameters(), 0.1),
    )
    for seed in range(6):
        x = drawn(*shape, seed=seed)
        a = (ready(tn.tensor(x)) ** 2).mean()
        b = (fake(their(torch.tensor(x))) ** 2).mean()
        np.testing.assert_allclose(a.item(), b.item(), rtol=2e-5)
        for optimizer, loss in ((mine_by, a), (its_by, b)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name in ("weight", "bias"):
        np.testing.assert_allclose(
            getattr(ready, name).detach().numpy(), getattr(their, name).detach().numpy(),
            rtol=1e-4, atol=1e-6,
        )  # fmt: skip
    np.testing.assert_allclose(
        ready.weight_fake_quant.scale.numpy(), their.weight_fake_quant.scale.numpy(), rtol=1e-5
    )


def bits(count):
    """Return a configuration of so many bits."""
    steps = 2 ** (count - 1) - 1
    return ours.QConfig(
        ours.FakeQuantize.with_args(quant_min=0, quant_max=2**count - 1),
        ours.FakeQuantize.with_args(
            observer=ours.MovingAveragePerChannelMinMaxObserver, quant_min=-steps, quant_max=steps,
            dtype=tn.int8, qscheme="per_channel_symmetric", averaging_constant=1.0,
        ),
    )  # fmt: skip


def test_two_bits_lose_the_digits_and_training_finds_them_again():
    x, y, held, labels = tn.data.load_digits()
    tn.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def train(network, epochs, rate):
        optimizer = tn.optim.Adam(network.train().parameters(), lr=rate)
        draw = np.random.default_rng(0)
        for _ in range(epochs):
            for rows in np.array_split(draw.permutation(len(x)), 15):
                out = network(tn.tensor(x[rows]))
                loss = nn.functional.cross_entropy(out, tn.tensor(y[rows]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def accuracy(network):
        with tn.no_grad():
            found = network.eval()(tn.tensor(held)).argmax(1)
        return float(np.mean(found.numpy() == labels))

    train(model, 5, 1e-2)
    exact = accuracy(model)
    model.train().qconfig = bits(2)
    ready = ours.prepare_qat(model)
    with tn.no_grad():  # ranges alone
        for rows in np.array_split(np.arange(len(x)), 15):
            ready(tn.tensor(x[rows]))
    after = accuracy(ready)
    train(ready, 5, 3e-3)
    recovered = accuracy(ready)
    assert exact > 0.9
    assert after < exact - 0.1
    assert recovered > after + 0.08


# -- and back -------------------------------------------------------------------------------------
def test_converting_gives_plain_layers_that_answer_the_same():
    ready = ours.prepare_qat(network())
    optimizer = tn.optim.SGD(ready.parameters(), lr=0.05)
    for seed in range(3):
        loss = (ready(tn.tensor(drawn(6, 1, 8, 8, seed=seed))) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    plain = ours.convert(ready)
    assert type(plain[0]) is nn.Conv2d
    assert not any(isinstance(m, qat.Rounding) for m in plain.modules())
    assert not plain.training
    assert type(ready[0]) is qat.Conv2d
    x = tn.tensor(drawn(6, 1, 8, 8, seed=9))
    np.testing.assert_array_equal(plain(x).detach().numpy(), ready.eval()(x).detach().numpy())
    scale = ready[0].weight_fake_quant.scale.numpy().reshape(-1, 1, 1, 1)
    steps = plain[0].weight.detach().numpy() / scale
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def test_a_prepared_model_is_saved_and_loaded(tmp_path):
    ready = ours.prepare_qat(network())
    ready(tn.tensor(drawn(6, 1, 8, 8)))
    other = ours.prepare_qat(network())
    other.load_state_dict(ready.state_dict())
    x = drawn(6, 1, 8, 8, seed=4)
    wanted = ready.eval()(tn.tensor(x)).detach().numpy()
    np.testing.assert_array_equal(other.eval()(tn.tensor(x)).detach().numpy(), wanted)
    tn.save(ready, tmp_path / "m.tnr", example_inputs=x)
    np.testing.assert_array_equal(tn.load(tmp_path / "m.tnr")(x).numpy(), wanted)
