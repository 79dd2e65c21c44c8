"""Packed sequences against PyTorch's: packing, padding, and recurrent layers over them."""

import numpy as np
import pytest
import torch
from torch.nn.utils import rnn as theirs

import tenor as tn
from tenor.errors import ArgumentError, ObservationError, ShapeError

mine = tn.nn.utils.rnn
SORTED, MIXED = [5, 3, 3, 1], [3, 5, 1, 3]
X = np.random.default_rng(0).standard_normal((5, 4, 2))


def near(ours, its):
    np.testing.assert_allclose(ours.detach().numpy(), its.detach().numpy(), rtol=1e-9, atol=1e-12)
    assert tuple(ours.shape) == tuple(its.shape)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("lengths", "ordered"), [(SORTED, True), (SORTED, False), (MIXED, False)])
def test_packing_and_padding(lengths, ordered, batch_first):
    x = X.swapaxes(0, 1).copy() if batch_first else X
    a = mine.pack_padded_sequence(tn.tensor(x), lengths, batch_first, ordered)
    b = theirs.pack_padded_sequence(torch.tensor(x), lengths, batch_first, ordered)
    for ours, its in zip(a, b, strict=True):
        assert (ours is None) == (its is None)
        if its is not None:
            near(ours, its)
    assert a.batch_sizes.dtype is tn.int64
    for options in ({}, {"batch_first": True, "padding_value": -2.0, "total_length": 7}):
        for ours, its in zip(
            mine.pad_packed_sequence(a, **options), theirs.pad_packed_sequence(b, **options),
            strict=True,
        ):  # fmt: skip
            near(ours, its)


def test_a_list_is_packed():
    parts = [X[:n, i].copy() for i, n in enumerate(MIXED)]
    a = mine.pack_sequence([tn.tensor(p) for p in parts], enforce_sorted=False)
    b = theirs.pack_sequence([torch.tensor(p) for p in parts], enforce_sorted=False)
    near(a.data, b.data)
    near(a.unsorted_indices, b.unsorted_indices)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("lengths", [SORTED, MIXED])
def test_recurrent_layers_run_over_packed_sequences(name, options, given, lengths):
    torch.manual_seed(0)
    its = getattr(torch.nn, name)(2, 3, dtype=torch.float64, **options)
    ours = getattr(tn.nn, name)(2, 3, dtype=tn.float64, **options)
    ours.load_state_dict(its.state_dict())
    rows = options.get("num_layers", 1) * (2 if options else 1)
    first = np.random.default_rng(1).standard_normal((rows, 4, 3))
    found = []
    for lib, rnn, layer in ((tn, mine, ours), (torch, theirs, its)):
        x, h = lib.tensor(X, requires_grad=True), lib.tensor(first, requires_grad=True)
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=lengths is SORTED)
        state = ((h, h * 2) if name == "LSTM" else h) if given else None
        out, last = layer(packed, state)
        assert isinstance(out, rnn.PackedSequence)
        whole, sizes = rnn.pad_packed_sequence(out)
        ends = list(last) if name == "LSTM" else [last]
        weights = lib.arange(whole.shape[0] * 4).reshape(-1, 4, 1)
        ((whole * weights).sum() + sum((e * e).sum() for e in ends)).backward()
        grads = [p.grad for p in layer.parameters()]
        found.append([whole, sizes, *ends, x.grad, *([h.grad] if given else []), *grads])
    for a, b in zip(*found, strict=True):
        near(a, b)


def test_data_may_be_replaced_on_the_way():
    packed = mine.pack_padded_sequence(tn.tensor(X), MIXED, enforce_sorted=False)
    double = packed._replace(data=packed.data * 2)
    near(mine.pad_packed_sequence(double)[0], torch.tensor(X * 2 * _live(MIXED)))


def _live(lengths):
    return (np.arange(5)[:, None] < np.array(lengths))[..., None]


@pytest.mark.parametrize(
    ("act", "error", "match"),
    [
        (lambda x: mine.pack_padded_sequence(x, MIXED), ArgumentError, "enforce_sorted=False"),
        (lambda x: mine.pack_padded_sequence(x, [5, 3]), ShapeError, "batch_first"),
        (lambda x: mine.pack_padded_sequence(x, [6, 3, 3, 1]), ArgumentError, r"\[1, 5\]"),
        (lambda x: mine.pack_padded_sequence(x, [5, 3.7, 3, 1]), ArgumentError, "3.7"),
        (lambda x: mine.pack_padded_sequence(x, [5, np.nan, 3, 1]), ArgumentError, "whole"),
        (lambda x: tn.compile(tn.nn.LSTM(2, 4, dtype=tn.float64))(
            mine.pack_padded_sequence(x, SORTED)), ObservationError, "compile"),
        (lambda x: mine.pack_padded_sequence(x, [5, 3, 3, 0]), ArgumentError, "leave empty"),
        (lambda x: mine.pad_packed_sequence(
            mine.pack_padded_sequence(x, SORTED), total_length=4), ArgumentError, "4 for 5"),
        (lambda x: tn.nn.GRU(3, 4)(mine.pack_padded_sequence(x, SORTED)), ShapeError, "3 features"),
    ],
)  # fmt: skip
def test_mistakes_are_named(act, error, match):
    with pytest.raises(error) as raised:
        act(tn.tensor(X))
    assert raised.match(match) or match in str(raised.value)
