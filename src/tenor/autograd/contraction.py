"""Vjp rules of contractions.

A convolution is bilinear, so conv, its input gradient and its weight gradient are the three
contractions of one trilinear form sum g * conv(x, w); each one's gradients are the other two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.autograd.part import Product
from tenor.ir import op as ops

if TYPE_CHECKING:
    from tenor.autograd.tape import Cotangents, Tape
    from tenor.ir.node import Node

__all__ = ["conv", "conv_input", "conv_weight", "matmul"]


def matmul(t: Tape) -> Cotangents:
    """Return (g @ b^T, a^T @ g).

    Products of matrices are left to be put together with those of other uses of a and b.
    """
    if len(t.node.shape) == 2:
        first = Product(t.g, t.x(1), 1) if t.needs(0) else None
        return first, Product(t.x(0), t.g, 0) if t.needs(1) else None
    a = t.b.matmul(t.g, t.b.transpose(t.x(1))) if t.needs(0) else None
    return a, t.b.matmul(t.b.transpose(t.x(0)), t.g) if t.needs(1) else None


def _forward(t: Tape, x: Node, w: Node, like: Node) -> Node:
    out = t.b.emit(ops.CONV, (x, w), t.node.attrs[-4:])
    if out.shape == like.shape:
        return out
    # Elements added at the end of a transposed convolution make room for more windows.
    return t.b.slice(out, (0,) * len(out.shape), like.shape, (1,) * len(out.shape))


def _to_input(t: Tape, g: Node, w: Node, like: Node) -> Node:
    return t.b.emit(ops.CONV_INPUT, (g, w), (like.shape, *t.node.attrs[-4:]))


def _to_weight(t: Tape, x: Node, g: Node, like: Node) -> Node:
    return t.b.emit(ops.CONV_WEIGHT, (x, g), (like.shape, *t.node.attrs[-4:]))


def conv(t: Tape) -> Cotangents:
    """Return (conv_input(g, w), conv_weight(x, g))."""
    x, w = t.node.inputs
    first = _to_input(t, t.g, t.x(1), x) if t.needs(0) else None
    return first, _to_weight(t, t.x(0), t.g, w) if t.needs(1) else None


def conv_input(t: Tape) -> Cotangents:
    """Return (conv(g, w), conv_weight(g, inputs[0])): here g stands where x does in conv."""
    first = _forward(t, t.g, t.x(1), t.node.inputs[0]) if t.needs(0) else None
    return first, _to_weight(t, t.g, t.x(0), t.node.inputs[1]) if t.needs(1) else None


def conv_weight(t: Tape) -> Cotangents:
    """Return (conv_input(inputs[1], g), conv(x, g)): here g stands where w does in conv."""
    first = _to_input(t, t.x(1), t.g, t.node.inputs[0]) if t.needs(0) else None
    return first, _forward(t, t.x(0), t.g, t.node.inputs[1]) if t.needs(1) else None
