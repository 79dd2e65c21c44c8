"""The rows of movement primitives, and of those that read and write at indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.onnx.sizes import Rows, SizesDiffer, fixed
from tenor.ir import dtype as dt
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.export.onnx.sizes import Dim
    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

    Row = Callable[[Writer, Node], str]

__all__ = ["INDEX", "MOVEMENT", "reshaped", "transposed"]

LOWEST: Final = np.iinfo(np.int64).min
"""An end before every beginning: a slice backwards runs through position 0."""


# -- shapes -----------------------------------------------------------------------------------
def reshaped(w: Writer, x: str, dims: Sequence[Dim]) -> str:
    """Append a reshape; one dim that depends on the batch is left to the runtime as -1."""
    open_ = [d for d in dims if isinstance(d, Rows)]
    if len(open_) == 1 and 0 not in dims:
        return w.op("Reshape", [x], [w.ints([-1 if isinstance(d, Rows) else d for d in dims])])
    zeros: dict[str, Any] = {"allowzero": 1} if 0 in dims else {}
    return w.op("Reshape", [x], [w.shape(dims)], **zeros)


def transposed(w: Writer, x: str, dims: Sequence[int]) -> str:
    """Append a permutation, unless it is none."""
    if list(dims) == sorted(dims):
        return x
    return w.op("Transpose", [x], perm=list(dims))


def _reshape(w: Writer, node: Node) -> str:
    x = w.value(node.inputs[0])
    if w.dims(node) == w.dims(node.inputs[0]):
        return x
    return reshaped(w, x, w.dims(node))


def _expand(w: Writer, node: Node) -> str:
    dims, source = w.dims(node), node.inputs[0]
    if dims == w.dims(source):
        return w.value(source)
    w.narrow(node, w.value(source), w.dims(source))
    return ""


def _permute(w: Writer, node: Node) -> str:
    return transposed(w, w.value(node.inputs[0]), node.attrs[0])


# -- parts ------------------------------------------------------------------------------------
def _slice(w: Writer, node: Node) -> str:
    x, dims = node.inputs[0], w.dims(node.inputs[0])
    starts, counts, steps = w.attrs(node)
    every = zip(range(len(dims)), dims, starts, counts, steps, strict=True)
    cut = [row for row in every if row[2:] != (0, row[1], 1)]
    if not cut:
        return w.value(x)
    ends = [_end(*row[2:]) for row in cut]
    inputs = [w.shape([row[2] for row in cut]), w.shape(ends), w.ints([row[0] for row in cut])]
    if any(row[4] != 1 for row in cut):
        inputs.append(w.ints([row[4] for row in cut]))
    return w.op("Slice", [w.value(x)], inputs)


def _end(start: Dim, count: Dim, step: int) -> Dim:
    """Return where a slice ends: start + count * step."""
    if isinstance(start, int) and isinstance(count, int):
        end = start + count * step
        return LOWEST if count and end < 0 else max(end, 0)
    a = start if isinstance(start, Rows) else Rows(0, start)
    b = count if isinstance(count, Rows) else Rows(0, count)
    times, plus = a.times + b.times * step, a.plus + b.plus * step
    if times > 0 and plus >= 0:
        return Rows(times, plus)
    if times == 0:
        return LOWEST if plus < 0 else plus
    raise SizesDiffer


def _pad(w: Writer, node: Node) -> str:
    x = node.inputs[0]
    low, high, fill = node.attrs
    if not any((*low, *high)):
        return w.value(x)
    if size(x.shape) == 0:
        return w.spread(w.number(fill, node.dtype), w.dims(node))
    held = w.carried("Pad", node.dtype)
    value = w.cast(w.number(fill, node.dtype), held)
    return w.op("Pad", [w.value(x)], [w.ints([*low, *high]), value])


def _concat(w: Writer, node: Node) -> str:
    return w.op("Concat", [w.value(x) for x in node.inputs], axis=node.attrs[0])


def _slice_update(w: Writer, node: Node) -> str:
    x, value = node.inputs
    starts, steps = node.attrs
    places = zip(starts, w.dims(value), steps, w.dims(x), strict=True)
    partial = [
        (d, start, fixed(count), step, fixed(extent))
        for d, (start, count, step, extent) in enumerate(places)
        if (start, count, step) != (0, extent, 1)
    ]
    if 0 in value.shape:
        return w.value(x)
    return _updated(w, w.value(x), w.value(value), partial)


def _updated(w: Writer, x: str, value: str, partial: list[tuple[int, int, int, int, int]]) -> str:
    """Write a value over the part of x that some dims name, one dim after the other."""
    if not partial:
        return value
    (dim, start, count, step, extent), rest = partial[0], partial[1:]
    places = start + np.arange(count) * step
    if rest:
        part = w.op("Gather", [x], [w.ints(places.tolist())], axis=dim)
        value = _updated(w, part, value, rest)
    order = np.arange(extent)
    order[places] = extent + np.arange(count)
    both = w.op("Concat", [x, value], axis=dim)
    return w.op("Gather", [both], [w.ints(order.tolist())], axis=dim)


# -- windows ----------------------------------------------------------------------------------
def _windows(count: int, width: int, step: int, dilation: int) -> np.ndarray:
    """Return the places [window, entry] that sliding windows read."""
    return np.asarray(np.arange(count)[:, None] * step + np.arange(width) * dilation, np.int64)


def _unfold(w: Writer, node: Node) -> str:
    dim, width, step, dilation = w.attrs(node)
    rank = len(node.inputs[0].shape)
    places = _windows(fixed(w.dims(node)[dim]), width, step, dilation)
    index = w.constant(places, dt.int64, "windows")
    made = w.op("Gather", [w.value(node.inputs[0])], [index], axis=dim)
    return transposed(w, made, [d for d in range(rank + 1) if d != dim + 1] + [dim + 1])


def _fold(w: Writer, node: Node) -> str:
    """Add window entries into zeros: the windowed dim first, places as one index."""
    dim, length, step, dilation = w.attrs(node)
    x, rank = node.inputs[0], len(node.shape)
    dims = w.dims(node)
    width = fixed(w.dims(x)[-1])
    places = _windows(fixed(w.dims(x)[dim]), width, step, dilation)
    others = [d for d in range(rank) if d != dim]
    held = w.carried("ScatterAdd", node.dtype)
    parts = transposed(w, w.cast(w.value(x), held), [dim, rank, *others])
    zeros = w.spread(w.number(0, held), (length, *(dims[d] for d in others)))
    index = w.constant(places[..., None], dt.int64, "windows")
    made = w.write("ScatterND", [zeros, index, parts], held, reduction="add")
    order = [others.index(d) + 1 if d != dim else 0 for d in range(rank)]
    return w.cast(transposed(w, made, order), node.dtype)


MOVEMENT: Final[dict[str, Row]] = {
    "reshape": _reshape, "expand": _expand, "permute": _permute, "slice": _slice, "pad": _pad,
    "unfold": _unfold, "fold": _fold, "concat": _concat, "slice_update": _slice_update,
}  # fmt: skip


# -- indices ----------------------------------------------------------------------------------
def _take(w: Writer, node: Node) -> str:
    x, index = node.inputs
    return w.op("Gather", [w.value(x)], [w.value(index)], axis=node.attrs[0])


def _take_along(w: Writer, node: Node) -> str:
    x, index = node.inputs
    return w.op("GatherElements", [w.value(x)], [w.value(index)], axis=node.attrs[0])


def _put(w: Writer, node: Node) -> str:
    """Scatter along one dim: every element of the source gets its line's place."""
    x, index, source = node.inputs
    dim, mode = node.attrs
    if size(source.shape) == 0:
        return w.value(x)
    before, after = w.dims(x)[:dim], w.dims(x)[dim + 1 :]
    count = w.dims(index)[0] if len(index.shape) == 1 else size(map(fixed, w.dims(index)))
    flat = w.value(source)
    if len(index.shape) != 1:
        flat = reshaped(w, flat, (*before, count, *after))
    column = reshaped(w, w.value(index), (*(1,) * dim, count, *(1,) * len(after)))
    every = w.spread(column, (*before, count, *after))
    return _scattered(w, w.value(x), every, flat, dim, mode)


def _put_along(w: Writer, node: Node) -> str:
    x, index, source = map(w.value, node.inputs)
    if size(node.inputs[1].shape) == 0:
        return x
    return _scattered(w, x, index, source, *node.attrs)


def _scattered(w: Writer, x: str, index: str, source: str, dim: int, mode: str) -> str:
    """Append a scatter; where nothing is added, of equal places the last written stays."""
    if mode == "set":
        return w.write("ScatterElements", [x, index, source], w.types[x], axis=dim)
    dtype = w.types[x]
    held = w.carried("ScatterAdd", dtype)
    inputs = [w.cast(x, held), index, w.cast(source, held)]
    made = w.write("ScatterElements", inputs, held, axis=dim, reduction="add")
    return w.cast(made, dtype)


INDEX: Final[dict[str, Row]] = {
    "take": _take, "take_along": _take_along, "put": _put, "put_along": _put_along,
}  # fmt: skip
