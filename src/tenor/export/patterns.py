"""Composite operations found again in a graph of primitives: a convolution with its bias and relu.

`layers_of` gives a source's graph as a short list of layers, each a named operation with the nodes
it covers. What no pattern knows stays a layer of one primitive, under the primitive's name.

A node disappears into a layer only when nothing else reads it. Constants, weights and what is
spread out of them are free: every layer that reads one names it itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from tenor.export.templates import Attrs, Match, T, peeled, template, unspread
from tenor.ir import op as ops
from tenor.ir.infer import broadcast
from tenor.ir.op import OPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.source import Source
    from tenor.ir.node import Node
    from tenor.ir.op import Op

__all__ = ["ACTIVATIONS", "FUSABLE", "KINDS", "Layer", "layers_of"]


@dataclass(frozen=True)
class Layer:
    """A named operation of the model.

    Attributes:
        kind: A key of `KINDS`, or a primitive's name.
        inputs: What it reads, in the order `KINDS` states; a primitive's own inputs otherwise.
            Elementwise operations read what is small, not what it was expanded to.
        output: The node whose value it makes.
        attrs: What `KINDS` states; a primitive's attributes by name. "activation" is "relu" or
            "relu6" where one is done to the result.
        nodes: The nodes it covers, the output last.
    """

    kind: str
    inputs: tuple[Node, ...]
    output: Node
    attrs: Attrs = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()

    def name(self, number: int) -> str:
        """Return a name for reports: the layer's number, kind and shape."""
        return f"{number} {self.kind} {'x'.join(map(str, self.output.shape)) or '1'}"


KINDS: Final = {
    "conv": "x, w [, bias]: stride padding dilation groups",
    "depthwise": "x, w [, bias]: as conv, where groups is the number of input channels",
    "transposed": "x, w [, bias]: shape stride padding dilation groups, as conv_input",
    "linear": "x [..., K], w [K, N] [, bias [N]]: x @ w + bias, in the output's shape",
    "max_pool": "x: size stride padding dilation, each over the dims after the second",
    "avg_pool": "x: size stride padding dilation; padding counts as zeros",
    "mean": "x: dims, in the output's shape",
    "max_over": "x: dims, in the output's shape",
    "softmax": "x: dim",
    "log_softmax": "x: dim",
    "relu": "x", "relu6": "x", "silu": "x", "elu": "x", "hard_swish": "x",
    "leaky_relu": "x: alpha",
    "gelu": "x: approximate",
    "clamp": "x: low high",
}  # fmt: skip
"""What the composite layers read, and their attributes."""
ACTIVATIONS: Final = ("relu", "relu6")
FUSABLE: Final = ("conv", "depthwise", "transposed", "linear", "add", "sub", "mul")
"""Layers an activation may be a part of."""


def layers_of(source: Source) -> list[Layer]:
    """Return a source's graph as layers, each after those it reads."""
    readers = _readers(source)
    wanted = set(source.graph.outputs)
    found: list[Layer] = []
    for node in reversed(source.graph.nodes):
        if node in wanted and node.op is not ops.LEAF:
            layer = _layer(node, readers)
            wanted.update(layer.inputs)
            found.append(layer)
    return _activated(found[::-1], readers)


Readers = dict["Node", list["Node | None"]]
"""Who reads a node; None stands for the caller of the model."""


def _readers(source: Source) -> Readers:
    readers: Readers = {node: [] for node in source.graph.nodes}
    for node in source.graph.nodes:
        for x in node.inputs:
            readers[x].append(node)
    for node in source.graph.outputs:
        readers[node].append(None)
    return readers


def _layer(node: Node, readers: Readers) -> Layer:
    for kind, matcher in PATTERNS.get(node.op, ()):
        match = Match()
        attrs = matcher(node, match)
        if attrs is not None and _alone(node, match.nodes, readers):
            kind = attrs.pop("kind", kind)
            covered = tuple(dict.fromkeys([*reversed(match.nodes), node]))
            return Layer(kind, tuple(match.inputs), node, attrs, covered)
    attrs = dict(zip(node.op.attrs, node.attrs, strict=True))
    return Layer(node.op.name, _operands(node), node, attrs, (node,))


def _alone(root: Node, nodes: list[Node], readers: Readers) -> bool:
    """Tell whether nothing outside a layer reads what it covers, its result apart."""
    inside = {root, *nodes}
    return all(reader in inside for x in nodes if x is not root for reader in readers[x])


def _operands(node: Node) -> tuple[Node, ...]:
    """Return what a primitive reads; elementwise ones spread their operands themselves."""
    if node.op.family != "elementwise" or len(node.inputs) < 2:
        return node.inputs
    small = [peeled(x) for x in node.inputs]
    shape: tuple[int, ...] | None = ()
    for x in small:
        shape = broadcast(shape, x.shape) if shape is not None else None
    if shape != node.shape:  # something has to say how large the result is
        at = next((i for i, x in enumerate(node.inputs) if x.shape == node.shape), 0)
        small[at] = node.inputs[at]
    return tuple(small)


def _activated(layers: list[Layer], readers: Readers) -> list[Layer]:
    """Make relu and relu6 a part of the layers before them."""
    made: dict[Node, Layer] = {}
    for layer in layers:
        before = made.get(layer.inputs[0]) if layer.inputs else None
        if layer.kind in ACTIVATIONS and before is not None and _takes(before, layer, readers):
            del made[layer.inputs[0]]
            attrs = {**before.attrs, "activation": layer.kind}
            covered = before.nodes + layer.nodes
            layer = replace(before, output=layer.output, attrs=attrs, nodes=covered)
        made[layer.output] = layer
    return list(made.values())


def _takes(before: Layer, layer: Layer, readers: Readers) -> bool:
    alone = all(reader in layer.nodes for reader in readers[before.output])
    floats = before.output.dtype.kind == "float"
    return alone and floats and before.kind in FUSABLE and "activation" not in before.attrs


# -- convolutions and products ------------------------------------------------------------------
def _biased(node: Node, match: Match) -> tuple[Node, Node | None]:
    """Return what a bias is added to, and the bias."""
    if node.op is ops.ADD:
        for at in (0, 1):
            bias, spread = unspread(node.inputs[1 - at])
            if bias.op is ops.LEAF and spread:
                match.cover(*spread)
                return node.inputs[at], bias
    return node, None


def _conv(node: Node, match: Match) -> Attrs | None:
    conv, bias = _biased(node, match)
    if conv.op not in (ops.CONV, ops.CONV_INPUT) or conv.dtype.kind != "float":
        return None
    channels = node.shape[1]
    wide = (1, channels, *(1,) * (len(node.shape) - 2))
    if bias is not None and bias.shape not in (wide, wide[1:]):
        return None
    match.cover(*(n for n in (conv,) if n is not node))
    match.inputs = [*conv.inputs, *([bias] if bias is not None else [])]
    attrs = dict(zip(conv.op.attrs, conv.attrs, strict=True))
    x, w = conv.inputs
    if conv.op is ops.CONV_INPUT:
        return {"kind": "transposed", **attrs}
    depthwise = attrs["groups"] == x.shape[1] and w.shape[1] == 1 and len(node.shape) <= 4
    return {"kind": "depthwise" if depthwise and x.shape[1] > 1 else "conv", **attrs}


def _linear(node: Node, match: Match) -> Attrs | None:
    product, bias = _biased(node, match)
    chain = []
    if bias is not None and product.op is ops.RESHAPE and product.shape[-1] == node.shape[-1]:
        chain.append(product)
        product = product.inputs[0]
    if product.op is not ops.MATMUL or product.dtype.kind != "float":
        return None
    x, w = product.inputs
    if w.op is not ops.LEAF or len(w.shape) != 2:
        return None
    if bias is not None and (bias.shape[-1:] != w.shape[1:] or math.prod(bias.shape) != w.shape[1]):
        return None
    match.cover(*chain, *(n for n in (product,) if n is not node))
    match.inputs = [x, w, *([bias] if bias is not None else [])]
    return {}


# -- pooling --------------------------------------------------------------------------------------
def _windows(node: Node, match: Match) -> tuple[Node, Attrs] | None:
    """Return what the dims after the second were unfolded from, and with which windows."""
    rows: list[tuple[int, int, int]] = []
    while node.op is ops.UNFOLD:
        match.cover(node)
        dim, *row = node.attrs
        rows.insert(0, (row[0], row[1], row[2]))
        node = node.inputs[0]
        if dim != 2 + _depth(node):
            return None
    count = len(node.shape) - 2
    if not rows or len(rows) != count:
        return None
    keys = zip(("size", "stride", "dilation"), zip(*rows, strict=True), strict=True)
    return node, {**dict(keys), "padding": ((0, 0),) * count}


def _depth(node: Node) -> int:
    count = 0
    while node.op is ops.UNFOLD:
        count, node = count + 1, node.inputs[0]
    return count


def _unpadded(x: Node, attrs: Attrs, value: float, match: Match) -> Node:
    """Return what was padded with a value along the dims after the second, and note by how much."""
    if x.op is ops.PAD and x.attr("value") == value:
        low, high = x.attr("low"), x.attr("high")
        if not any((*low[:2], *high[:2])):
            match.cover(x)
            attrs["padding"] = tuple(zip(low[2:], high[2:], strict=True))
            return x.inputs[0]
    return x


def _pooled(node: Node, match: Match, op: Op) -> tuple[Node, Attrs] | None:
    """Match a reshape of a reduction over all windows of the dims after the second."""
    if node.op is not ops.RESHAPE or node.inputs[0].op is not op:
        return None
    reduced = node.inputs[0]
    found = _windows(reduced.inputs[0], match)
    if found is None:
        return None
    count, rank = len(found[1]["size"]), len(reduced.shape)
    if tuple(reduced.attr("dims")) != tuple(range(rank - count, rank)):
        return None
    if node.shape != reduced.shape[: rank - count]:
        return None
    match.cover(node, reduced)
    return found


def _max_pool(node: Node, match: Match) -> Attrs | None:
    found = _pooled(node, match, ops.MAX)
    if found is None or node.dtype.kind != "float":
        return None
    x, attrs = found
    match.inputs = [_unpadded(x, attrs, -math.inf, match)]
    match.nodes = [n for n in match.nodes if n is not node]
    return attrs


def _avg_pool(node: Node, match: Match) -> Attrs | None:
    found = _pooled(node.inputs[0], match, ops.SUM)
    if found is None:
        return None
    x, attrs = found
    if _literal(node.inputs[1]) != math.prod(attrs["size"]):
        return None
    match.inputs = [_unpadded(x, attrs, 0.0, match)]
    return attrs


# -- reductions over whole dims -------------------------------------------------------------------
def _mean(node: Node, match: Match) -> Attrs | None:
    """sum(x, dims) / n, with or without a reshape that drops the dims."""
    total = node.inputs[0]
    if total.op is ops.RESHAPE:
        match.cover(total)
        total = total.inputs[0]
    if total.op is not ops.SUM:
        return None
    x, dims = total.inputs[0], tuple(total.attr("dims"))
    if _literal(node.inputs[1]) != math.prod(x.shape[d] for d in dims):
        return None
    rest = tuple(n for d, n in enumerate(x.shape) if d not in dims)
    if node.shape not in (total.shape, rest):
        return None
    match.cover(total)
    match.inputs = [x]
    return {"dims": dims}


def _global(op: Op) -> Callable[[Node, Match], Attrs | None]:
    """Return a matcher of a reduction dim by dim, as adaptive pooling to one element is written."""

    def matcher(node: Node, match: Match) -> Attrs | None:
        lead, at, divided, reduced = node.shape[:2], node, 1.0, False
        covered: list[Node] = []
        found: Node | None = None
        while at.op in (ops.RESHAPE, op) or (op is ops.SUM and at.op is ops.DIV):
            covered += [at] if at is not node else []
            if at.shape[:2] != lead or (at.op is op and min(at.attr("dims")) < 2):
                break
            if at.op is ops.DIV:
                divided *= _literal(at.inputs[1])
            reduced, at = reduced or at.op is op, at.inputs[0]
            whole = len(at.shape) > 2 and at.shape[:2] == lead and at.op is not ops.UNFOLD
            if whole and reduced and (op is ops.MAX or divided == math.prod(at.shape[2:])):
                found, match.nodes = at, list(covered)
        if found is None or math.prod(node.shape[2:]) != 1:
            return None
        match.inputs = [found]
        return {"dims": tuple(range(2, len(found.shape)))}

    return matcher


def _literal(node: Node) -> float:
    """Return the number a node is; NaN, which equals nothing, where it is none."""
    bare = peeled(node)
    return float(bare.attrs[0]) if bare.op is ops.CONST else math.nan


def _one_dim(match: Match, node: Node) -> Attrs | None:
    """Allow a softmax whose maximum and sum are taken along the same one dim."""
    del node
    dims = {tuple(match.names[name].attr("dims")) for name in ("max", "sum")}
    return {"dim": dims.pop()[0]} if len(dims) == 1 and len(next(iter(dims))) == 1 else None


def _approximately(match: Match, node: Node) -> Attrs:
    del match, node
    return {"approximate": True}


# -- the table ------------------------------------------------------------------------------------
_where, _lt, _le, _mul, _add, _sub = ops.WHERE, ops.LT, ops.LE, ops.MUL, ops.ADD, ops.SUB


def _clamped(low: Any, high: Any, x: Any = "x") -> T:
    """Return clamping to two numbers."""
    lower = T(_where, T(_lt, x, low), low, x, name="lower")
    return T(_where, T(_lt, high, lower), high, lower)


def _between(low: Any, high: Any, x: Any = "x") -> T:
    """Return clamping as a hardtanh that is trained writes it: x where it lies between."""
    inside = T(OPS["and"], T(_lt, low, x), T(_lt, x, high))
    return T(_where, inside, x, _clamped(low, high, x))


def _bounds(match: Match, _node: Node) -> Attrs:
    return {"low": match.number("#low"), "high": match.number("#high")}


_SHIFTED = T(_add, "x", 3.0, name="shifted")
_EXP = T(ops.EXP, T(_sub, "x", T(ops.MAX, "x", name="max")), name="exp")
_LESS = T(_sub, "x", T(ops.MAX, "x", name="max"), name="less")
_NEGATIVE = T(_lt, 0.0, "x", name="positive")
_GELU_TANH = T(
    ops.TANH,
    T(_mul, T(_add, "x", T(_mul, T(_mul, T(_mul, "x", "x"), "x"), 0.044715)),
       0.7978845608),
)  # fmt: skip

PATTERNS: Final[dict[Op, list[tuple[str, Callable[[Node, Match], Attrs | None]]]]] = {
    ops.CONV: [("conv", _conv)],
    ops.CONV_INPUT: [("conv", _conv)],
    ops.MATMUL: [("linear", _linear)],
    ops.ADD: [("conv", _conv), ("linear", _linear)],
    ops.RESHAPE: [("max_pool", _max_pool), ("max_over", _global(ops.MAX))],
    ops.DIV: [
        ("avg_pool", _avg_pool),
        ("mean", _global(ops.SUM)),
        ("mean", _mean),
        ("softmax", template(T(ops.DIV, _EXP, T(ops.SUM, _EXP, name="sum")), _one_dim)),
        *(("hard_swish", template(T(ops.DIV, T(_mul, "x", form(0.0, 6.0, _SHIFTED)), 6.0)))
          for form in (_between, _clamped)),
    ],
    ops.SUB: [
        ("log_softmax", template(
            T(_sub, _LESS, T(ops.LOG, T(ops.SUM, T(ops.EXP, _LESS), name="sum"))), _one_dim)),
    ],
    ops.MUL: [
        ("silu", template(T(_mul, "x", T(ops.SIGMOID, "x")))),
        ("gelu", template(
            T(_mul, T(_mul, "x", 0.5), T(_add, T(ops.ERF, T(_mul, "x", 0.70710678)), 1.0)),
            lambda _m, _n: {"approximate": False})),
        ("gelu", template(
            T(_mul, T(_mul, "x", 0.5), T(_add, _GELU_TANH, 1.0)), _approximately)),
    ],
    ops.WHERE: [
        ("relu", template(T(_where, T(_le, "x", 0.0), 0.0, "x"))),
        ("relu", template(T(_where, T(_lt, "x", 0.0), 0.0, "x"))),
        *(("relu6", template(form(0.0, 6.0))) for form in (_between, _clamped)),
        *(("clamp", template(form("#low", "#high"), _bounds)) for form in (_between, _clamped)),
        ("leaky_relu", template(T(_where, _NEGATIVE, "x", T(_mul, "x", "#alpha")),
                                 lambda m, _n: {"alpha": m.number("#alpha")})),
        ("elu", template(T(
            _where, _NEGATIVE, "x",
            T(_mul, T(ops.EXPM1, T(_where, _NEGATIVE, 0.0, "x")), 1.0)))),
    ],
}  # fmt: skip
"""By the primitive that makes the result: the kinds it may be, most particular first."""
