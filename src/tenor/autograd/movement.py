"""Vjp rules of movement and of indexing: each gradient moves back along the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.autograd.part import Piece
from tenor.ir.node import size

if TYPE_CHECKING:
    from tenor.autograd.part import Part
    from tenor.autograd.tape import Cotangents, Tape
    from tenor.ir.node import Node

__all__ = [
    "concat", "expand", "fold", "pad", "permute", "put", "put_along", "reshape", "slice_",
    "slice_update", "take", "take_along", "unfold",
]  # fmt: skip


def reshape(t: Tape) -> Node:
    """Return g in the input's shape."""
    return t.b.reshape(t.g, t.node.inputs[0].shape)


def expand(t: Tape) -> Node:
    """Return g summed over what was repeated."""
    before, after = t.node.inputs[0].shape, t.node.shape
    lead = len(after) - len(before)
    padded = (1,) * lead + before
    dims = [d for d, (n, m) in enumerate(zip(padded, after, strict=True)) if n != m]
    # A new leading dim of extent 1 repeats nothing; the reshape drops it.
    return t.b.reshape(t.b.sum(t.g, dims), before)


def permute(t: Tape) -> Node:
    """Return g with its dims put back."""
    dims = t.node.attr("dims")
    return t.b.permute(t.g, sorted(range(len(dims)), key=dims.__getitem__))


def slice_(t: Tape) -> Node | Part:
    """Return zeros with g where the slice was taken; a piece, where its steps are 1."""
    shape = t.node.inputs[0].shape
    starts, sizes, steps = t.node.attrs
    if size(sizes) == 0:  # an empty slice may start anywhere
        return t.b.zeros(shape, t.g.dtype)
    if all(step == 1 for step in steps):
        return Piece(t.g, starts)
    return t.b.slice_update(t.b.zeros(shape, t.g.dtype), t.g, starts, steps)


def pad(t: Tape) -> Node:
    """Return g without the border."""
    shape = t.node.inputs[0].shape
    return t.b.slice(t.g, t.node.attr("low"), shape, (1,) * len(shape))


def unfold(t: Tape) -> Node:
    """Return the windows of g added up where they overlap."""
    dim, _, step, dilation = t.node.attrs
    return t.b.fold(t.g, dim, t.node.inputs[0].shape[dim], step, dilation)


def fold(t: Tape) -> Node:
    """Return the windows of g."""
    dim, _, step, dilation = t.node.attrs
    return t.b.unfold(t.g, dim, t.node.inputs[0].shape[-1], step, dilation)


def concat(t: Tape) -> Cotangents:
    """Return g cut into the inputs' pieces."""
    dim, start = t.node.attr("dim"), 0
    pieces: list[Node | Part | None] = []
    for i, x in enumerate(t.node.inputs):
        starts = [0] * len(x.shape)
        starts[dim] = start
        start += x.shape[dim]
        ones = (1,) * len(x.shape)
        pieces.append(t.b.slice(t.g, starts, x.shape, ones) if t.needs(i) else None)
    return tuple(pieces)


def slice_update(t: Tape) -> Cotangents:
    """Return (g with zeros where it was overwritten, g where it was written)."""
    starts, steps = t.node.attrs
    shape = t.node.inputs[1].shape
    x = value = None
    if t.needs(0):
        x = t.b.slice_update(t.g, t.b.zeros(shape, t.g.dtype), starts, steps)
    if t.needs(1):
        value = t.b.slice(t.g, starts, shape, steps)
    return x, value


# -- index ----------------------------------------------------------------------------------------
def take(t: Tape) -> Node:
    """Return zeros with g added at the index."""
    zeros = t.b.zeros(t.node.inputs[0].shape, t.g.dtype)
    return t.b.put(zeros, t.x(1), t.g, t.node.attr("dim"), "add")


def take_along(t: Tape) -> Node:
    """Return zeros with g added at the index."""
    zeros = t.b.zeros(t.node.inputs[0].shape, t.g.dtype)
    return t.b.put_along(zeros, t.x(1), t.g, t.node.attr("dim"), "add")


def put(t: Tape) -> Cotangents:
    """Return (g, zeroed where it was set; None; g at the index)."""
    dim, mode = t.node.attrs
    x = source = None
    if t.needs(0):
        zeros = t.b.zeros(t.node.inputs[2].shape, t.g.dtype) if mode == "set" else None
        x = t.g if zeros is None else t.b.put(t.g, t.x(1), zeros, dim, "set")
    if t.needs(2):
        source = t.b.take(t.g, t.x(1), dim)
    return x, None, source


def put_along(t: Tape) -> Cotangents:
    """Return (g, zeroed where it was set; None; g at the index)."""
    dim, mode = t.node.attrs
    x = source = None
    if t.needs(0):
        zeros = t.b.zeros(t.node.inputs[2].shape, t.g.dtype) if mode == "set" else None
        x = t.g if zeros is None else t.b.put_along(t.g, t.x(1), zeros, dim, "set")
    if t.needs(2):
        source = t.b.take_along(t.g, t.x(1), dim)
    return x, None, source
