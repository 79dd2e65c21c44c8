"""Outputs written past the caches: the values, whatever the shape and however many threads."""

import numpy as np
import pytest

import tenor as tn
from tenor.compiler import compile
from tenor.ir import dtype as dt
from tenor.ir.build import GraphBuilder
from tests.jit import host

ROWS, COLUMNS = 2048, 1088


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def text_of(*shape):
    b = GraphBuilder()
    x = b.leaf(shape, dt.float32)
    return compile(b.graph(b.add(x, x)), host()).texts[0]


@pytest.mark.parametrize("shape", [(1 << 21,), ((1 << 21) + 7,), (ROWS, COLUMNS)])
def test_whole_vectors_of_a_large_sum_are_written_so(shape):
    text = text_of(*shape)
    assert "!nontemporal" in text
    assert "fence seq_cst" in text


def test_small_outputs_are_not():
    assert "!nontemporal" not in text_of(1 << 12)


def test_rows_that_are_picked_are_not():
    b = GraphBuilder()
    table, index = b.leaf((50_000, 128), dt.float32), b.leaf((1 << 15,), dt.int64)
    text = compile(b.graph(b.take(table, index, 0)), host()).texts[0]
    assert "prefetch" in text
    assert "!nontemporal" not in text


CASES = {
    "one dim": (lambda lib, x: x + 1, (1 << 21,)),
    "one dim, odd": (lambda lib, x: x + 1, ((1 << 21) + 7,)),
    "rows": (lambda lib, x: x[:, 1:65] * 2 + x[:, :64], (ROWS * 32, 66)),
    "odd rows": (lambda lib, x: x[:, 1:] * 2 + x[:, :1], (ROWS, COLUMNS + 4)),
    "turned": (lambda lib, x: x.T + 1, (COLUMNS, ROWS)),
    "softmax": (lambda lib, x: lib.softmax(x, -1) if lib is tn else softmax(x), (ROWS, COLUMNS)),
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_any_output(name, threads):
    body, shape = CASES[name]
    x = drawn(*shape)
    before = tn.get_num_threads()
    tn.set_num_threads(threads)
    try:
        got = body(tn, tn.tensor(x)).numpy()
    finally:
        tn.set_num_threads(before)
    np.testing.assert_allclose(got, body(np, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [64, 66])
def test_rows_added_by_index_to_a_large_copy(width):
    x, index = drawn(40_000, width), np.random.default_rng(1).integers(0, 40_000, 3_000)
    rows = drawn(3_000, width)
    got = tn.index_add(tn.tensor(x), 0, tn.tensor(index), tn.tensor(rows)).numpy()
    expected = x.copy()
    np.add.at(expected, index, rows)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
