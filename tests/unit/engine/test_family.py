"""Graphs that differ in their sizes alone are one family, and no others are."""

from __future__ import annotations

import numpy as np
import pytest

import tenor as tn
from tenor import compiler
from tenor.engine import backend
from tenor.engine.family import _relations, family_of
from tenor.engine.trace import reset_trie
from tenor.ir.symbolic import Sizes, Sym, symbol


@pytest.fixture
def family():
    """Return the family and numbers of what a function computes."""
    graphs = []
    backend.observers.append(lambda graph, program: graphs.append(graph))

    def of(function, *shapes, **more):
        reset_trie()
        tensors = [tn.tensor(np.ones(s, np.float32), **more) for s in shapes]
        graphs.clear()
        function(*tensors).detach().numpy()
        return family_of(graphs[0])

    yield of
    backend.observers.pop()


def test_sizes_are_no_difference(family):
    def mean(x):
        return (x * 2).mean(0)[1:]

    first, numbers = family(mean, (5, 7))
    second, others = family(mean, (6, 9))
    assert first is second
    assert len(numbers) == len(others)
    assert {5, 7} <= set(numbers)
    assert {6, 9} <= set(others)


def test_a_graph_that_comes_again_is_not_compiled_again(monkeypatch):
    compiled, real = [], compiler.compile
    monkeypatch.setattr(
        compiler, "compile", lambda graph, *a, **k: compiled.append(graph) or real(graph, *a, **k)
    )

    def run(n):
        reset_trie()
        x = tn.tensor(np.arange(n, dtype=np.float32))
        return ((x * 0.28125).sum() - x).numpy().tobytes()

    first = run(11)
    assert len(compiled) == 1
    assert run(11) == first
    assert len(compiled) == 1
    run(12)
    assert run(11) == first, "the program is one for many sizes now"
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("function", "shape", "other"),
    [
        (lambda x: x + 1, (5, 7), (1, 7)),
        (lambda x: x + 1, (5, 7), (5,)),
        (lambda x: x.sum(0), (0, 7), (5, 7)),
        (lambda x: x[: len(x) // 4] * 2, (5, 7), (8, 7)),  # one row, or two
    ],
)
def test_one_none_and_other_structures_are(family, function, shape, other):
    assert family(function, shape)[0] is not family(function, other)[0]


def test_operations_and_constants_are_a_difference(family):
    assert family(lambda x: x.exp(), (5,))[0] is not family(lambda x: x.log(), (5,))[0]
    assert family(lambda x: x.sum(0), (5, 6))[0] is not family(lambda x: x.sum(1), (5, 6))[0]
    assert (
        family(lambda x: x.round(decimals=1), (5,))[0]
        is not (family(lambda x: x.exp().round(decimals=1), (5,))[0])
    )


def test_the_extents_of_what_is_trained_are_a_difference(family):
    assert family(lambda x: x * x, (5,))[0] is family(lambda x: x * x, (6,))[0]
    trained = [family(lambda x: x * x, (n,), requires_grad=True)[0] for n in (5, 6, 5)]
    assert trained[0] is not trained[1]
    assert trained[0] is trained[2]


def test_numbers_follow_from_sizes():
    #  places: batch, time, both, time - 1, 3 time, something else, what stays, batch again
    samples = [
        (4, 9, 36, 8, 27, 5, 64, 4),
        (3, 20, 60, 19, 60, 5, 64, 3),
        (7, 6, 42, 5, 18, 2, 64, 7),
    ]
    bases, exprs = _relations(samples, {0, 1, 7})
    assert bases == [0, 1, 5]
    b, t = symbol(0), symbol(1)
    with Sizes([4, 9, 5]) as sizes:
        assert exprs[2] == b * t
        assert exprs[3] == t - 1
        assert exprs[4] == 3 * t
        assert exprs[7] == b
    assert not sizes.guards
    assert exprs[6] == 64
    assert isinstance(exprs[5], Sym)
    for sample in samples:
        values = [sample[p] for p in bases]
        assert tuple(Sizes(values).value(e) for e in exprs) == sample
