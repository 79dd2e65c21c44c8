"""Attention and its gradients: bits that follow from the shape alone, keys nobody looks at."""

import numpy as np
import pytest

from tenor.compiler import compile
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.target import Target
from tenor.runtime import allocator, cpu, executable

TARGETS = (Target.x86_64_avx512(), Target.x86_64_avx2(), Target.aarch64())
# N, H, T, S, D, E, causal
SHAPES = [
    (2, 3, 70, 70, 16, 24, True), (1, 2, 33, 700, 8, 17, False), (1, 1, 150, 1100, 12, 8, True),
    (1, 9, 20, 40, 64, 64, False),
]  # fmt: skip


def arrays(n, h, t, s, d, e, dtype=np.float32):
    rng = np.random.default_rng(t + s)
    shapes = ((n, h, t, d), (n, h, s, d), (n, h, s, e), (n, t, h, e))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def results(operands, causal, target=None, scale=0.3):
    """Return attention's result and the gradients, computed as a target's code would."""
    b = GraphBuilder()
    leaves = [b.leaf(x.shape, dt.from_numpy(x.dtype)) for x in operands]
    out = b.attention(*leaves[:3], causal=causal, scale=scale)
    grads = b.emit(ops.ATTENTION_GRADIENT, tuple(leaves), (causal, scale))
    graph = b.graph(out, grads)
    ready = executable.load(compile(graph, target or cpu.host_target()))
    buffers, _, _ = ready.run([allocator.copy_of(x) for x in operands], [])
    kept = zip(graph.outputs, buffers, strict=True)
    return [np.array(x.array(node.dtype.numpy, node.shape)) for node, x in kept]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_width_of_vectors_gives_the_same_bits(shape, dtype):
    *extents, causal = shape
    operands = arrays(*extents, dtype=dtype)
    host = results(operands, causal)
    for target in TARGETS:
        for a, b in zip(host, results(operands, causal, target), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("causal", [False, True])
def test_a_head_is_the_same_alone(causal):
    operands = arrays(3, 4, 70, 90, 16, 8)
    whole = results(operands, causal)[0]
    for n in range(3):
        for h in range(4):
            mine = [x[n : n + 1, h : h + 1] for x in operands[:3]] + [operands[3][n : n + 1, :, :1]]
            alone = results([np.ascontiguousarray(x) for x in mine], causal)[0]
            assert alone[0, :, 0].tobytes() == np.ascontiguousarray(whole[n, :, h]).tobytes()


def test_what_comes_later_does_not_show():
    operands = arrays(1, 2, 130, 130, 8, 8)
    before = results(operands, True)[0]
    for x in operands[1:3]:
        x[:, :, 100:] = 1e30
    after = results(operands, True)[0]
    assert before[:, :100].tobytes() == after[:, :100].tobytes()
    assert before[:, 100:].tobytes() != after[:, 100:].tobytes()


def test_nan_reaches_the_rows_that_look_at_it_and_no_others():
    operands = arrays(1, 1, 40, 40, 4, 4)
    operands[1][0, 0, 30] = np.nan
    made = results(operands, True)[0][0, :, 0]
    assert np.isfinite(made[:30]).all()
    assert np.isnan(made[30:]).all()


def test_scores_far_apart_neither_overflow_nor_slow_down():
    operands = arrays(1, 1, 20, 20, 4, 4)
    operands[0][:] *= 1e10
    operands[1][:] *= 1e10
    made, grads = results(operands, False)
    assert np.isfinite(made).all()
    assert np.isfinite(grads).all()


@pytest.mark.parametrize("scale", [0.0, -0.7])
def test_any_scale_will_do(scale):
    q, k, v, g = arrays(1, 1, 20, 33, 4, 5)
    made = results([q, k, v, g], False, scale=scale)[0]
    scores = (q[0, 0] @ k[0, 0].T).astype(np.float64) * scale
    e = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(made[0, :, 0], e / e.sum(-1, keepdims=True) @ v[0, 0], rtol=2e-5)


def test_no_queries_give_no_results():
    made, grads = results(arrays(1, 2, 0, 3, 4, 4), False)
    assert made.shape == (1, 0, 2, 4)
    assert not grads.any()
