"""Checkpoints: nests of tensors and plain data in one `.safetensors` file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy

import tenor as tn
from tenor.errors import ArgumentError, FormatError
from tenor.save.nest import NEST, unpacked


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def same(a, b):
    if isinstance(a, tn.Tensor):
        return isinstance(b, tn.Tensor) and a.dtype is b.dtype and a.tolist() == b.tolist()
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


NESTS = [
    {
        "epoch": 3,
        "best": 0.1,
        "name": "ü/\n",
        "none": None,
        "flag": True,
        "deep": {"x": [1, (2, 3)]},
    },
    {"model": {"0.weight": tn.ones(2, 3)}, "step": tn.tensor(7), "half": tn.ones(2).bfloat16()},
    {2: {"m": tn.zeros(2)}, 1: {"m": tn.ones(2)}, None: [], False: (), 2.5: {}},
    [tn.arange(3), "a", [[]], float("nan"), float("-inf"), 1e-323, 2**60, -0.0],
    {"a/b": tn.zeros(1), "a": {"b": tn.ones(1)}},
    tn.ones(3),
]


@pytest.mark.parametrize("nest", NESTS, ids=range(len(NESTS)))
def test_a_nest_comes_back_as_it_was(path, nest):
    tn.save(nest, path)
    assert same(nest, tn.load(path))


def test_arrays_and_numpys_numbers_come_back_as_tensors_and_pythons(path):
    tn.save({"a": np.arange(3), "loss": np.float32(0.5), "n": np.int64(2), "on": np.bool_(1)}, path)
    assert same(tn.load(path), {"a": tn.arange(3), "loss": 0.5, "n": 2, "on": True})


def test_other_tools_read_the_tensors_and_the_metadata(path):
    tn.save({"model": {"w": tn.ones(2)}, "epoch": 1}, path, metadata={"by": "me"})
    assert safetensors.numpy.load_file(path)["model/w"].tolist() == [1, 1]
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata()["by"] == "me"


def test_a_plain_state_dict_stays_a_plain_file(path):
    tn.save(tn.nn.Linear(2, 1).state_dict(), path)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() is None
        assert set(file.keys()) == {"weight", "bias"}


def test_training_goes_on_with_the_same_bits(path):
    x, y = tn.randn(64, 8), tn.randint(0, 3, (64,))
    data = tn.data.TensorDataset(x, y)

    def fresh():
        tn.manual_seed(1)
        net = tn.nn.Sequential(
            tn.nn.Linear(8, 16), tn.nn.BatchNorm1d(16), tn.nn.Dropout(0.3), tn.nn.Linear(16, 3)
        )
        optimizer = tn.optim.AdamW(net.parameters(), lr=1e-2, betas=(0.8, 0.99))
        schedule = tn.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=32)
        return net, optimizer, schedule

    def epoch(net, optimizer, schedule):
        losses = []
        for a, b in tn.data.DataLoader(data, batch_size=16, shuffle=True):
            loss = tn.nn.functional.cross_entropy(net(a), b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses

    parts = fresh()
    epoch(*parts)
    tn.save({"parts": [p.state_dict() for p in parts], "random": tn.get_rng_state()}, path)
    straight = [epoch(*parts), epoch(*parts)]

    parts = fresh()
    held = tn.load(path)
    for part, state in zip(parts, held["parts"], strict=True):
        part.load_state_dict(state)
    tn.set_rng_state(held["random"])
    assert [epoch(*parts), epoch(*parts)] == straight


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ({"a": [object()]}, "object at a/0"),
        ({"optimizer": tn.optim.SGD}, "type at optimizer"),
        ({("a", 1): tn.ones(1)}, "tuple in the top"),
        ({"s": {1, 2}}, "set at s"),
        ({"c": 1j}, "complex at c"),
    ],
)
def test_what_is_no_data_is_refused_and_named(path, what, named):
    with pytest.raises(ArgumentError, match=named):
        tn.save(what, path)
    assert not path.exists()


def test_a_nest_that_holds_itself_is_refused(path):
    loop = {}
    loop["me"] = loop
    with pytest.raises(ArgumentError, match="64 deep"):
        tn.save(loop, path)


@pytest.mark.parametrize("huge", [10**81, "\ud800"])
def test_what_could_not_be_read_again_is_refused(path, huge):
    with pytest.raises(ArgumentError, match="can be read again"):
        tn.save({"a": huge}, path)
    assert not path.exists()


def test_a_generators_state_comes_back(path):
    state = np.random.default_rng(3).bit_generator.state  # integers of 128 bits
    tn.save(state, path)
    assert tn.load(path) == state


def test_as_deep_as_may_be_comes_back(path):
    nest = tn.ones(1)
    for _ in range(64):
        nest = {"k": [nest]} if isinstance(nest, tuple) else (nest,)
    nest = [1]
    for _ in range(62):
        nest = {"k": nest}
    tn.save(nest, path)
    assert same(tn.load(path), nest)


@pytest.mark.parametrize(
    "tree",
    [
        [1],
        {"tensor": "gone"},
        {"tensor": 3},
        {"tensor": "w", "list": []},
        {},
        {"python/object": "os.system"},
        {"dict": {"a": 1}},
        {"dict": [["a"]]},
        {"dict": [[["a"], 1]]},
        {"dict": [["a", 1], ["a", 2]]},
        {"list": 3},
        {"float": "1e5"},
        {"float": ["nan"]},
    ],
    ids=str,
)
def test_a_text_that_says_something_else_is_refused(tree):
    with pytest.raises(FormatError, match=r"tenor\.nest"):
        unpacked(json.dumps(tree), {})


def test_a_text_deeper_than_any_that_is_written_is_refused(path):
    for text in ('{"list":[' * 500 + "]}" * 500, "{", "NaN"):
        safetensors.numpy.save_file({"w": np.ones(1)}, path, {NEST: text})
        with pytest.raises(FormatError, match=r"tenor\.nest"):
            tn.load(path)


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint", "model.pth"])
def test_another_suffix_is_refused_with_the_right_one(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"fix: call it '(checkpoint|model)\.safetensors'"):
        tn.save({"epoch": 1}, tmp_path / name)
    with pytest.raises(ArgumentError, match=r"fix: call it '(checkpoint|model)\.tnr'"):
        tn.save(tn.nn.Linear(1, 1), tmp_path / name)
