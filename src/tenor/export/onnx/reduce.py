"""The rows of reductions and of what depends on order: running sums and sorting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.export.onnx.writer import Writer
    from tenor.ir.node import Node

    Row = Callable[[Writer, Node], str]

__all__ = ["ORDER", "REDUCE", "reduced"]

INPUTS: Final = 18
"""The first opset in which every reduction takes its dims as an input; ReduceSum always has."""
OF_BOOLS: Final = {"ReduceSum": "ReduceMax", "ReduceProd": "ReduceMin"}
KINDS: Final = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin",
                "argmax": "ArgMax", "argmin": "ArgMin", "mean": "ReduceMean"}  # fmt: skip


def reduced(w: Writer, name: str, x: Node, dims: Sequence[int], *, keep: bool) -> str:
    """Append a reduction.

    Args:
        w: Where to.
        name: The primitive, or "mean".
        x: What is reduced.
        dims: Over which dims.
        keep: Whether they stay, with extent 1.
    """
    kind = KINDS[name]
    if kind.startswith("Arg"):
        return w.op(kind, [_ordered(w, w.value(x))], out=dt.int64, axis=dims[0], keepdims=int(keep))
    if x.dtype is dt.bool_:
        kind = OF_BOOLS.get(kind, kind)
    if name in ("max", "min"):
        made = _reduced(w, kind, _ordered(w, w.value(x)), dims, keep)
        return _unordered(w, made) if x.dtype is dt.uint64 else made
    return _reduced(w, kind, w.value(x), dims, keep)


def _reduced(w: Writer, kind: str, x: str, dims: Sequence[int], keep: bool) -> str:
    if kind == "ReduceSum" or w.opset >= INPUTS:
        return w.op(kind, [x], [w.ints(dims)], keepdims=int(keep))
    return w.op(kind, [x], axes=list(dims), keepdims=int(keep))


SHIFT: Final = -(2**63)


def _ordered(w: Writer, x: str) -> str:
    """Return uint64 as int64 of the same order, moved down by 2^63; other values as they are."""
    if w.types[x] is not dt.uint64:
        return x
    return w.op("Add", [w.cast(x, dt.int64), w.number(SHIFT, dt.int64)])


def _unordered(w: Writer, x: str) -> str:
    return w.cast(w.op("Add", [x, w.number(SHIFT, dt.int64)]), dt.uint64)


def _row(name: str) -> Row:
    def row(w: Writer, node: Node) -> str:
        dims = node.attrs[0]
        every = (dims,) if isinstance(dims, int) else dims
        return reduced(w, name, node.inputs[0], every, keep=True)

    return row


def _cumsum(w: Writer, node: Node) -> str:
    dim, reverse = node.attrs
    axis = w.constant(np.array(dim, np.int64), dt.int64)
    return w.op("CumSum", [w.value(node.inputs[0])], [axis], reverse=int(reverse))


def _topk(w: Writer, node: Node) -> str:
    """Return positions of the first of a line in order; of equal ones the first comes first."""
    dim, descending = node.attrs[0], node.attrs[-1]
    x = _ordered(w, w.value(node.inputs[0]))
    held = w.cast(x, w.carried("TopK", w.types[x]))
    inputs = [held, w.size(w.dims(node)[dim])]
    types = (w.types[held], dt.int64)
    return w.several("TopK", inputs, types, axis=dim, largest=int(descending), sorted=1)[1]


REDUCE: Final[dict[str, Row]] = {
    name: _row(name) for name in ("sum", "prod", "max", "min", "argmax", "argmin")
}
ORDER: Final[dict[str, Row]] = {"cumsum": _cumsum, "argsort": _topk, "topk": _topk}
