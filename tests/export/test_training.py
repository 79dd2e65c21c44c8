"""A training step as one function for a machine does what the same step does in Python."""

import ctypes
import shutil
import struct
import subprocess

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError
from tenor.export.source import opened
from tenor.export.training import trainable_of, training_of
from tenor.runtime import cpu
from tests.export import zoo


def two_rates(parameters):
    """Return Adam with a rate of its own for the last parameters."""
    first, *rest = parameters
    groups = [{"params": rest, "lr": 7e-4, "betas": (0.8, 0.99)}] if rest else []
    return tn.optim.Adam([{"params": [first]}, *groups], lr=3e-3)


OPTIMIZERS = {
    "sgd": lambda p: tn.optim.SGD(p, lr=0.05),
    "momentum": lambda p: tn.optim.SGD(
        p, lr=0.05, momentum=0.9, dampening=0.2, weight_decay=1e-3, nesterov=False
    ),
    "adam": lambda p: tn.optim.Adam(p, lr=3e-3, amsgrad=True),
    "adamw": lambda p: tn.optim.AdamW(p, lr=3e-3),
    "rmsprop": lambda p: tn.optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "groups": two_rates,
}


def network():
    tn.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(64, 10),
    )  # fmt: skip


def batches(count, rows=8):
    return [
        (zoo.images(rows, 1, 8, 8, seed=i), zoo.tokens(rows, 1, 10, seed=i)[:, 0])
        for i in range(count)
    ]


class Native:
    """Both functions of a trainable, linked into a library, over one state."""

    def __init__(self, trainable, folder):
        self.both = trainable
        objects = {"train": trainable.train, "predict": trainable.predict}
        for name, machine in objects.items():
            (folder / f"{name}.o").write_bytes(machine.object_file(name, reloc="pic"))
        files = [folder / f"{name}.o" for name in objects]
        command = ["gcc", "-shared", "-nostdlib", "-o", folder / "m.so", *files]
        subprocess.run(command, check=True)
        self.library = ctypes.CDLL(str(folder / "m.so"))
        self.state = _aligned(trainable.train.weights.size)
        self.state[:] = trainable.train.weights
        self.t = 0

    def call(self, name, machine, given):
        outputs = [np.zeros(n.shape, n.dtype.numpy) for n in machine.source.outputs.values()]
        workspace = _aligned(machine.workspace)
        workspace[:] = 255
        tables = [(ctypes.c_void_p * len(a))(*[x.ctypes.data for x in a]) for a in (given, outputs)]
        at = [ctypes.c_void_p(a.ctypes.data) for a in (self.state, workspace)]
        assert getattr(self.library, name)(at[0], *tables, at[1]) == 0
        return outputs

    def step(self, *rows, lr):
        self.t += 1
        found = [(n.kind, n.value(lr, self.t)) for n in self.both.training.numbers]
        packed = struct.pack(
            "<" + "".join("dq"[k == "i64"] for k, _ in found), *[v for _, v in found]
        )
        numbers = np.frombuffer(packed, np.uint8)
        given = [*map(np.ascontiguousarray, rows), numbers]
        return float(self.call("train", self.both.train, given)[0])

    def weight(self, name):
        array = self.both.training.step.weights[name]
        at = self.both.places[name]
        return self.state[at : at + array.nbytes].view(array.dtype).reshape(array.shape)


def _aligned(nbytes):
    raw = np.zeros(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def train_here(model, optimizer, data):
    tn.manual_seed(0)
    model.train()
    losses = []
    for x, y in data:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tn.tensor(x)), tn.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc links the object")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps(name, tmp_path):
    model, data = network(), batches(20)
    tn.save(model, tmp_path / "m.tnr", example_inputs=data[0][0])
    training = training_of(model, *data[0], optimizer=OPTIMIZERS[name])
    native = Native(trainable_of(opened(tmp_path / "m.tnr"), training, cpu.host_target()), tmp_path)
    wanted = train_here(model, OPTIMIZERS[name](model.parameters()), data)
    came = [native.step(*rows, lr=training.lr) for rows in data]
    np.testing.assert_allclose(came, wanted, rtol=0, atol=1e-5)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(native.weight(key), value.numpy(), atol=1e-5, err_msg=key)
    predict = native.both.predict
    answer = native.call("predict", predict, [data[0][0][:1]])[0]
    model.eval()
    np.testing.assert_allclose(answer, model(tn.tensor(data[0][0][:1])).detach().numpy(), atol=1e-5)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc links the object")
def test_a_saved_model_is_trained_as_it_stands(tmp_path):
    path, _ = zoo.bundle("mlp", tmp_path / "m.tnr")
    saved = opened(path)
    data = [(zoo.images(8, 784, seed=i), zoo.tokens(8, 1, 10, seed=i)[:, 0]) for i in range(5)]
    training = training_of(saved, *data[0], optimizer="sgd", lr=0.1)
    native = Native(trainable_of(saved, training, cpu.host_target()), tmp_path)
    model = zoo.mlp()
    model.load_state_dict(saved.state_dict())
    wanted = train_here(model, tn.optim.SGD(model.parameters(), lr=0.1), data)
    came = [native.step(*rows, lr=0.1) for rows in data]
    np.testing.assert_allclose(came, wanted, rtol=0, atol=1e-5)
    assert wanted[-1] < wanted[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_formulas_are_the_optimizers(name):
    parameter = tn.nn.Parameter(tn.ones(3))
    optimizer = OPTIMIZERS[name]([parameter])
    model = nn.Linear(2, 2)
    training = training_of(
        model, zoo.images(4, 2), zoo.images(4, 2), loss="mse_loss", optimizer=OPTIMIZERS[name],
        batch=4,
    )  # fmt: skip
    group = optimizer.param_groups[0]
    for t in (1, 2, 3, 50, 10_000):
        for lr in (group["lr"], 0.5):
            wanted = optimizer.numbers(group | {"lr": lr}, t)
            came = [n.value(lr, t) for n in training.numbers if n.kind == "f64"]
            for number in wanted:
                assert any(abs(number - c) <= 1e-15 * max(1, abs(number)) for c in came), number


def test_the_model_is_left_as_it_was():
    model = network()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    random = tn.get_rng_state().tolist()
    training_of(model, *batches(1)[0])
    assert tn.get_rng_state().tolist() == random
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ArgumentError, match="optimizer's name"):
        training_of(network(), *batches(1)[0], optimizer="lion")
