"""finish: an elementwise kernel behind a product takes its tiles."""

import numpy as np
import pytest

import tenor as tn
from tenor.config import config
from tenor.engine.trace import reset_trie
from tests.passes.programs import after, graph

LINEAR = """
    %0 = leaf f32[64,40]
    %1 = leaf f32[40,96]
    %2 = leaf f32[96]
    %3 = matmul f32[64,96] (%0, %1)
    %4 = expand f32[64,96] (%2) shape=[64,96]
    %5 = add f32[64,96] (%3, %4)
    %6 = tanh f32[64,96] (%5)
    return %6
"""


def left(body, skip=()):
    """Return the schedule after the pass, and the bytes of the arena."""
    assembly = after("arena", graph(body), skip)
    return assembly.schedule, assembly.arena


def test_a_bias_and_an_activation_take_the_products_tiles_and_it_needs_no_memory():
    schedule, arena = left(LINEAR)
    assert [(k.kind, len(k.parts)) for k in schedule.kernels] == [("matmul", 1)]
    assert schedule.labels == ["matmul+tanh"]
    assert arena == 0


def test_without_it_they_are_two_kernels():
    schedule, arena = left(LINEAR, skip=("finish",))
    assert schedule.labels == ["matmul", "tanh"]
    assert arena == 4 * 64 * 96


def test_a_product_that_others_read_keeps_its_memory():
    schedule, _ = left(LINEAR.replace("return %6", "return %6, %3"))
    kernel = schedule.kernels[0]
    assert (kernel.kind, len(kernel.parts)) == ("matmul", 1)
    assert sum(b.written for b in kernel.buffers) == 2


def test_what_reads_it_elsewhere_than_at_its_index_stays_apart():
    body = """
        %0 = leaf f32[64,40]
        %1 = leaf f32[40,96]
        %2 = matmul f32[64,96] (%0, %1)
        %3 = slice f32[64,96] (%2) starts=[63,0] sizes=[64,96] steps=[-1,1]
        %4 = tanh f32[64,96] (%3)
        return %4
    """
    assert left(body)[0].labels == ["matmul", "tanh"]


def test_what_reads_more_arrays_of_its_size_stays_apart():
    body = """
        %0 = leaf f32[64,40]
        %1 = leaf f32[40,96]
        %2 = leaf f32[64,96]
        %3 = leaf f32[64,96]
        %4 = matmul f32[64,96] (%0, %1)
        %5 = add f32[64,96] (%4, %2)
        %6 = mul f32[64,96] (%5, %3)
        return %6
    """
    assert left(body)[0].labels == ["matmul", "mul"]


def test_an_operand_that_is_written_over_is_not_read_by_the_product_behind():
    """w -= x @ w would read rows of w that are gone."""
    w = tn.tensor(np.random.default_rng(0).standard_normal((48, 48), np.float32))
    x = tn.tensor(np.random.default_rng(1).standard_normal((48, 48), np.float32))
    old, factor = w.numpy().copy(), x.numpy()
    w -= x @ w
    np.testing.assert_allclose(w.numpy(), old - factor @ old, rtol=1e-4, atol=1e-4)


def test_parts_of_one_value_that_both_read_are_pointers_of_their_own():
    x, w = (np.random.default_rng(i).standard_normal(s, np.float32)
            for i, s in enumerate([(2, 48, 48), (48, 48)]))  # fmt: skip

    @tn.compile
    def step(x, w):
        return x[1] @ w + x[0]

    made = step(tn.tensor(x), tn.tensor(w)).numpy()
    np.testing.assert_allclose(made, x[1] @ w + x[0], rtol=1e-4, atol=1e-4)


SHAPES = [(1, 70, 33), (7, 5, 2), (3, 17, 1), (32, 784, 10), (40, 1100, 65), (130, 64, 257),
          (256, 128, 512)]  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [tn.float32, tn.float64, tn.float16, tn.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_bit_changes(shape, dtype, turned, monkeypatch):
    m, k, n = shape
    rng = np.random.default_rng(0)
    x = tn.tensor(rng.standard_normal((2, m, k), np.float32)).to(dtype)
    w = tn.tensor(rng.standard_normal((n, k) if turned else (k, n), np.float32)).to(dtype)
    bias = tn.tensor(rng.standard_normal(n, np.float32)).to(dtype)
    more = tn.tensor(rng.standard_normal((2, m, n), np.float32)).to(dtype)

    def ways():
        product = x @ (w.T if turned else w)
        return [t.float().numpy() for t in ((product + bias).relu(), product * more, product)]

    found = ways()
    monkeypatch.setattr(config, "skip_passes", frozenset({"finish"}))
    reset_trie()
    for got, alone in zip(found, ways(), strict=True):
        np.testing.assert_array_equal(got, alone)
