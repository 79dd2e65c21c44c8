"""What matrix products and convolutions are tried on; `tests/unit/compiler/lower` goes deeper."""

from __future__ import annotations

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.infer import conv_output
from tests.ops.differential import HALF, Case, Leaf, Sample, Tolerance, between, numbers, small

PRODUCTS = (
    ((1, 1), (1, 1)), ((3, 5), (5, 7)), ((16, 32), (32, 16)), ((33, 70), (70, 19)),
    ((1, 40), (40, 1)), ((65, 1), (1, 33)), ((0, 3), (3, 4)), ((3, 0), (0, 4)),
    ((2, 5, 6), (2, 6, 3)),
    ((2, 3, 9, 8), (2, 3, 8, 17)), ((0, 2, 3), (0, 3, 2)),
)  # fmt: skip
# x, w, stride, padding, dilation, groups
CONVOLUTIONS = (
    ((2, 3, 10), (4, 3, 3), (1,), ((0, 0),), (1,), 1),
    ((1, 4, 12), (6, 2, 3), (2,), ((1, 2),), (2,), 2),
    ((2, 3, 8, 9), (5, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 1, 7, 7), (1, 1, 1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 8, 9, 6), (8, 1, 3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), 8),
    ((1, 2, 4, 5, 4), (3, 2, 2, 2, 2), (1, 2, 1), ((0, 1), (1, 0), (0, 0)), (1, 1, 2), 1),
)  # fmt: skip
# N, H, T, S, D, E, causal, scale
ATTENTIONS = (
    (1, 1, 1, 1, 1, 1, True, 1.0), (2, 3, 5, 7, 4, 6, False, 0.5),
    (2, 2, 33, 70, 16, 24, False, 0.25), (0, 2, 3, 3, 2, 2, True, 1.0),
    (1, 2, 70, 70, 16, 17, True, 0.25), (1, 1, 100, 40, 3, 5, True, -0.5),
    (1, 1, 40, 100, 33, 64, True, 0.2), (1, 2, 20, 600, 8, 8, False, 0.3),
)  # fmt: skip


def products(dtype):
    """Return samples of matrices, plain and transposed."""
    for left, right in PRODUCTS:
        leaves = (Leaf(left, dtype, small), Leaf(right, dtype, small))
        yield Sample(f"{left} {right}", leaves, lambda b, x, y: b.matmul(x, y))

        def transposed(b, x, y):
            return b.matmul(b.transpose(x), b.transpose(y))

        turned = tuple(Leaf((*s[:-2], s[-1], s[-2]), dtype, small) for s in (left, right))
        yield Sample(f"{left} {right} transposed", turned, transposed, modes=("plain",))

    def shared(b, x, y):
        return b.matmul(b.expand(x, (3, 4, 5)), y)

    leaves = (Leaf((4, 5), dtype, small), Leaf((3, 5, 6), dtype, small))
    yield Sample("one matrix for a batch", leaves, shared)


BYTES = (
    (1, 1, 1), (3, 5, 7), (2, 64, 8), (1, 200, 9), (13, 100, 33), (7, 130, 4), (5, 784, 10),
    (0, 3, 4), (3, 0, 4), (3, 4, 0), (64, 65, 66),
)  # fmt: skip


def bytes_products(dtype):
    """Return samples of products of unsigned and signed bytes; sums of extremes, too."""
    for m, k, n in BYTES:
        for what, left, right in (
            ("any", numbers, numbers),
            ("extremes", between(255, 256), between(-128, -127)),
        ):
            leaves = (Leaf((m, k), dtype, left), Leaf((n, k), dt.int8, right))
            yield Sample(f"{m} {k} {n} {what}", leaves, _emit(ops.MATMUL_INT8))


def signed_products(dtype):
    """Return samples of products of bytes, and those of two signed ones."""
    yield from bytes_products(dtype)
    for m, k, n in BYTES:
        for what, draw in (("any", numbers), ("extremes", between(-128, -127))):
            leaves = (Leaf((m, k), dt.int8, draw), Leaf((n, k), dt.int8, draw))
            yield Sample(f"{m} {k} {n} signed {what}", leaves, _emit(ops.MATMUL_INT8))


def bytes_convolutions(dtype):
    """Return samples of convolutions of bytes, some with a map that follows."""
    for x, w, *attrs in (*CONVOLUTIONS, *BYTES_CONVOLUTIONS):
        leaves = (Leaf(x, dtype, numbers), Leaf(w, dtype, numbers))
        label = f"{x} {w} {attrs}"
        yield Sample(label, leaves, _emit(ops.CONV_INT8, *attrs, -9))

        def requantised(b, x, w, attrs=attrs):
            y = b.emit(ops.CONV_INT8, (x, w), (*attrs, 5))
            real = b.mul(b.cast(y, dt.float32), b.full(y.shape, 3e-4, dt.float32))
            return b.emit(ops.QUANTIZE, (real,), (-3, -100, 127))

        yield Sample(f"{label} requantised", leaves, requantised)
    extreme = (Leaf((1, 70, 9, 9), dtype, between(-128, -127)),
               Leaf((5, 70, 3, 3), dtype, between(-128, -127)))  # fmt: skip
    attrs = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1, -128)
    yield Sample("extremes", extreme, _emit(ops.CONV_INT8, *attrs))


BYTES_CONVOLUTIONS = (
    ((2, 17, 13, 11), (21, 17, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 1, 49, 10), (9, 1, 10, 4), (2, 2), ((5, 5), (1, 1)), (1, 1), 1),
    ((1, 20, 11, 40), (20, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 20),
    ((1, 3, 20, 20), (8, 3, 7, 7), (5, 5), ((3, 3), (3, 3)), (1, 1), 1),
    ((1, 5, 90, 30), (7, 5, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
)  # fmt: skip


def convolutions(dtype):
    """Return samples of convolutions."""
    for x, w, *attrs in CONVOLUTIONS:
        leaves = (Leaf(x, dtype, small), Leaf(w, dtype, small))
        yield Sample(f"{x} {w} {attrs}", leaves, _emit(ops.CONV, *attrs))


def input_gradients(dtype):
    """Return samples of input gradients."""
    for x, w, *attrs in CONVOLUTIONS:
        g = (x[0], w[0], *conv_output(x[2:], w[2:], tuple(attrs)))
        leaves = (Leaf(g, dtype, small), Leaf(w, dtype, small))
        yield Sample(f"{x} {w} {attrs}", leaves, _emit(ops.CONV_INPUT, x, *attrs))


def weight_gradients(dtype):
    """Return samples of weight gradients."""
    for x, w, *attrs in CONVOLUTIONS:
        g = (x[0], w[0], *conv_output(x[2:], w[2:], tuple(attrs)))
        leaves = (Leaf(x, dtype, small), Leaf(g, dtype, small))
        yield Sample(f"{x} {w} {attrs}", leaves, _emit(ops.CONV_WEIGHT, w, *attrs))


def attentions(dtype):
    """Return samples of attention, from contiguous operands and from views of packed ones."""
    for n, h, t, s, d, e, *attrs in ATTENTIONS:
        leaves = [Leaf(shape, dtype, small) for shape in ((n, h, t, d), (n, h, s, d), (n, h, s, e))]
        label = f"{(n, h, t, s, d, e)} {attrs}"
        yield Sample(label, tuple(leaves), _emit(ops.ATTENTION, *attrs))
        if t == s and d == e:

            def packed(b, x, attrs=attrs):
                return b.emit(ops.ATTENTION, tuple(_unpacked(b, x)), tuple(attrs))

            one = (Leaf((n, t, 3, h, d), dtype, small),)
            yield Sample(f"{label} packed", one, packed, modes=("plain",))
    yield from _masked(ops.ATTENTION, dtype)


MASKS = ((2, 3, 33, 70), (1, 1, 33, 70), (2, 1, 1, 70), (1, 3, 33, 70), (1, 1, 1, 70))


def hidden(rng, shape, dtype):
    """Draw a mask: something to add to scores, or -inf; now and then nothing is left of a row."""
    del dtype
    drawn = np.where(rng.random(shape) < 0.3, -np.inf, rng.normal(size=shape))
    return np.where(rng.random((*shape[:-1], 1)) < 0.1, -np.inf, drawn)


def _masked(op, dtype, *more):
    """Return samples of attention, or of its gradients, with masks."""
    for mask in MASKS:
        leaves = [Leaf((2, 3, 33, 9), dtype, small)] + [Leaf((2, 3, 70, 9), dtype, small)] * 2
        leaves += [*(Leaf(shape, dtype, small) for shape in more), Leaf(mask, dtype, hidden)]
        for causal in (False, True):
            yield Sample(f"mask {mask} {causal}", tuple(leaves), _emit(op, causal, 0.4))


def _unpacked(b, x):
    """Return q, k and v [N, H, T, D] of one [N, T, 3, H, D]."""
    x = b.permute(x, (2, 0, 3, 1, 4))
    for i in range(3):
        yield b.reshape(b.slice(x, (i, 0, 0, 0, 0), (1, *x.shape[1:]), (1,) * 5), x.shape[1:])


def attention_gradients(dtype):
    """Return samples of attention's gradients."""
    for n, h, t, s, d, e, *attrs in ATTENTIONS:
        shapes = ((n, h, t, d), (n, h, s, d), (n, h, s, e), (n, t, h, e))
        leaves = tuple(Leaf(shape, dtype, small) for shape in shapes)
        label = f"{(n, h, t, s, d, e)} {attrs}"
        yield Sample(label, leaves, _emit(ops.ATTENTION_GRADIENT, *attrs))
    yield from _masked(ops.ATTENTION_GRADIENT, dtype, (2, 33, 3, 9))


def _emit(op, *attrs):
    return lambda b, *xs: b.emit(op, xs, attrs)


# The oracle adds in float64; scaled by the product of absolute values.
PRODUCT = Tolerance(HALF, scaled=6.0)
CASES = {
    "matmul": Case(dt.ALL, products, PRODUCT),
    "matmul_int8": Case((dt.uint8,), signed_products),
    "conv_int8": Case((dt.int8,), bytes_convolutions),
    "conv": Case(dt.FLOATS, convolutions, PRODUCT),
    "conv_input": Case(dt.FLOATS, input_gradients, PRODUCT),
    "conv_weight": Case(dt.FLOATS, weight_gradients, PRODUCT),
    "attention": Case((dt.float32, dt.float64), attentions, Tolerance(scaled=6.0, largest=8.0)),
    "attention_gradient": Case(
        (dt.float32, dt.float64), attention_gradients, Tolerance(largest=8.0)
    ),
}
