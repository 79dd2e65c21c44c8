"""Patterns of reductions: without the dims they leave, means, and pools of windows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenor.export.onnx.match import Match, dims_of, emits, is_dropped, number_of
from tenor.export.onnx.reduce import reduced
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.export.onnx.match import Emit
    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

__all__ = ["average_pool", "divided_mean", "max_pool", "mean", "without_dims"]


def without_dims(node: Node) -> Match | None:
    """reshape(reduce(x)): keepdims=0."""
    if not is_dropped(node):
        return None
    made = node.inputs[0]

    def emit(w: Writer) -> str:
        return reduced(w, made.op.name, made.inputs[0], dims_of(made), keep=False)

    return Match("Identity", made.inputs, (made,), emit)


def mean(node: Node) -> Match | None:
    """sum(x) / n."""
    total, count = node.inputs[0], number_of(node.inputs[1])
    keep = total.op is not ops.RESHAPE
    if not keep and not is_dropped(total):
        return None
    made = total if keep else total.inputs[0]
    if made.op is not ops.SUM or count != size(made.inputs[0].shape[d] for d in dims_of(made)):
        return None
    x, dims = made.inputs[0], dims_of(made)
    inside = (made,) if keep else (made, total)
    if dims == tuple(range(2, len(x.shape))) and x.dtype is dt.float32:
        return Match("GlobalAveragePool", (x,), inside, _pooled_all(x, keep=keep))
    return Match("ReduceMean", (x,), inside, lambda w: reduced(w, "mean", x, dims, keep=keep))


def _pooled_all(x: Node, *, keep: bool) -> Emit:
    def emit(w: Writer) -> str:
        made = w.op("GlobalAveragePool", [w.value(x)])
        return made if keep else w.op("Flatten", [w.rounded(made)], axis=1)

    return emit


def divided_mean(node: Node) -> Match | None:
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
        return Match("GlobalAveragePool", (x,), tuple(inside[1:]), emits("GlobalAveragePool", x))
    emit = emits("AveragePool", x, kernel_shape=kernel, strides=kernel)
    return Match("AveragePool", (x,), tuple(inside[1:]), emit)


def _stage(node: Node) -> tuple[Node, int, int, tuple[Node, ...]] | None:
    """Return x, the dim and the length of reshape(sum(reshape(x), dim + 1)) / length."""
    if node.op is not ops.DIV or node.inputs[0].op is not ops.RESHAPE:
        return None
    outer = node.inputs[0]
    total = outer.inputs[0]
    if total.op is not ops.SUM or len(dims_of(total)) != 1 or not is_dropped(outer):
        return None
    split, dim = total.inputs[0], dims_of(total)[0] - 1
    if split.op is not ops.RESHAPE or dim < 0:
        return None
    x, length = split.inputs[0], split.shape[dim + 1]
    wanted = (*x.shape[:dim], x.shape[dim] // length, length, *x.shape[dim + 1 :])
    if split.shape != wanted or number_of(node.inputs[1]) != length:
        return None
    return x, dim, length, (outer, total, split)


Pool = tuple["Node", dict[str, Any], tuple["Node", ...]]


def _pool(node: Node, op: ops.Op, fill: float) -> Pool | None:
    """Return x, the attributes and the nodes inside of reshape(reduce(unfold(... pad(x))))."""
    made = node.inputs[0]
    if node.op is not ops.RESHAPE or made.op is not op or not is_dropped(node):
        return None
    x, inside = made.inputs[0], [made]
    unfolds: list[Node] = []
    while x.op is ops.UNFOLD:
        unfolds.insert(0, x)
        x = x.inputs[0]
    rank, count = len(x.shape), len(unfolds)
    fits = [u.attrs[0] for u in unfolds] == list(range(2, rank)) and rank == 2 + count
    if not count or not fits or dims_of(made) != tuple(range(rank, rank + count)):
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


def max_pool(node: Node) -> Match | None:
    """reshape(max(unfold(unfold(pad(x)))))."""
    found = _pool(node, ops.MAX, -math.inf)
    if found is None:
        return None
    x, attrs, inside = found
    return Match("MaxPool", (x,), inside, emits("MaxPool", x, **attrs))


def average_pool(node: Node) -> Match | None:
    """reshape(sum(unfold(unfold(pad(x))))) / size of the window."""
    found = _pool(node.inputs[0], ops.SUM, 0.0) if node.inputs[0].op is ops.RESHAPE else None
    if found is None:
        return None
    x, attrs, inside = found
    dilation = attrs.pop("dilations")
    if any(d != 1 for d in dilation) or number_of(node.inputs[1]) != size(attrs["kernel_shape"]):
        return None
    emit = emits("AveragePool", x, count_include_pad=1, **attrs)
    return Match("AveragePool", (x,), (node.inputs[0], *inside), emit)
