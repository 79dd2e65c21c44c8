"""Patterns of softmax and of norms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tenor.export.onnx.match import Match, dims_of, emits, number_of, scaled_of, sides_of, unspread
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

__all__ = ["group_norm", "layer_norm", "log_softmax", "softmax"]


def _shifted(node: Node) -> tuple[Node, int, tuple[Node, ...]] | None:
    """Return x, the dim and the nodes inside of x - max(x)."""
    if node.op is not ops.SUB:
        return None
    x, spread = node.inputs
    top = unspread(spread)
    if top.op is not ops.MAX or top.inputs[0] is not x or len(dims_of(top)) != 1:
        return None
    return x, dims_of(top)[0], (spread, top)


def softmax(node: Node) -> Match | None:
    """Softmax: e / sum(e), e = exp(x - max(x))."""
    e, spread = node.inputs
    total = unspread(spread)
    if e.op is not ops.EXP or total.op is not ops.SUM or total.inputs[0] is not e:
        return None
    found = _shifted(e.inputs[0])
    if found is None or dims_of(total) != (found[1],):
        return None
    x, dim, inside = found
    inner = (e, spread, total, e.inputs[0], *inside)
    return Match("Softmax", (x,), inner, emits("Softmax", x, axis=dim))


def log_softmax(node: Node) -> Match | None:
    """Its logarithm: s - log(sum(exp(s))), s = x - max(x)."""
    s, spread = node.inputs
    log, found = unspread(spread), _shifted(s)
    if found is None or log.op is not ops.LOG or log.inputs[0].op is not ops.SUM:
        return None
    total = log.inputs[0]
    e = total.inputs[0]
    if e.op is not ops.EXP or e.inputs[0] is not s or dims_of(total) != (found[1],):
        return None
    x, dim, inside = found
    inner = (s, spread, log, total, e, *inside)
    return Match("LogSoftmax", (x,), inner, emits("LogSoftmax", x, axis=dim))


Norm = tuple["Node", tuple[int, ...], float, tuple["Node", ...]]


def _averaged(node: Node) -> tuple[Node, tuple[int, ...], tuple[Node, ...]] | None:
    """Return x, the dims and the nodes inside of a mean that keeps its dims."""
    if node.op is not ops.DIV or node.inputs[0].op is not ops.SUM:
        return None
    total = node.inputs[0]
    x, dims = total.inputs[0], dims_of(total)
    if number_of(node.inputs[1]) != size(x.shape[d] for d in dims):
        return None
    return x, dims, (node, total)


def _normalised(node: Node) -> Norm | None:
    """Return x, the dims, epsilon and the nodes inside of (x - mean) * rsqrt(variance + eps)."""
    if node.op is not ops.MUL:
        return None
    for centred, spread in sides_of(node):
        root = unspread(spread)
        shifted = scaled_of(root.inputs[0], ops.ADD) if root.op is ops.RSQRT else None
        if shifted is None or centred.op is not ops.SUB:
            continue
        variance = _averaged(shifted[0])
        x, mean_spread = centred.inputs
        mean = _averaged(unspread(mean_spread))
        if variance is None or mean is None or mean[:2] != (x, variance[1]):
            continue
        square = variance[0]
        if square.op is ops.MUL and square.inputs == (centred, centred):
            inside = (centred, spread, root, root.inputs[0], *variance[2], square, mean_spread)
            return x, variance[1], shifted[1], (*inside, *mean[2])
    return None


def layer_norm(node: Node) -> Match | None:
    """A norm over the last dims, times a weight, plus a bias."""
    for product, bias in sides_of(node):
        if product.op is not ops.MUL or bias.op is not ops.EXPAND:
            continue
        for made, weight in sides_of(product):
            found = _normalised(made)
            if found is None or weight.op is not ops.EXPAND:
                continue
            x, dims, eps, inside = found
            scale, shift = unspread(weight), unspread(bias)
            last = x.shape[dims[0] :]
            if (
                dims != tuple(range(dims[0], len(x.shape)))
                or not scale.shape == shift.shape == last
            ):
                continue
            emit = emits("LayerNormalization", x, scale, shift, axis=dims[0], epsilon=eps)
            inner = (product, bias, made, weight, *inside)
            return Match("LayerNormalization", (x, scale, shift), inner, emit)
    return None


def group_norm(node: Node) -> Match | None:
    """A norm of each group [N, G, n] over its elements."""
    found = _normalised(node)
    if found is None or found[1] != (2,) or len(node.shape) != 3:
        return None
    x, _, eps, inside = found

    def emit(w: Writer) -> str:
        groups = x.shape[1]
        ones, zeros = (w.constant(np.full(groups, v, np.float32), dt.float32) for v in (1.0, 0.0))
        return w.op("InstanceNormalization", [w.value(x), ones, zeros], epsilon=eps)

    return Match("InstanceNormalization", (x,), inside, emit)
