"""Programs written for PyTorch find their names: modules, constructors, constants, arguments."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ShapeError


def test_modules_of_pytorchs_are_imported_by_its_names():
    program = """
import tenor.nn.functional as F
import tenor.utils.data
from tenor.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector
from tenor.nn.utils.rnn import pad_sequence
from tenor.utils.checkpoint import checkpoint
from tenor.utils.data import DataLoader, Dataset, TensorDataset
import tenor as tn
assert DataLoader is tn.data.DataLoader is tn.utils.data.DataLoader
assert checkpoint is tn.autograd.checkpoint is tn.utils.checkpoint.checkpoint
assert tn.nn.utils.clip_grad_norm_ is clip_grad_norm_ is tn.optim.clip_grad_norm_
assert tn.nn.utils.rnn.pad_sequence is pad_sequence
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)


def test_a_name_that_is_not_there_is_an_attribute_error():
    for owner in (tn, tn.utils, tn.utils.checkpoint, tn.utils.data, tn.nn.utils):
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            _ = owner.nothing_of_the_kind
    with pytest.raises(ImportError):
        from tenor.utils.data import nothing_of_the_kind  # noqa: F401


def test_constants_are_pythons():
    assert (tn.pi, tn.e, tn.inf, tn.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(tn.nan)


FLOATS = [[1.0, 0.0]]


@pytest.mark.parametrize(
    "name", ["Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short"]
)
def test_typed_constructors_are_pytorchs(name):
    ours, theirs = getattr(tn, f"{name}Tensor"), getattr(torch, f"{name}Tensor")
    for data in ([1, 0, 2], FLOATS, np.array([1, 2])):
        if isinstance(data, np.ndarray) and name != "Long":
            continue  # PyTorch takes an array of the very dtype only
        if name not in ("Double", "Float", "Half") and data is FLOATS:
            continue
        made, wanted = ours(data), theirs(data)
        assert made.tolist() == wanted.tolist()
        assert str(made.dtype).split(".")[1] == str(wanted.dtype).split(".")[1]
    assert ours(2, 3).shape == (2, 3)
    assert ours().shape == (0,)


# -- nn.utils -------------------------------------------------------------------------------------
def test_parameters_go_to_a_vector_and_back():
    net = tn.nn.Sequential(tn.nn.Linear(3, 2), tn.nn.Linear(2, 1))
    vector = tn.nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (11,)
    (vector * vector).sum().backward()
    assert net[0].weight.grad.tolist() == (2 * net[0].weight).tolist()
    tn.nn.utils.vector_to_parameters(tn.arange(11.0), net.parameters())
    assert net[0].weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert net[1].bias.tolist() == [10]
    assert net[0].weight.requires_grad
    with pytest.raises(ShapeError, match="11 elements"):
        tn.nn.utils.vector_to_parameters(tn.zeros(12), net.parameters())


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("trailing", [(), (2,)])
def test_sequences_are_filled_up_as_pytorch_does(batch_first, side, trailing):
    parts = [np.random.default_rng(n).normal(size=(n, *trailing)) for n in (3, 1, 4)]
    ours = tn.nn.utils.rnn.pad_sequence([tn.tensor(p) for p in parts], batch_first, -1.5, side)
    theirs = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(p) for p in parts], batch_first, -1.5, side
    )
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_sequences_that_cannot_be_filled_up_are_refused():
    pad = tn.nn.utils.rnn.pad_sequence
    with pytest.raises(ArgumentError, match="0 sequences"):
        pad([])
    with pytest.raises(ArgumentError, match="middle"):
        pad([tn.ones(1)], padding_side="middle")
    with pytest.raises(ShapeError, match="length"):
        pad([tn.ones(2, 3), tn.ones(2, 4)])


# -- autograd.grad --------------------------------------------------------------------------------
def test_grad_takes_pytorchs_arguments_in_its_order():
    x, y = (tn.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    d = x * x
    (g,) = tn.autograd.grad(d, x, tn.ones_like(d), True, True, True, False)
    assert g.tolist() == [2, 4]
    assert tn.autograd.grad(d.sum(), [y], allow_unused=True) == (None,)
    (zero,) = tn.autograd.grad((x * 3).sum(), [y], materialize_grads=True)
    assert zero.tolist() == [0, 0]
    with pytest.raises(ArgumentError, match="only_inputs"):
        tn.autograd.grad((x * 3).sum(), [x], only_inputs=False)
