"""Vjp rules of attention.

Attention's own gradient is one kernel. The gradient of that one is written in products and
elementwise operations, which are differentiable as often as anybody likes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.autograd.tape import Cotangents, Tape
    from tenor.ir.build import Builder
    from tenor.ir.node import Node, Shape

__all__ = ["attention", "attention_gradient"]

BY_HEAD = (0, 2, 1, 3)
"""[N, T, H, E] to [N, H, T, E], and back."""


def attention(t: Tape) -> Cotangents:
    """Return the gradients of q, k and v, which one kernel computes; a mask has none."""
    count = len(t.node.inputs)
    if not any(t.needs(i) for i in range(3)):
        return (None,) * count
    q, k, v, *mask = (t.x(i) for i in range(count))
    every = t.b.emit(ops.ATTENTION_GRADIENT, (q, k, v, t.g, *mask), t.node.attrs)
    parts = _parts(t.b, every, [i.shape for i in t.node.inputs[:3]])
    found = [part if t.needs(i) else None for i, part in enumerate(parts)]
    return *found, *[None] * len(mask)


def _parts(b: Builder, every: Node, shapes: Sequence[Shape]) -> list[Node]:
    """Return the pieces of a 1-d value that holds [N, T, H, D] for each shape [N, H, T, D]."""
    parts, start = [], 0
    for n, h, length, features in shapes:
        count = size((n, h, length, features))
        piece = b.slice(every, (start,), (count,), (1,))
        parts.append(b.permute(b.reshape(piece, (n, length, h, features)), BY_HEAD))
        start += count
    return parts


def attention_gradient(t: Tape) -> Cotangents:
    """Return the gradients of q, k, v and g.

    For the cotangents a, b, c of the three gradients it is that of <g, y'>, y' the change of
    attention when q, k, v change by a, b, c: with weights p, scores' change w = scale (a k^T +
    q b^T) and p' = p (w - sum p w), y' = p' v + p c.
    """
    count = len(t.node.inputs)
    if not any(t.needs(i) for i in range(4)):
        return (None,) * count
    return *_Second(t).cotangents(), *[None] * (count - 4)


class _Second:
    """The values the rule is made of, each over the last two dims."""

    def __init__(self, t: Tape) -> None:
        self.t, self.b = t, t.b
        self.causal, self.scale = t.node.attrs
        self.q, self.k, self.v = (t.x(i) for i in range(3))
        self.g = t.b.permute(t.x(3), BY_HEAD)
        self.mask = [t.x(i) for i in range(4, len(t.node.inputs))]
        self.to = _parts(t.b, t.g, [i.shape for i in t.node.inputs[:3]])

    def cotangents(self) -> Cotangents:
        """Write the rule down."""
        b, (a, k2, c) = self.b, self.to
        p = self._weights()
        w = self._scaled(b.add(self._across(a, self.k), self._across(self.q, k2)))
        x, y = self._across(self.g, self.v), self._across(self.g, c)
        change = self._changed(p, w)
        to_w = self._scaled(self._changed(p, x))
        # What <g, y'> = sum p (w x - x sum p w + y) gives a score, by way of p.
        mean_w, mean_x = self._mean(p, w), self._mean(p, x)
        to_p = b.sub(b.mul(w, b.sub(x, mean_x)), b.mul(mean_w, x))
        to_s = self._scaled(self._changed(p, b.add(to_p, y)))
        q = b.add(b.matmul(to_w, k2), b.matmul(to_s, self.k))
        k = b.add(self._down(to_w, a), self._down(to_s, self.q))
        g = b.permute(b.add(b.matmul(change, self.v), b.matmul(p, c)), BY_HEAD)
        every = (q, k, self._down(change, self.g), g)
        return tuple(n if self.t.needs(i) else None for i, n in enumerate(every))

    def _across(self, a: Node, b: Node) -> Node:
        return self.b.matmul(a, self.b.transpose(b))

    def _down(self, a: Node, b: Node) -> Node:
        return self.b.matmul(self.b.transpose(a), b)

    def _scaled(self, x: Node) -> Node:
        return self.b.mul(x, self.b.const(self.scale, x.dtype))

    def _sum(self, x: Node) -> Node:
        """Return the sum over the last dim, for each of its elements."""
        return self.b.expand(self.b.sum(x, (len(x.shape) - 1,)), x.shape)

    def _mean(self, p: Node, x: Node) -> Node:
        return self._sum(self.b.mul(p, x))

    def _changed(self, p: Node, x: Node) -> Node:
        """Return p (x - sum p x): how a softmax changes with its scores."""
        return self.b.mul(p, self.b.sub(x, self._mean(p, x)))

    def _weights(self) -> Node:
        b, shape = self.b, (*self.q.shape[:3], self.k.shape[2])
        scores = self._scaled(self._across(self.q, self.k))
        for mask in self.mask:
            scores = b.add(scores, b.expand(mask, shape))
        if self.causal:
            rows = b.expand(b.reshape(b.iota(shape[2], dt.int64), (shape[2], 1)), shape)
            seen = b.le(b.expand(b.iota(shape[3], dt.int64), shape), rows)
            scores = b.where(seen, scores, b.full(shape, -math.inf, scores.dtype))
        top = b.max(scores, (3,))
        if self.mask:  # of -inf everywhere, there is nothing to look at
            nothing = b.eq(top, b.full(top.shape, -math.inf, top.dtype))
            top = b.where(nothing, b.zeros(top.shape, top.dtype), top)
        e = b.exp(b.sub(scores, b.expand(top, shape)))
        total = self._sum(e)
        if self.mask:
            empty = b.eq(total, b.zeros(shape, total.dtype))
            total = b.where(empty, b.full(shape, 1, total.dtype), total)
        return b.div(e, total)
