"""Slices and joins of tensors in memory: no program of their own, PyTorch's views all the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.engine.flush import counts


def plans(function) -> int:
    before = counts["plans"]
    function()
    return counts["plans"] - before


def in_memory(*shape):
    return tn.arange(int(np.prod(shape))).float().reshape(*shape).clone().materialize()


def test_batches_cut_anywhere_are_one_program():
    data, target = in_memory(1000, 3), tn.arange(1000).materialize()

    def step(i):
        return ((data[i : i + 8] * 2).sum() + target[i : i + 8].sum()).item()

    step(0)
    assert plans(lambda: [step(i) for i in range(1, 900, 37)]) == 0
    found = step(5)
    assert found == float((data.numpy()[5:13] * 2).sum() + np.arange(5, 13).sum())


@pytest.mark.parametrize(
    "cut",
    [
        lambda x, i: x[i],
        lambda x, i: x[:, i : i + 2],
        lambda x, i: x[i : i + 7 : 3, ::2],
        lambda x, i: x[..., i, None],
        lambda x, i: x.narrow(0, i, 4),
        lambda x, i: x.select(1, i),
    ],
)
def test_every_kind_of_cut_is_one_program(cut):
    x, oracle = in_memory(16, 8, 8), torch.arange(1024.0).reshape(16, 8, 8)
    for i in range(2):
        (cut(x, i) + 1).tolist()
    for i in range(5):
        before = counts["plans"]
        found = (cut(x, i) + 1).tolist()
        assert found == (cut(oracle, i) + 1).tolist()
        assert counts["plans"] == before


def test_a_stack_of_random_pieces_is_one_program():
    rng = np.random.default_rng(0)
    data = tn.arange(500).materialize()
    table = tn.randn(500, 4).materialize()

    def batch():
        at = rng.integers(0, 480, 6)
        x = tn.stack([data[i : i + 16] for i in at])
        np.testing.assert_array_equal(x.numpy(), at[:, None] + np.arange(16))
        return table[x].sum().item()

    batch()
    assert plans(lambda: [batch() for _ in range(5)]) == 0


def test_a_growing_sequence_is_one_program_once_its_window_is_full():
    weight = tn.randn(10, 10).materialize()

    def turn(x, draw):
        scores = tn.nn.functional.one_hot(x[:, -4:], 10).float() @ weight
        last = scores[:, -1].softmax(-1)
        new = tn.multinomial(last, 1) if draw else last.argmax(-1, keepdim=True)
        return tn.cat([x, new], dim=1)

    for draw in (True, False):
        x = tn.zeros((1, 1), dtype=tn.int64)
        with tn.no_grad():
            for _ in range(10):
                x = turn(x, draw)
            x.materialize()
            before = counts["plans"]
            for _ in range(20):
                x = turn(x, draw)
            x.materialize()
        assert counts["plans"] == before
        assert x.shape == (1, 31)


def test_writes_are_seen_by_cuts_and_through_them():
    def run(lib):
        base = lib.zeros(4, 6)
        str(base)  # computed: what follows is cut in memory
        row, block, deep = base[1], base[1:3, ::2], base[1:3][1, 2:]
        base[1, 2] = 5.0
        row.add_(1)
        block.mul_(3)
        deep[1] = 7.0
        later = base[2] + row
        base.sub_(1)
        return [t.tolist() for t in (base, row, block, deep, later)]

    assert run(tn) == run(torch)


def test_what_numpy_writes_is_seen_by_later_cuts():
    array = np.zeros((4, 3), np.float32)
    x = tn.from_numpy(array)
    half = x[2:]
    half.sum().item()
    array[3] = 2
    assert half[1].tolist() == x[3].tolist() == [2, 2, 2]


def test_a_cut_of_what_has_a_gradient_is_recorded():
    x = in_memory(6).requires_grad_()
    (x[1:3].sum() * 3).backward()
    assert x.grad.tolist() == [0, 3, 3, 0, 0, 0]
    leaf = in_memory(6)[2:4].requires_grad_()
    (leaf * leaf).sum().backward()
    assert leaf.is_leaf
    assert leaf.grad.tolist() == [4, 6]


def test_large_cuts_are_recorded_while_they_stay_the_same():
    x = tn.zeros(3, 1 << 19).materialize()

    def total(i):
        return (x[i] + 1).sum().item()

    assert plans(lambda: [total(0), total(0), total(0)]) == 1
    assert plans(lambda: [total(1), total(2), total(1)]) == 1


def test_a_compiled_function_cuts_and_joins_its_arguments_anew():
    @tn.compile
    def ends(x):
        return tn.cat([x[:2], x[-2:]]), tn.stack([x[0], x[1]])

    for start in (0, 10):
        joined, stacked = ends(tn.arange(start, start + 6).materialize())
        assert joined.tolist() == [start, start + 1, start + 4, start + 5]
        assert stacked.tolist() == [start, start + 1]


def test_a_join_in_memory_checks_what_it_is_given():
    with pytest.raises(tn.errors.ShapeError):
        tn.cat([in_memory(2, 3), in_memory(2, 4)])
    mixed = tn.cat([tn.ones(2).materialize(), tn.ones(2, dtype=tn.int32).materialize()])
    assert mixed.dtype is tn.float32
