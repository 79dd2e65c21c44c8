"""What several primitives are in one ONNX operation: a row a shape of graph, tried at its end.

A row looks at a node and returns what it is (`Match`) or None. What a match takes inside is not
written, so a row is used only where nobody else reads that (`usable`). Rows are tried in order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tenor.export.onnx.contraction import convolved, unconvolved
from tenor.export.onnx.match import Match, emits, number_of, scaled_of, sides_of, unspread
from tenor.export.onnx.movement import reshaped
from tenor.export.onnx.norms import group_norm, layer_norm, log_softmax, softmax
from tenor.export.onnx.pooling import average_pool, divided_mean, max_pool, mean, without_dims
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.onnx.match import Emit
    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

__all__ = ["ACTIVATIONS", "PATTERNS"]


# -- activations ---------------------------------------------------------------------------------
def _relu(node: Node) -> Match | None:
    """where(x <= 0, 0, x), or where(0 < x, x, 0)."""
    condition, a, b = node.inputs
    if _above_zero(condition, a) and number_of(b) == 0:
        return Match("Relu", (a,), (condition,), emits("Relu", a))
    if condition.op is not ops.LE or condition.inputs[0] is not b:
        return None
    if number_of(condition.inputs[1]) != 0 or number_of(a) != 0:
        return None
    return Match("Relu", (b,), (condition,), emits("Relu", b))


def _leaky_relu(node: Node) -> Match | None:
    """where(0 < x, x, k x)."""
    condition, x, low = node.inputs
    scaled = scaled_of(low)
    if not _above_zero(condition, x) or scaled is None or scaled[0] is not x:
        return None
    emit = emits("LeakyRelu", x, alpha=scaled[1])
    return Match("LeakyRelu", (x,), (condition, low), emit)


def _prelu(node: Node) -> Match | None:
    """where(0 < x, x, slope x), a slope a channel."""
    condition, x, low = node.inputs
    if not _above_zero(condition, x) or low.op is not ops.MUL:
        return None
    for same, slopes in sides_of(low):
        slope = unspread(slopes)
        if same is x and slopes.op is ops.EXPAND and slope.op is not ops.CONST:
            inside = (condition, low, slopes)
            return Match("PRelu", (x, slope), inside, emits("PRelu", x, slope))
    return None


def _above_zero(condition: Node, x: Node) -> bool:
    return (
        condition.op is ops.LT and condition.inputs[1] is x and number_of(condition.inputs[0]) == 0
    )


def _elu(node: Node) -> Match | None:
    """where(0 < x, x, k expm1(where(0 < x, 0, x)))."""
    condition, x, low = node.inputs
    power, alpha = scaled_of(low) or (low, 1.0)
    if not _above_zero(condition, x) or power.op is not ops.EXPM1:
        return None
    inner = power.inputs[0]
    if inner.op is not ops.WHERE or not _above_zero(inner.inputs[0], x):
        return None
    if number_of(inner.inputs[1]) != 0 or inner.inputs[2] is not x:
        return None
    inside = (condition, low, power, inner, inner.inputs[0])
    return Match("Elu", (x,), inside, emits("Elu", x, alpha=alpha))


Bounds = tuple["Node", float, float, tuple["Node", ...]]


def _bounded(node: Node) -> Bounds | None:
    """Return x, the bounds and the nodes inside of a clamp."""
    if node.op is not ops.WHERE:
        return None
    condition, bound, x = node.inputs
    number = number_of(bound)
    if condition.op is not ops.LT or number is None:
        return None
    a, b = condition.inputs
    if a is x and number_of(b) == number:
        return x, number, math.inf, (condition,)
    if b is x and number_of(a) == number:
        inner = _bounded(x)
        if inner is not None and inner[2] == math.inf:
            return inner[0], inner[1], number, (condition, x, *inner[3])
        return x, -math.inf, number, (condition,)
    return None


def _within(node: Node) -> Bounds | None:
    """Return the same of where(lo < x and x < hi, x, clamp(x, lo, hi)), which gradients ask for."""
    condition, x, clamped = node.inputs
    bounds = _bounded(clamped)
    if bounds is None or bounds[0] is not x or condition.op is not ops.AND:
        return None
    low, high = condition.inputs
    fits = low.op is ops.LT and high.op is ops.LT and low.inputs[1] is x and high.inputs[0] is x
    if not fits or (number_of(low.inputs[0]), number_of(high.inputs[1])) != bounds[1:3]:
        return None
    return *bounds[:3], (condition, low, high, clamped, *bounds[3])


def _clip(node: Node) -> Match | None:
    """where(x < lo, lo, x) and where(hi < x, hi, x), one or both."""
    bounds = _within(node) or _bounded(node)
    if bounds is None:
        return None
    x, low, high, inside = bounds

    def emit(w: Writer) -> str:
        first = w.number(low, x.dtype) if low > -math.inf else ""
        last = [w.number(high, x.dtype)] if high < math.inf else []
        return w.op("Clip", [w.value(x)], [first, *last])

    return Match("Clip", (x,), inside, emit)


def _gelu(node: Node) -> Match | None:
    """GELU: x / 2 * (1 + erf(x / sqrt 2))."""
    for half, rest in sides_of(node):
        x = scaled_of(half)
        shifted = scaled_of(rest, ops.ADD)
        if x is None or x[1] != 0.5 or shifted is None or shifted[1] != 1:
            continue
        erf = shifted[0]
        inner = scaled_of(erf.inputs[0]) if erf.op is ops.ERF else None
        if inner is not None and inner[0] is x[0] and abs(inner[1] - math.sqrt(0.5)) < 1e-6:
            inside = (half, rest, erf, erf.inputs[0])
            return Match("Gelu", (x[0],), inside, _emits_gelu(x[0]))
    return None


def _emits_gelu(x: Node) -> Emit:
    """Return what appends the operation, or below opset 20 the five that runtimes fuse into it."""

    def emit(w: Writer) -> str:
        value = w.value(x)
        if w.opset >= GELU:
            return w.op("Gelu", [value])
        half, one, root = (w.number(v, x.dtype) for v in (0.5, 1.0, math.sqrt(2)))
        erf = w.op("Erf", [w.op("Div", [value, root])])
        twice = w.op("Mul", [value, w.op("Add", [erf, one])])
        return w.op("Mul", [twice, half])

    return emit


GELU: Final = 20
"""The first opset that has it."""


def _softplus(node: Node) -> Match | None:
    """where(20 < x, x, log1p(exp(where(20 < x, 0, x)))), where both branches are of x itself."""
    condition, x, low = node.inputs
    log = _once(low, ops.DIV)
    if condition.op is not ops.LT or log.op is not ops.LOG1P or log.inputs[0].op is not ops.EXP:
        return None
    inner = log.inputs[0].inputs[0]
    limit, same = number_of(condition.inputs[0]), _once(condition.inputs[1], ops.MUL)
    if inner.op is not ops.WHERE or limit is None or limit < FAR or same is not x:
        return None
    fits = inner.inputs[0] is condition and number_of(inner.inputs[1]) == 0
    if not fits or _once(inner.inputs[2], ops.MUL) is not x:
        return None
    every = (condition, low, log, log.inputs[0], inner, condition.inputs[1], inner.inputs[2])
    return Match("Softplus", (x,), tuple(n for n in every if n is not x), emits("Softplus", x))


def _softplus_of_halves(node: Node) -> Match | None:
    """where(0 < x, x, 0) + log1p(exp(where(0 < x, -x, x)))."""
    for high, log in sides_of(node):
        if log.op is not ops.LOG1P or log.inputs[0].op is not ops.EXP:
            continue
        low = log.inputs[0].inputs[0]
        if high.op is not ops.WHERE or low.op is not ops.WHERE:
            continue
        condition, x, zero = high.inputs
        if not _above_zero(condition, x) or number_of(zero) != 0 or low.inputs[0] is not condition:
            continue
        minus = low.inputs[1]
        if low.inputs[2] is x and minus.op is ops.NEG and minus.inputs[0] is x:
            inside = (high, log, log.inputs[0], low, condition, minus)
            return Match("Softplus", (x,), inside, emits("Softplus", x))
    return None


FAR: Final = 17
"""From where on log(1 + exp(x)) is x in float32."""


def _once(node: Node, op: ops.Op) -> Node:
    """Return x for x * 1 or x / 1; a node that is neither, itself."""
    if node.op is op and number_of(node.inputs[1]) == 1:
        return node.inputs[0]
    return node


ACTIVATIONS: Final = ("Relu", "Clip")
"""What runtimes do in the operation before; under quantisation its range says it all."""


# -- products and convolutions -------------------------------------------------------------------
def _gemm(node: Node) -> Match | None:
    """Matrices: a @ w + b."""
    for product, spread in sides_of(node):
        bias = unspread(spread)
        if product.op is not ops.MATMUL or len(product.shape) != 2:
            continue
        if spread.op is not ops.EXPAND or bias.shape != (product.shape[1],):
            continue
        a, b = product.inputs

        def emit(w: Writer, a: Node = a, b: Node = b, bias: Node = bias) -> str:
            return w.op("Gemm", [w.value(a), w.value(b), _flat_bias(w, bias)])

        return Match("Gemm", (a, b, bias), (product, spread), emit)
    return None


def _rows_product(node: Node) -> Match | None:
    """reshape(reshape(x) @ w): a product of rows of more dims than one."""
    product = node.inputs[0]
    if product.op is not ops.MATMUL or len(product.shape) != 2:
        return None
    flat, w = product.inputs
    if flat.op is not ops.RESHAPE or flat.inputs[0].shape[:-1] != node.shape[:-1]:
        return None
    x = flat.inputs[0]
    if x.shape[-1] != flat.shape[-1] or node.shape[-1] != product.shape[-1]:
        return None
    return Match("MatMul", (x, w), (product, flat), emits("MatMul", x, w))


CONVOLUTIONS: Final = {
    ops.CONV: ("Conv", convolved),
    ops.CONV_INPUT: ("ConvTranspose", unconvolved),
}


def _with_bias(node: Node) -> Match | None:
    """conv(x, w) + b, b one number a channel."""
    for conv, spread in sides_of(node):
        bias, rank = unspread(spread), len(node.shape)
        if conv.op not in CONVOLUTIONS or spread.op is not ops.EXPAND:
            continue
        shape = (node.shape[1], *(1,) * (rank - 2))
        if bias.shape not in (shape, (1, *shape)):
            continue
        kind, write = CONVOLUTIONS[conv.op]

        def emit(w: Writer, conv: Node = conv, bias: Node = bias, write: Any = write) -> str:
            return str(write(w, conv, _flat_bias(w, bias)))

        return Match(kind, (*conv.inputs, bias), (conv, spread), emit)
    return None


def _flat_bias(w: Writer, bias: Node) -> str:
    """Return a bias as a vector."""
    if bias in w.flat:
        return w.flat[bias]
    if len(bias.shape) == 1:
        return w.value(bias)
    name, count = w.value(bias), size(bias.shape)
    if name in w.constants:
        return w.constant(w.constants[name].reshape(count), bias.dtype, name)
    return reshaped(w, name, (count,))


# -- indices -------------------------------------------------------------------------------------
def _indexed(node: Node) -> Match | None:
    """An index that may be negative: ONNX counts those from the end itself."""
    x, index = node.inputs
    if index.op is not ops.WRAP_INDEX:
        return None
    inner = index.inputs[0]
    kind = "Gather" if node.op is ops.TAKE else "GatherElements"

    def emit(w: Writer) -> str:
        return w.op(kind, [w.value(x)], [w.value(inner)], axis=node.attrs[0])

    return Match(kind, (x, inner), (), emit)


PATTERNS: Final[dict[ops.Op, tuple[Callable[[Node], Match | None], ...]]] = {
    ops.WHERE: (_elu, _leaky_relu, _prelu, _relu, _clip, _softplus),
    ops.MUL: (_gelu, group_norm),
    ops.ADD: (layer_norm, _with_bias, _gemm, _softplus_of_halves),
    ops.RESHAPE: (max_pool, _rows_product, without_dims),
    ops.DIV: (softmax, divided_mean, average_pool, mean),
    ops.SUB: (log_softmax,),
    ops.TAKE: (_indexed,),
    ops.TAKE_ALONG: (_indexed,),
}
