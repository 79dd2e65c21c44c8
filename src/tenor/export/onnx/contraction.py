"""The rows of matrix products, convolutions and attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.onnx.movement import reshaped, transposed
from tenor.export.onnx.sizes import fixed
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

    Row = Callable[[Writer, Node], str]

__all__ = ["CONTRACTION", "convolved", "unconvolved"]


def _matmul(w: Writer, node: Node) -> str:
    a, b = map(w.value, node.inputs)
    return w.op("MatMul", [a, b])


def _matmul_int8(w: Writer, node: Node) -> str:
    a, b = map(w.value, node.inputs)
    if node.inputs[0].shape[1] == 0:  # which runtimes leave unwritten
        return w.spread(w.number(0, dt.int32), w.dims(node))
    return w.write("MatMulInteger", [a, transposed(w, b, (1, 0))], dt.int32)


# -- convolutions -----------------------------------------------------------------------------
def _attributes(node: Node) -> dict[str, Any]:
    stride, padding, dilation, groups = node.attrs[-4:]
    return {
        "strides": list(stride),
        "pads": [low for low, _ in padding] + [high for _, high in padding],
        "dilations": list(dilation),
        "group": groups,
    }


def convolved(w: Writer, node: Node, *bias: str) -> str:
    """Append a convolution, with a bias [O] perhaps."""
    x, weight = map(w.value, node.inputs)
    kernel = list(node.inputs[1].shape[2:])
    return w.op("Conv", [x, weight, *bias], kernel_shape=kernel, **_attributes(node))


def unconvolved(w: Writer, node: Node, *bias: str) -> str:
    """Append the transpose of a convolution; what its strides left over is output padding."""
    g, weight = node.inputs
    attrs = _attributes(node)
    shape, stride, padding, dilation, _ = node.attrs
    every = zip(shape[2:], g.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    attrs["output_padding"] = [
        n - ((p - 1) * s + (k - 1) * d + 1 - low - high) for n, p, k, s, (low, high), d in every
    ]
    inputs = [w.value(g), w.value(weight), *bias]
    return w.op("ConvTranspose", inputs, kernel_shape=list(weight.shape[2:]), **attrs)


def _conv_weight(w: Writer, node: Node) -> str:
    """Return the gradient of a weight: channels take the batch's part, strides the dilations'.

    x as [C/groups, groups * N, *S] with g as [O, N, *P] is [C/groups, O, *K].
    """
    x, g = node.inputs
    shape, stride, padding, dilation, groups = node.attrs
    n, c, *space = (fixed(d) for d in w.dims(x))
    rank = len(space)
    inner = range(2, 2 + rank)
    parts = reshaped(w, w.value(x), (n, groups, c // groups, *space))
    parts = transposed(w, parts, (2, 1, 0, *(d + 1 for d in inner)))
    parts = reshaped(w, parts, (c // groups, groups * n, *space))
    lows, highs = zip(*padding, strict=True)
    made = w.op(
        "Conv", [parts, transposed(w, w.value(g), (1, 0, *inner))],
        kernel_shape=list(g.shape[2:]), strides=list(dilation), dilations=list(stride),
        pads=[*lows, *highs], group=groups,
    )  # fmt: skip
    cut = [w.ints(v) for v in ([0] * rank, list(shape[2:]), list(inner))]
    return transposed(w, w.op("Slice", [made], cut), (1, 0, *inner))


# -- attention --------------------------------------------------------------------------------
def _attention(w: Writer, node: Node) -> str:
    """softmax(scale q k^T + mask) v; 0 where a mask leaves nothing to look at."""
    q, k, v, *masks = map(w.value, node.inputs)
    causal, scale = node.attrs
    q = w.op("Mul", [q, w.number(scale, node.dtype)])
    scores = w.op("MatMul", [q, transposed(w, k, (0, 1, 3, 2))])
    for mask in masks:
        scores = w.op("Add", [scores, mask])
    if causal:
        scores = w.op("Add", [scores, _future(w, node)])
    weights = w.op("Softmax", [scores], axis=-1)
    if masks:
        nothing = w.op("Equal", [_top(w, scores), w.number(-np.inf, node.dtype)], out=dt.bool_)
        weights = w.op("Where", [w.number(0, node.dtype), weights], before=[nothing])
    return transposed(w, w.op("MatMul", [weights, v]), (0, 2, 1, 3))


def _future(w: Writer, node: Node) -> str:
    """Return [T, S] of 0 up to the diagonal and -inf above it."""
    t, s = (fixed(w.dims(x)[2]) for x in node.inputs[:2])
    mask = np.where(np.tri(t, s) > 0, 0.0, -np.inf).astype(node.dtype.numpy)
    return w.constant(mask, node.dtype, "causal")


def _top(w: Writer, x: str) -> str:
    if w.opset < 18:
        return w.op("ReduceMax", [x], axes=[3], keepdims=1)
    return w.op("ReduceMax", [x], [w.ints([3])], keepdims=1)


CONTRACTION: Final[dict[str, Row]] = {
    "matmul": _matmul, "matmul_int8": _matmul_int8, "conv": convolved,
    "conv_input": unconvolved, "conv_weight": _conv_weight, "attention": _attention,
}  # fmt: skip
