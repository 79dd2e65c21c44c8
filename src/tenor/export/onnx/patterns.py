"""What several primitives are in one ONNX operation: a row a shape of graph, tried at its last node.

A row looks at a node and returns what it is (`Match`) or None. What a match takes inside is not
written, so a row is used only where nobody else reads that (`usable`). Rows are tried in order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tenor.export.onnx.contraction import convolved, unconvolved
from tenor.export.onnx.elements import carrier
from tenor.export.onnx.movement import reshaped
from tenor.export.onnx.reduce import reduced
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

    Emit = Callable[[Writer], str]

__all__ = ["ACTIVATIONS", "PATTERNS", "SINCE", "Match", "usable"]


class Match(NamedTuple):
    """What a node is.

    Attributes:
        kind: The ONNX operation.
        inputs: What it reads.
        inside: The nodes it stands for, besides the last.
        emit: Appends it and returns its result.
    """

    kind: str
    inputs: tuple[Node, ...]
    inside: tuple[Node, ...]
    emit: Emit


def usable(
    match: Match | None, root: Node, readers: Mapping[Node, list[Node]], ends: set[Node]
) -> bool:
    """Tell whether nobody outside a match reads what is inside, and a kernel takes the dtype."""
    if match is None or carrier(match.kind, match.inputs[0].dtype) is not match.inputs[0].dtype:
        return False
    inside = {*match.inside, root}
    return all(
        x not in ends and all(r in inside for r in readers[x])
        for x in match.inside
        if x.op not in (ops.CONST, ops.EXPAND, ops.LEAF)
    )


# -- looking at nodes -------------------------------------------------------------------------
def _number(node: Node) -> float | None:
    """Return the number a node is, spread or not."""
    while node.op is ops.EXPAND:
        node = node.inputs[0]
    return float(node.attrs[0]) if node.op is ops.CONST else None


def _sides(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield the operands of a commutative operation, both ways."""
    a, b = node.inputs
    yield a, b
    yield b, a


def _scaled(node: Node, op: ops.Op = ops.MUL) -> tuple[Node, float] | None:
    """Return x and k of x * k (or of another operation with a number)."""
    if node.op is op:
        for x, k in _sides(node):
            number = _number(k)
            if number is not None:
                return x, number
    return None


def _spread(node: Node) -> Node:
    """Return what an expanded value was."""
    return node.inputs[0] if node.op is ops.EXPAND else node


def _emits(kind: str, *inputs: Node, **attrs: Any) -> Emit:
    return lambda w: w.op(kind, [w.value(x) for x in inputs], **attrs)


# -- activations ------------------------------------------------------------------------------
def _relu(node: Node) -> Match | None:
    """where(x <= 0, 0, x)."""
    condition, zero, x = node.inputs
    if condition.op is not ops.LE or condition.inputs[0] is not x or _number(zero) != 0:
        return None
    if _number(condition.inputs[1]) != 0:
        return None
    return Match("Relu", (x,), (condition,), _emits("Relu", x))


def _leaky_relu(node: Node) -> Match | None:
    """where(0 < x, x, k x)."""
    condition, x, low = node.inputs
    scaled = _scaled(low)
    if not _above_zero(condition, x) or scaled is None or scaled[0] is not x:
        return None
    emit = _emits("LeakyRelu", x, alpha=scaled[1])
    return Match("LeakyRelu", (x,), (condition, low), emit)


def _above_zero(condition: Node, x: Node) -> bool:
    return condition.op is ops.LT and condition.inputs[1] is x and _number(condition.inputs[0]) == 0


def _elu(node: Node) -> Match | None:
    """where(0 < x, x, k expm1(where(0 < x, 0, x)))."""
    condition, x, low = node.inputs
    power, alpha = _scaled(low) or (low, 1.0)
    if not _above_zero(condition, x) or power.op is not ops.EXPM1:
        return None
    inner = power.inputs[0]
    if inner.op is not ops.WHERE or not _above_zero(inner.inputs[0], x):
        return None
    if _number(inner.inputs[1]) != 0 or inner.inputs[2] is not x:
        return None
    inside = (condition, low, power, inner, inner.inputs[0])
    return Match("Elu", (x,), inside, _emits("Elu", x, alpha=alpha))


Bounds = tuple["Node", float, float, tuple["Node", ...]]


def _bounded(node: Node) -> Bounds | None:
    """Return x, the bounds and the nodes inside of a clamp."""
    if node.op is not ops.WHERE:
        return None
    condition, bound, x = node.inputs
    number = _number(bound)
    if condition.op is not ops.LT or number is None:
        return None
    a, b = condition.inputs
    if a is x and _number(b) == number:
        return x, number, math.inf, (condition,)
    if b is x and _number(a) == number:
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
    if not fits or (_number(low.inputs[0]), _number(high.inputs[1])) != bounds[1:3]:
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
    """x / 2 * (1 + erf(x / sqrt 2)); an operation from opset 20 on, `emit` is for that."""
    for half, rest in _sides(node):
        x = _scaled(half)
        shifted = _scaled(rest, ops.ADD)
        if x is None or x[1] != 0.5 or shifted is None or shifted[1] != 1:
            continue
        erf = shifted[0]
        inner = _scaled(erf.inputs[0]) if erf.op is ops.ERF else None
        if inner is not None and inner[0] is x[0] and abs(inner[1] - math.sqrt(0.5)) < 1e-6:
            inside = (half, rest, erf, erf.inputs[0])
            return Match("Gelu", (x[0],), inside, _emits("Gelu", x[0]))
    return None


ACTIVATIONS: Final = ("Relu", "Clip")
"""What runtimes do in the operation before; under quantisation its range says it all."""


# -- products and convolutions ----------------------------------------------------------------
def _gemm(node: Node) -> Match | None:
    """a @ w + b of matrices."""
    for product, spread in _sides(node):
        bias = _spread(spread)
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
    return Match("MatMul", (x, w), (product, flat), _emits("MatMul", x, w))


CONVOLUTIONS: Final = {
    ops.CONV: ("Conv", convolved),
    ops.CONV_INPUT: ("ConvTranspose", unconvolved),
}


def _with_bias(node: Node) -> Match | None:
    """conv(x, w) + b, b one number a channel."""
    for conv, spread in _sides(node):
        bias, rank = _spread(spread), len(node.shape)
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


# -- reductions and pooling -------------------------------------------------------------------
def _dropped(node: Node) -> bool:
    """Tell whether a reshape only drops the dims that a reduction left."""
    made = node.inputs[0]
    if made.op.family != "reduce":
        return False
    dims = _dims(made)
    return node.shape == tuple(n for d, n in enumerate(made.shape) if d not in dims)


def _dims(node: Node) -> tuple[int, ...]:
    dims = node.attrs[0]
    return (dims,) if isinstance(dims, int) else tuple(dims)


def _without_dims(node: Node) -> Match | None:
    """reshape(reduce(x)): keepdims=0."""
    if not _dropped(node):
        return None
    made = node.inputs[0]

    def emit(w: Writer) -> str:
        return reduced(w, made.op.name, made.inputs[0], _dims(made), keep=False)

    return Match("Identity", made.inputs, (made,), emit)


def _mean(node: Node) -> Match | None:
    """sum(x) / n."""
    total, count = node.inputs[0], _number(node.inputs[1])
    keep = total.op is not ops.RESHAPE
    if not keep and not _dropped(total):
        return None
    made = total if keep else total.inputs[0]
    if made.op is not ops.SUM or count != size(made.inputs[0].shape[d] for d in _dims(made)):
        return None
    x, dims = made.inputs[0], _dims(made)
    inside = (made,) if keep else (made, total)
    if dims == tuple(range(2, len(x.shape))) and x.dtype is dt.float32:
        return Match("GlobalAveragePool", (x,), inside, _pooled_all(x, keep=keep))
    return Match("ReduceMean", (x,), inside, lambda w: reduced(w, "mean", x, dims, keep=keep))


def _pooled_all(x: Node, *, keep: bool) -> Emit:
    def emit(w: Writer) -> str:
        made = w.op("GlobalAveragePool", [w.value(x)])
        return made if keep else w.op("Flatten", [made], axis=1)

    return emit


def _divided_mean(node: Node) -> Match | None:
    """The mean of equal stretches of each dim of an image, one dim after another."""
    x, stages, inside = node, [], []
    while (stage := _stage(x)) is not None:
        stages.append(stage[1:3])
        inside += [x, *stage[3]]
        x = stage[0]
    dims = [d for d, _ in reversed(stages)]
    if not dims or dims != list(range(2, len(node.shape))):
        return None
    kernel = [k for _, k in reversed(stages)]
    if kernel == list(x.shape[2:]):
        return Match("GlobalAveragePool", (x,), tuple(inside[1:]), _emits("GlobalAveragePool", x))
    emit = _emits("AveragePool", x, kernel_shape=kernel, strides=kernel)
    return Match("AveragePool", (x,), tuple(inside[1:]), emit)


def _stage(node: Node) -> tuple[Node, int, int, tuple[Node, ...]] | None:
    """Return x, the dim and the length of reshape(sum(reshape(x), dim + 1)) / length."""
    if node.op is not ops.DIV or node.inputs[0].op is not ops.RESHAPE:
        return None
    outer = node.inputs[0]
    total = outer.inputs[0]
    if total.op is not ops.SUM or len(_dims(total)) != 1 or not _dropped(outer):
        return None
    split, dim = total.inputs[0], _dims(total)[0] - 1
    if split.op is not ops.RESHAPE or dim < 0:
        return None
    x, length = split.inputs[0], split.shape[dim + 1]
    wanted = (*x.shape[:dim], x.shape[dim] // length, length, *x.shape[dim + 1 :])
    if split.shape != wanted or _number(node.inputs[1]) != length:
        return None
    return x, dim, length, (outer, total, split)


Pool = tuple["Node", dict[str, Any], tuple["Node", ...]]


def _pool(node: Node, op: ops.Op, fill: float) -> Pool | None:
    """Return x, the attributes and the nodes inside of reshape(reduce(unfold(... pad(x))))."""
    made = node.inputs[0]
    if node.op is not ops.RESHAPE or made.op is not op or not _dropped(node):
        return None
    x, inside, unfolds = made.inputs[0], [made], []
    while x.op is ops.UNFOLD:
        unfolds.insert(0, x)
        x = x.inputs[0]
    rank, count = len(x.shape), len(unfolds)
    fits = [u.attrs[0] for u in unfolds] == list(range(2, rank)) and rank == 2 + count
    if not count or not fits or _dims(made) != tuple(range(rank, rank + count)):
        return None
    kernel, stride, dilation = (list(v) for v in zip(*(u.attrs[1:] for u in unfolds), strict=True))
    pads = [0] * (2 * count)
    if x.op is ops.PAD and _pads_windows(x, kernel, fill):
        pads = [*x.attrs[0][2:], *x.attrs[1][2:]]
        inside.append(x)
        x = x.inputs[0]
    attrs = {"kernel_shape": kernel, "strides": stride, "dilations": dilation, "pads": pads}
    return x, attrs, (*inside, *unfolds)


def _pads_windows(node: Node, kernel: Sequence[int], fill: float) -> bool:
    """Tell whether a pad is one a pool may do: less than its windows on every side."""
    low, high, value = node.attrs
    sides = (low[2:], high[2:])
    return (
        value == fill
        and not any((*low[:2], *high[:2]))
        and all(p < k for side in sides for p, k in zip(side, kernel, strict=True))
    )


def _max_pool(node: Node) -> Match | None:
    """reshape(max(unfold(unfold(pad(x)))))."""
    found = _pool(node, ops.MAX, -math.inf)
    if found is None:
        return None
    x, attrs, inside = found
    return Match("MaxPool", (x,), inside, _emits("MaxPool", x, **attrs))


def _average_pool(node: Node) -> Match | None:
    """reshape(sum(unfold(unfold(pad(x))))) / size of the window."""
    found = _pool(node.inputs[0], ops.SUM, 0.0) if node.inputs[0].op is ops.RESHAPE else None
    if found is None:
        return None
    x, attrs, inside = found
    dilation = attrs.pop("dilations")
    if any(d != 1 for d in dilation) or _number(node.inputs[1]) != size(attrs["kernel_shape"]):
        return None
    emit = _emits("AveragePool", x, count_include_pad=1, **attrs)
    return Match("AveragePool", (x,), (node.inputs[0], *inside), emit)


# -- softmax and norms ------------------------------------------------------------------------
def _shifted(node: Node) -> tuple[Node, int, tuple[Node, ...]] | None:
    """Return x, the dim and the nodes inside of x - max(x)."""
    if node.op is not ops.SUB:
        return None
    x, spread = node.inputs
    top = _spread(spread)
    if top.op is not ops.MAX or top.inputs[0] is not x or len(_dims(top)) != 1:
        return None
    return x, _dims(top)[0], (spread, top)


def _softmax(node: Node) -> Match | None:
    """e / sum(e), e = exp(x - max(x))."""
    e, spread = node.inputs
    total = _spread(spread)
    if e.op is not ops.EXP or total.op is not ops.SUM or total.inputs[0] is not e:
        return None
    found = _shifted(e.inputs[0])
    if found is None or _dims(total) != (found[1],):
        return None
    x, dim, inside = found
    inner = (e, spread, total, e.inputs[0], *inside)
    return Match("Softmax", (x,), inner, _emits("Softmax", x, axis=dim))


def _log_softmax(node: Node) -> Match | None:
    """s - log(sum(exp(s))), s = x - max(x)."""
    s, spread = node.inputs
    log, found = _spread(spread), _shifted(s)
    total = log.inputs[0] if log.op is ops.LOG else log
    e = total.inputs[0] if total.op is ops.SUM else total
    if found is None or e.op is not ops.EXP or e.inputs[0] is not s or _dims(total) != (found[1],):
        return None
    x, dim, inside = found
    inner = (s, spread, log, total, e, *inside)
    return Match("LogSoftmax", (x,), inner, _emits("LogSoftmax", x, axis=dim))


Norm = tuple["Node", tuple[int, ...], float, tuple["Node", ...]]


def _averaged(node: Node) -> tuple[Node, tuple[int, ...], tuple[Node, ...]] | None:
    """Return x, the dims and the nodes inside of a mean that keeps its dims."""
    if node.op is not ops.DIV or node.inputs[0].op is not ops.SUM:
        return None
    total = node.inputs[0]
    x, dims = total.inputs[0], _dims(total)
    if _number(node.inputs[1]) != size(x.shape[d] for d in dims):
        return None
    return x, dims, (node, total)


def _normalised(node: Node) -> Norm | None:
    """Return x, the dims, epsilon and the nodes inside of (x - mean) * rsqrt(variance + eps)."""
    if node.op is not ops.MUL:
        return None
    for centred, spread in _sides(node):
        root = _spread(spread)
        shifted = _scaled(root.inputs[0], ops.ADD) if root.op is ops.RSQRT else None
        if shifted is None or centred.op is not ops.SUB:
            continue
        variance = _averaged(shifted[0])
        x, mean_spread = centred.inputs
        mean = _averaged(_spread(mean_spread))
        if variance is None or mean is None or mean[:2] != (x, variance[1]):
            continue
        square = variance[0]
        if square.op is ops.MUL and square.inputs == (centred, centred):
            inside = (centred, spread, root, root.inputs[0], *variance[2], square, mean_spread)
            return x, variance[1], shifted[1], (*inside, *mean[2])
    return None


def _layer_norm(node: Node) -> Match | None:
    """A norm over the last dims, times a weight, plus a bias."""
    for product, bias in _sides(node):
        if product.op is not ops.MUL or bias.op is not ops.EXPAND:
            continue
        for made, weight in _sides(product):
            found = _normalised(made)
            if found is None or weight.op is not ops.EXPAND:
                continue
            x, dims, eps, inside = found
            scale, shift = _spread(weight), _spread(bias)
            last = x.shape[dims[0] :]
            if (
                dims != tuple(range(dims[0], len(x.shape)))
                or not scale.shape == shift.shape == last
            ):
                continue
            emit = _emits("LayerNormalization", x, scale, shift, axis=dims[0], epsilon=eps)
            inner = (product, bias, made, weight, *inside)
            return Match("LayerNormalization", (x, scale, shift), inner, emit)
    return None


def _group_norm(node: Node) -> Match | None:
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


# -- indices ----------------------------------------------------------------------------------
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
    ops.WHERE: (_elu, _leaky_relu, _relu, _clip),
    ops.MUL: (_gelu, _group_norm),
    ops.ADD: (_layer_norm, _with_bias, _gemm),
    ops.RESHAPE: (_max_pool, _rows_product, _without_dims),
    ops.DIV: (_softmax, _divided_mean, _average_pool, _mean),
    ops.SUB: (_log_softmax,),
    ops.TAKE: (_indexed,),
    ops.TAKE_ALONG: (_indexed,),
}
SINCE: Final = {"Gelu": 20}
"""The first opset of an operation, where that is above the lowest that is written."""
