"""From nodes to the expression a kernel computes at one index of its domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.compiler.schedule.access import (
    Coords,
    NotAffine,
    combine,
    identity,
    linear,
    push,
    strides_of,
)
from tenor.compiler.schedule.operand import settle
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.kernel import Affine, Buffer, Expr, Guard, Kernel, Store
from tenor.ir.node import Graph, Node, Shape, size
from tenor.ir.symbolic import alike

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from tenor.compiler.schedule.fuse import Item
    from tenor.ir.dtype import DType

__all__ = ["Expressions"]


class Expressions:
    """Writes the expressions of one kernel.

    Attributes:
        reads: The stored nodes read, and whether each only at the index being computed.
        values: The node behind each buffer of the kernel.
        bases: For each buffer the element its pointer points to: the first one it was asked for.
            So kernels that read other parts of a value are one kernel on other pointers.
    """

    def __init__(self, graph: Graph, stored: AbstractSet[Node], domain: Shape) -> None:
        self.graph = graph
        self.stored = stored
        self.domain = domain
        self.rank = len(domain)
        self.reads: dict[Node, bool] = {}
        self.values: list[Node] = []
        self.bases: dict[int, int] = {}
        self.buffers: dict[Node, int] = {}
        self.written: set[Node] = set()
        self.here: dict[Node, Expr] = {}
        self.memo: dict[Any, Expr] = {}

    def kernel(
        self, kind: str, dims: tuple[int, ...], items: Sequence[Item], inside: AbstractSet[Node]
    ) -> Kernel:
        """Return the kernel that computes these items; nodes `inside` are not stored."""
        stores: list[Store] = []
        reductions: list[tuple[str, Expr]] = []
        for item in items:
            self.domain, node = item.domain, item.node
            if node.op.family == "reduce":
                inner = self.value(item.source, identity(item.domain), ())
                reductions.append((node.op.name, inner))
                expr = self.expr("reduced", (), (len(reductions) - 1,), node.dtype)
                self.here[node] = expr
            elif item.source is node:
                expr = self.here[node] = self.compute(node)
            else:
                expr = self.value(item.source, identity(item.domain), ())
            if node not in inside:
                self.written.add(node)
                stores.append(Store(*self.place(node, item.affine), expr))
        buffers = [self._describe(number, node) for number, node in enumerate(self.values)]
        domain = items[0].domain if kind == "map" else self._widest(items)
        return Kernel(kind, domain, buffers, stores, dims, reductions)

    def _widest(self, items: Sequence[Item]) -> Shape:
        return next(item.domain for item in items if item.node.op.family == "reduce")

    def _describe(self, number: int, node: Node) -> Buffer:
        if node.op is ops.SCALAR:
            return Buffer(slot_dtype(node.dtype), 1)
        start = self.bases.get(number, 0)
        return Buffer(node.dtype, size(node.shape), node in self.written, start)

    def buffer(self, node: Node) -> int:
        """Return the number of the buffer that holds a node."""
        found = self.buffers.get(node)
        if found is None:
            found = self.buffers[node] = len(self.values)
            self.values.append(node)
        return found

    def place(self, node: Node, at: Affine) -> tuple[int, Affine]:
        """Return the number of a node's buffer, and an address from where its pointer points."""
        number = self.buffer(node)
        base = self.bases.setdefault(number, at.offset)
        return number, Affine(at.strides, at.offset - base) if base else at

    def expr(self, op: str, args: tuple[Expr, ...], attrs: tuple[Any, ...], dtype: DType) -> Expr:
        """Return the one expression of its kind."""
        return Expr(op, args, attrs, dtype)

    # -- reading ------------------------------------------------------------------------------
    def value(self, node: Node, coords: Coords, guards: tuple[Guard, ...]) -> Expr:
        """Return a node's element at `coords`, defined where the guards hold."""
        key = (node, coords, guards, self.domain if node in self.here else None)
        found = self.memo.get(key)
        if found is None:
            literal = node.op is ops.CONST  # wherever it is stored, `pow` shall know it
            if (node in self.stored and not literal) or node.op is ops.LEAF:
                found = self._load(node, coords, guards)
            else:
                found = self.compute(node, coords, guards)
            self.memo[key] = found
        return found

    def _load(self, node: Node, coords: Coords, guards: tuple[Guard, ...]) -> Expr:
        same = not guards and alike(node.shape, self.domain) and coords == identity(node.shape)
        self.reads[node] = self.reads.get(node, True) and same
        if same and node in self.here:
            return self.here[node]
        at = linear(coords, node.shape, self.rank)
        return self.expr("load", (), (*self.place(node, at), guards, ()), node.dtype)

    def compute(
        self, node: Node, coords: Coords | None = None, guards: tuple[Guard, ...] = ()
    ) -> Expr:
        """Return a node's element computed here, whether it is stored or not."""
        if coords is None:
            coords = identity(node.shape)
        if node.op.family == "elementwise":
            args = tuple(self.value(i, coords if i.shape else (), guards) for i in node.inputs)
            return self._elementwise(node, args)
        if node.op.family == "movement":
            return self._moved(node, coords, guards)
        if node.op.family == "index":
            return self._indexed(node, coords, guards)
        if node.op is ops.BARRIER:
            self.reads.update(dict.fromkeys(node.inputs[1:], False))
            return self.value(node.inputs[0], coords, guards)
        return self._source(node, coords)

    def _elementwise(self, node: Node, args: tuple[Expr, ...]) -> Expr:
        attrs = node.attrs
        if node.op is ops.WRAP_INDEX:
            attrs = (*attrs, self.graph.codes.get(node, 1))
        return self.expr(node.op.name, args, attrs, node.dtype)

    def _moved(self, node: Node, coords: Coords, guards: tuple[Guard, ...]) -> Expr:
        source = node.inputs[0]
        try:
            moved = push(node, coords, self.rank)
        except NotAffine:
            # Reshaping moves nothing in memory: the address is that of the result.
            found = self.flat(source, linear(coords, node.shape, self.rank), guards)
            if found is None:
                raise
            return found
        # What stands still is inside at every index, or at none.
        still = [g for g in moved.guards if not any(g.affine.strides)]
        turns = tuple(g for g in moved.guards if any(g.affine.strides))
        if any(not g.low <= g.affine.offset < g.high for g in still):
            return self.expr("const", (), (node.attrs[2],), node.dtype)
        inner = self.value(source, moved.coords, guards + turns)
        if not turns:
            return inner
        fill = self.expr("const", (), (node.attrs[2],), node.dtype)
        test = self.expr("inside", (), (turns,), dt.bool_)
        return self.expr("where", (test, inner, fill), (), node.dtype)

    def flat(self, node: Node, at: Affine, guards: tuple[Guard, ...]) -> Expr | None:
        """Return a node's element at a row-major address; None where only coordinates will do."""
        still = Affine((0,) * self.rank)
        if size(node.shape) == 1:  # a scalar meets every element, stored or not
            return self.value(node, (still,) * len(node.shape), guards)
        if node in self.stored or node.op is ops.LEAF:
            self.reads[node] = False
            return self.expr("load", (), (*self.place(node, at), guards, ()), node.dtype)
        if node.op is ops.RESHAPE or node.op is ops.BARRIER:
            self.reads.update(dict.fromkeys(node.inputs[1:], False))
            return self.flat(node.inputs[0], at, guards)
        if node.op is ops.EXPAND and size(node.inputs[0].shape) == 1:
            return self.value(node, (still,) * len(node.shape), guards)
        if node.op.family != "elementwise":
            return None
        key = ("flat", node, at, guards)
        found = self.memo.get(key)
        if found is None:
            args = [self.flat(i, at, guards) for i in node.inputs]
            if any(a is None for a in args):
                return None
            found = self.memo[key] = self._elementwise(node, tuple(a for a in args if a))
        return found

    def _indexed(self, node: Node, coords: Coords, guards: tuple[Guard, ...]) -> Expr:
        """Load at an index that is itself computed: `take` and `take_along`."""
        x, index = node.inputs
        dim = node.attrs[0]
        strides = strides_of(x.shape)
        still = Affine((0,) * self.rank)
        if node.op is ops.TAKE:
            count = len(index.shape)
            where = self.value(index, coords[dim : dim + count], guards)
            rest = (*coords[:dim], still, *coords[dim + count :])
        else:
            where = self.value(index, coords, guards)
            rest = (*coords[:dim], still, *coords[dim + 1 :])
        base = settle(x)
        self.reads[base] = False
        at = combine(rest, strides, self.rank)
        attrs = (*self.place(base, at), guards, (strides[dim],))
        return self.expr("load", (where,), attrs, node.dtype)

    def _source(self, node: Node, coords: Coords) -> Expr:
        if node.op is ops.CONST:
            return self.expr("const", (), (node.attrs[0],), node.dtype)
        if node.op is ops.SCALAR:
            return self.expr("scalar", (), (self.buffer(node),), node.dtype)
        if node.op is ops.IOTA:
            return self.expr("iota", (), (coords[0],), node.dtype)
        assert node.op is ops.RANDOM_BITS, f"{node.op.name} has to be stored"
        args = tuple(self.value(i, (), ()) for i in node.inputs)
        return self.expr("random", args, (linear(coords, node.shape, self.rank),), node.dtype)


def slot_dtype(dtype: DType) -> DType:
    """Return how a run-time number of a dtype is passed: float64 or int64."""
    return dt.float64 if dtype.kind == "float" else dt.int64
