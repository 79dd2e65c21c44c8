"""What is recorded at one position is copied to another, where operands are alike."""

from __future__ import annotations

import numpy as np
import pytest

import tenor as tn
from tenor.engine import graft
from tenor.engine.trace import local, reset_trie
from tenor.engine.trie import path
from tenor.nn import functional as F


@pytest.fixture
def copied(monkeypatch):
    """How many stretches are copied."""
    reset_trie()
    made = []
    plain = graft.graft

    def counted(*args):
        result = plain(*args)
        made.append(result is not None)
        return result

    monkeypatch.setattr(graft, "graft", counted)
    return made


def block(x):
    """Return two layers alike, and something between them."""
    w, v = tn.ones(6, requires_grad=True), tn.ones(6)
    y = F.layer_norm(x * 2, (6,), w)
    z = F.layer_norm(y.abs() * 2, (6,), w)
    return F.gelu(z) + F.gelu(y) + F.cross_entropy(z, tn.arange(4)) * F.softmax(z * v, -1)


def recorded():
    """Return what a block records: operations, operands by place, shapes, and what is counted."""
    reset_trie()
    result = block(tn.ones(4, 6))
    states = path(local.trace.state)
    found = [
        (s.op, tuple(i.depth for i in s.inputs), s.attrs, s.shape, s.dtype, s.requires_grad,
         s.grad, s.leaves, s.scalars, s.depth, s.pending_bytes, s.boundary)
        for s in states
    ]  # fmt: skip
    return found, result.detach().numpy()


def test_a_copy_is_what_would_have_been_recorded(copied, monkeypatch):
    found, value = recorded()
    assert any(copied)
    monkeypatch.setattr(graft, "find", lambda key: None)
    wanted, same = recorded()
    assert found == wanted
    assert np.array_equal(value, same)


def test_operands_that_are_one_tensor_are_no_two(copied):
    x, y = tn.ones(3) * 2, tn.ones(3) * 3
    assert (x.hypot(y) if hasattr(x, "hypot") else (x * x + y * y).sqrt()).shape == (3,)
    both = [F.mse_loss(x, y), F.mse_loss(x, x), F.mse_loss(y + 1, x), F.mse_loss(y * 1, y * 1)]
    assert [float(v) for v in both] == [1.0, 0.0, 4.0, 0.0]


def test_an_operand_that_was_entered_last_stays_an_operand(copied):
    a, b = tn.ones(2), tn.ones(2) * 4
    b.sum().item()
    assert (a + b).tolist() == [5.0, 5.0]
    c = tn.zeros(2) + 1
    assert ((c * 2) + b).tolist() == [6.0, 6.0]
    assert (b - (c * 2)).tolist() == [2.0, 2.0]


def test_an_optimizer_steps_the_same_at_any_position(copied):
    def train(again):
        tn.manual_seed(0)
        p = tn.nn.Parameter(tn.ones(3, 2))
        q = tn.nn.Parameter(tn.ones(2))
        optimizer = tn.optim.AdamW([p, q], lr=0.1)
        rng = np.random.default_rng(0)
        for n in (4, 4, 5, 6, 7):
            if again:
                reset_trie()
            optimizer.zero_grad()
            x = tn.tensor(rng.standard_normal((n, 3)).astype(np.float32))
            ((x @ p + q) ** 2).mean().backward()
            optimizer.step()
        return p.detach().numpy(), q.detach().numpy()

    before = len(copied)
    found = train(again=False)
    assert any(copied[before:])
    for a, b in zip(found, train(again=True), strict=True):
        assert np.array_equal(a, b)


def test_a_bad_index_names_the_line_of_the_copy(copied):
    table = tn.zeros(4, 2)
    F.embedding(tn.tensor([1, 2]), table).sum().item()
    with pytest.raises(tn.errors.IndexRangeError) as caught:
        F.embedding(tn.tensor([1, 9]) * 1, table * 1).sum().item()  # here
    assert "# here" in str(caught.value)
