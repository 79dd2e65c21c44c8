"""Builders: one method a primitive, for rules that write operations without knowing where they go.

A vjp rule writes through a Builder; whether its operations are recorded on a trace or appended to
a plain graph is the builder's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Graph, Node, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.ir.dtype import DType
    from tenor.ir.op import Op

__all__ = ["Builder", "GraphBuilder"]


class Builder(ABC):
    """Writes operations; a subclass says where."""

    @abstractmethod
    def emit(self, op: Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...] = ()) -> Node:
        """Add one operation and return its value."""

    # -- constants --------------------------------------------------------------------------
    def const(self, value: float, dtype: DType) -> Node:
        """Return a literal of shape ()."""
        kind = {"float": float, "bool": bool}.get(dtype.kind, int)
        return self.emit(ops.CONST, (), (kind(value), dtype))

    def full(self, shape: Shape, value: float, dtype: DType) -> Node:
        """Return a constant of a shape."""
        return self.expand(self.const(value, dtype), shape)

    def zeros(self, shape: Shape, dtype: DType) -> Node:
        """Return zeros of a shape."""
        return self.full(shape, 0, dtype)

    def iota(self, length: int, dtype: DType) -> Node:
        """Return 0, 1, ... length-1."""
        return self.emit(ops.IOTA, (), (length, dtype))

    # -- elementwise ------------------------------------------------------------------------
    def neg(self, x: Node) -> Node:
        """Return -x."""
        return self.emit(ops.NEG, (x,))

    def abs(self, x: Node) -> Node:
        """Return |x|."""
        return self.emit(ops.ABS, (x,))

    def sign(self, x: Node) -> Node:
        """Return the sign of x."""
        return self.emit(ops.SIGN, (x,))

    def exp(self, x: Node) -> Node:
        """Return e to the x."""
        return self.emit(ops.EXP, (x,))

    def log(self, x: Node) -> Node:
        """Return the natural logarithm."""
        return self.emit(ops.LOG, (x,))

    def sqrt(self, x: Node) -> Node:
        """Return the square root."""
        return self.emit(ops.SQRT, (x,))

    def rsqrt(self, x: Node) -> Node:
        """Return 1 / sqrt(x)."""
        return self.emit(ops.RSQRT, (x,))

    def sin(self, x: Node) -> Node:
        """Return the sine."""
        return self.emit(ops.SIN, (x,))

    def cos(self, x: Node) -> Node:
        """Return the cosine."""
        return self.emit(ops.COS, (x,))

    def cast(self, x: Node, dtype: DType) -> Node:
        """Return x in another dtype."""
        return x if x.dtype is dtype else self.emit(ops.CAST, (x,), (dtype,))

    def logical_not(self, x: Node) -> Node:
        """Return the complement."""
        return self.emit(ops.NOT, (x,))

    def add(self, a: Node, b: Node) -> Node:
        """Return a + b."""
        return self.emit(ops.ADD, (a, b))

    def sub(self, a: Node, b: Node) -> Node:
        """Return a - b."""
        return self.emit(ops.SUB, (a, b))

    def mul(self, a: Node, b: Node) -> Node:
        """Return a * b."""
        return self.emit(ops.MUL, (a, b))

    def div(self, a: Node, b: Node) -> Node:
        """Return a / b."""
        return self.emit(ops.DIV, (a, b))

    def pow(self, a: Node, b: Node) -> Node:
        """Return a to the power b."""
        return self.emit(ops.POW, (a, b))

    def eq(self, a: Node, b: Node) -> Node:
        """Return a == b."""
        return self.emit(ops.EQ, (a, b))

    def ne(self, a: Node, b: Node) -> Node:
        """Return a != b."""
        return self.emit(ops.NE, (a, b))

    def lt(self, a: Node, b: Node) -> Node:
        """Return a < b."""
        return self.emit(ops.LT, (a, b))

    def le(self, a: Node, b: Node) -> Node:
        """Return a <= b."""
        return self.emit(ops.LE, (a, b))

    def where(self, condition: Node, a: Node, b: Node) -> Node:
        """Return a where condition, else b."""
        return self.emit(ops.WHERE, (condition, a, b))

    # -- reductions -------------------------------------------------------------------------
    def sum(self, x: Node, dims: Sequence[int]) -> Node:
        """Return the sum over dims, kept with extent 1."""
        return self.emit(ops.SUM, (x,), (tuple(dims),)) if dims else x

    def prod(self, x: Node, dims: Sequence[int]) -> Node:
        """Return the product over dims, kept with extent 1."""
        return self.emit(ops.PROD, (x,), (tuple(dims),)) if dims else x

    def max(self, x: Node, dims: Sequence[int], ties: str = "even") -> Node:
        """Return the maximum over dims, kept with extent 1."""
        return self.emit(ops.MAX, (x,), (tuple(dims), ties)) if dims else x

    def argmax(self, x: Node, dim: int) -> Node:
        """Return the position of the first maximum."""
        return self.emit(ops.ARGMAX, (x,), (dim,))

    def argmin(self, x: Node, dim: int) -> Node:
        """Return the position of the first minimum."""
        return self.emit(ops.ARGMIN, (x,), (dim,))

    # -- movement ---------------------------------------------------------------------------
    def reshape(self, x: Node, shape: Shape) -> Node:
        """Return the elements in another shape."""
        return x if x.shape == shape else self.emit(ops.RESHAPE, (x,), (tuple(shape),))

    def expand(self, x: Node, shape: Shape) -> Node:
        """Return x broadcast to a shape."""
        return x if x.shape == shape else self.emit(ops.EXPAND, (x,), (tuple(shape),))

    def permute(self, x: Node, dims: Sequence[int]) -> Node:
        """Return x with its dims in another order."""
        same = tuple(dims) == tuple(range(len(x.shape)))
        return x if same else self.emit(ops.PERMUTE, (x,), (tuple(dims),))

    def transpose(self, x: Node) -> Node:
        """Return x with its last two dims swapped."""
        n = len(x.shape)
        return self.permute(x, (*range(n - 2), n - 1, n - 2))

    def slice(
        self, x: Node, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
    ) -> Node:
        """Return x at starts + i * steps, for i below sizes."""
        same = tuple(sizes) == x.shape and all(s == 1 for s in steps)
        attrs = (tuple(starts), tuple(sizes), tuple(steps))
        return x if same else self.emit(ops.SLICE, (x,), attrs)

    def pad(self, x: Node, low: Sequence[int], high: Sequence[int], value: float = 0) -> Node:
        """Return x with a constant around it."""
        if not any(low) and not any(high):
            return x
        return self.emit(ops.PAD, (x,), (tuple(low), tuple(high), value))

    def concat(self, xs: Sequence[Node], dim: int) -> Node:
        """Return the tensors one after another."""
        return xs[0] if len(xs) == 1 else self.emit(ops.CONCAT, tuple(xs), (dim,))

    def slice_update(
        self, x: Node, value: Node, starts: Sequence[int], steps: Sequence[int]
    ) -> Node:
        """Return x with value written at starts + i * steps."""
        return self.emit(ops.SLICE_UPDATE, (x, value), (tuple(starts), tuple(steps)))

    def unfold(self, x: Node, dim: int, size: int, step: int, dilation: int = 1) -> Node:
        """Return sliding windows over a dim, as a new last dim."""
        return self.emit(ops.UNFOLD, (x,), (dim, size, step, dilation))

    def fold(self, x: Node, dim: int, length: int, step: int, dilation: int = 1) -> Node:
        """Return window entries added back at their places."""
        return self.emit(ops.FOLD, (x,), (dim, length, step, dilation))

    # -- index, contraction, order ------------------------------------------------------------
    def take(self, x: Node, index: Node, dim: int) -> Node:
        """Return x at the indices of one dim."""
        return self.emit(ops.TAKE, (x, index), (dim,))

    def take_along(self, x: Node, index: Node, dim: int) -> Node:
        """Return x gathered along a dim."""
        return self.emit(ops.TAKE_ALONG, (x, index), (dim,))

    def put(self, x: Node, index: Node, source: Node, dim: int, mode: str) -> Node:
        """Return x with source set or added at the indices of one dim."""
        return self.emit(ops.PUT, (x, index, source), (dim, mode))

    def put_along(self, x: Node, index: Node, source: Node, dim: int, mode: str) -> Node:
        """Return x with source scattered along a dim."""
        return self.emit(ops.PUT_ALONG, (x, index, source), (dim, mode))

    def matmul(self, a: Node, b: Node) -> Node:
        """Return the matrix product over the last two dims."""
        return self.emit(ops.MATMUL, (a, b))

    def attention(self, q: Node, k: Node, v: Node, *mask: Node, causal: bool, scale: float) -> Node:
        """Return softmax(scale q k^T + mask) v as [N, T, H, E]."""
        return self.emit(ops.ATTENTION, (q, k, v, *mask), (causal, scale))

    def cumsum(self, x: Node, dim: int, *, reverse: bool = False) -> Node:
        """Return running sums along a dim."""
        return self.emit(ops.CUMSUM, (x,), (dim, reverse))


class GraphBuilder(Builder):
    """Appends operations to a plain graph."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def emit(self, op: Op, inputs: tuple[Node, ...], attrs: tuple[Any, ...] = ()) -> Node:
        """Append one operation and return its value."""
        shape, dtype = infer(op, inputs, attrs)
        node = Node(op, inputs, attrs, shape, dtype)
        self.nodes.append(node)
        return node

    def leaf(self, shape: Shape, dtype: DType) -> Node:
        """Append a parameter."""
        return self.emit(ops.LEAF, (), (tuple(shape), dtype))

    def scalar(self, dtype: DType) -> Node:
        """Append a run-time number."""
        return self.emit(ops.SCALAR, (), (dtype,))

    def graph(self, *outputs: Node) -> Graph:
        """Return the graph of all that was appended."""
        return Graph(self.nodes, outputs)
