"""Template kernels: one row for each primitive that has generated code of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.schedule.operand import (
    fill_of,
    in_panels,
    lined,
    operand_nodes,
    settle,
    strided,
)
from tenor.ir import op as ops
from tenor.ir.kernel import Buffer, Kernel
from tenor.ir.node import Node, Shape, size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TEMPLATES"]

Written = tuple[Kernel, list[Node]]


def _kernel(
    kind: str, node: Node, inputs: list[Node], params: dict[str, Any],
    starts: tuple[int, ...] = (),
) -> Written:  # fmt: skip
    starts = starts or (0,) * len(inputs)
    buffers = [
        Buffer(n.dtype, size(n.shape), start=at) for n, at in zip(inputs, starts, strict=True)
    ]
    buffers.append(Buffer(node.dtype, size(node.shape), written=True))
    return Kernel(kind, node.shape, buffers, params=params), [*inputs, node]


def _matmul(node: Node) -> Written:
    a = strided(node.inputs[0])
    b = in_panels(node.inputs[1]) or strided(node.inputs[1])
    *batch, m, n = node.shape
    k = node.inputs[0].shape[-1]
    across = [m * n] * len(batch)
    for d in range(len(batch) - 2, -1, -1):
        across[d] = across[d + 1] * batch[d + 1]
    params = {
        "batch": _joined(list(zip(batch, a.strides[:-2], b.strides[:-2], across, strict=True))),
        "m": m, "n": n, "k": k,
        "a": a.strides[-2:], "b": b.strides[-2:], "c": (n, 1),
        "offsets": (0, 0, 0), "panel": b.panel,
    }  # fmt: skip
    return _kernel("matmul", node, [a.node, b.node], params, (a.offset, b.offset))


def _joined(batch: list[tuple[int, int, int, int]]) -> tuple[tuple[int, int, int, int], ...]:
    """Merge batch dims that are one run of memory in every operand."""
    merged: list[tuple[int, int, int, int]] = []
    for extent, *strides in batch:
        if extent == 1:
            continue
        if merged and all(p == extent * s for p, s in zip(merged[-1][1:], strides, strict=True)):
            merged[-1] = (merged[-1][0] * extent, strides[0], strides[1], strides[2])
        else:
            merged.append((extent, strides[0], strides[1], strides[2]))
    return tuple(merged)


def _matmul_int8(node: Node) -> Written:
    a, b = (settle(i) for i in node.inputs)
    m, n = node.shape
    return _kernel("matmul_int8", node, [a, b], {"m": m, "n": n, "k": node.inputs[0].shape[1]})


def _conv_params(x: Shape, w: Shape, y: Shape, attrs: tuple[Any, ...]) -> dict[str, Any]:
    stride, padding, dilation, groups = attrs
    return {
        "n": x[0], "groups": groups, "channels_in": x[1], "channels_out": w[0],
        "spatial_in": x[2:], "kernel": w[2:], "spatial_out": y[2:],
        "stride": stride, "padding": padding, "dilation": dilation,
    }  # fmt: skip


def _conv(node: Node) -> Written:
    x, w = node.inputs
    params = _conv_params(x.shape, w.shape, node.shape, node.attrs)
    return _kernel("conv", node, [settle(x), settle(w)], params)


def _conv_int8(node: Node) -> Written:
    x, w = node.inputs
    params = _conv_params(x.shape, w.shape, node.shape, node.attrs[:-1])
    return _kernel("conv_int8", node, [settle(x), settle(w)], params | {"fill": node.attrs[-1]})


def _conv_input(node: Node) -> Written:
    g, w = node.inputs
    params = _conv_params(node.shape, w.shape, g.shape, node.attrs[1:])
    return _kernel("conv_input", node, [settle(g), settle(w)], params)


def _conv_weight(node: Node) -> Written:
    x, g = node.inputs
    params = _conv_params(x.shape, node.shape, g.shape, node.attrs[1:])
    return _kernel("conv_weight", node, [settle(x), settle(g)], params)


def _attention(node: Node) -> Written:
    operands = [lined(i) for i in node.inputs]
    batch, heads, time, features = node.inputs[0].shape
    plain = 3 if node.op is ops.ATTENTION else 4
    params = {
        "batch": batch, "heads": heads, "t": time, "d": features,
        "s": node.inputs[1].shape[2], "e": node.inputs[2].shape[3],
        "strides": tuple(x.strides for x in operands), "offsets": tuple(x.offset for x in operands),
        "mask": None if len(node.inputs) == plain else tuple(
            stride * (n > 1)
            for stride, n in zip(operands[-1].strides, node.inputs[-1].shape, strict=True)
        ),
        "causal": node.attr("causal"), "scale": node.attr("scale"),
    }  # fmt: skip
    return _kernel(node.op.name, node, [x.node for x in operands], params)


def _fold(node: Node) -> Written:
    x = node.inputs[0]
    dim, length, step, dilation = node.attrs
    params = {
        "outer": size(node.shape[:dim]), "length": length, "windows": x.shape[dim],
        "inner": size(node.shape[dim + 1 :]), "size": x.shape[-1],
        "step": step, "dilation": dilation,
    }  # fmt: skip
    return _kernel("fold", node, [settle(x)], params)


def _put(node: Node) -> Written:
    x, index, _ = node.inputs
    dim, mode = node.attrs
    params = {
        "outer": size(x.shape[:dim]), "length": x.shape[dim], "inner": size(x.shape[dim + 1 :]),
        "count": size(index.shape), "mode": mode, "fill": fill_of(x),
    }  # fmt: skip
    return _kernel("put", node, operand_nodes(node), params)


def _put_along(node: Node) -> Written:
    x, index, _ = node.inputs
    dim, mode = node.attrs
    params = {"x_shape": x.shape, "index_shape": index.shape, "dim": dim, "mode": mode}
    return _kernel("put_along", node, operand_nodes(node), params | {"fill": fill_of(x)})


def _along(kind: str, flag: str) -> Callable[[Node], Written]:
    def write(node: Node) -> Written:
        dim, value = node.attrs
        shape = node.shape
        params = {
            "outer": size(shape[:dim]), "length": shape[dim], "inner": size(shape[dim + 1 :]),
            flag: value,
        }  # fmt: skip
        return _kernel(kind, node, [settle(node.inputs[0])], params)

    return write


def _topk(node: Node) -> Written:
    dim, k, descending = node.attrs
    shape = node.inputs[0].shape
    params = {
        "outer": size(shape[:dim]), "length": shape[dim], "inner": size(shape[dim + 1 :]),
        "k": k, "descending": descending,
    }  # fmt: skip
    return _kernel("topk", node, [settle(node.inputs[0])], params)


TEMPLATES: Final[dict[str, Callable[[Node], Written]]] = {
    ops.MATMUL.name: _matmul,
    ops.MATMUL_INT8.name: _matmul_int8,
    ops.CONV.name: _conv,
    ops.CONV_INT8.name: _conv_int8,
    ops.CONV_INPUT.name: _conv_input,
    ops.CONV_WEIGHT.name: _conv_weight,
    ops.ATTENTION.name: _attention,
    ops.ATTENTION_GRADIENT.name: _attention,
    ops.FOLD.name: _fold,
    ops.PUT.name: _put,
    ops.PUT_ALONG.name: _put_along,
    ops.CUMSUM.name: _along("cumsum", "reverse"),
    ops.ARGSORT.name: _along("argsort", "descending"),
    ops.TOPK.name: _topk,
}
