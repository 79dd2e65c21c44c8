"""Random graphs: legal by construction, and either exact everywhere or of any operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.build import GraphBuilder
from tenor.ir.node import Graph, Node, size
from tests.ops.differential import Leaf, between, numbers, small

DTYPES = (dt.float32, dt.float32, dt.float32, dt.float64, dt.float16, dt.bfloat16, dt.int64,
          dt.int32, dt.uint8, dt.int16, dt.bool_)  # fmt: skip
DRAWS = (small, small, numbers)
SMALL = 600
EXTENTS = (1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 33)
ROUGH = ["exp", "expm1", "log", "log1p", "rsqrt", "sin", "cos", "tanh", "erf", "sigmoid"]
SMOOTH = ["neg", "abs", "sqrt", "floor", "ceil", "trunc", "round"]


class Maker:
    """Grows a graph one operation at a time.

    Args:
        seed: Names the graph.
        exact: Whether every result is the same in any order of evaluation: sums are of small
            whole numbers, zeros have no sign where it would show, no transcendental functions.
        limit: Elements a value has at most.
        extents: What dims are drawn from.
    """

    def __init__(
        self, seed: int, *, exact: bool, limit: int = SMALL, extents: Any = EXTENTS
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.exact = exact
        self.limit = limit
        self.extents = extents
        self.b = GraphBuilder()
        self.leaves: list[Leaf] = []
        self.scalars: list[tuple[dt.DType, Any]] = []
        self.pool: list[Node] = []
        self.rows = [getattr(self, name) for name in dir(self) if name.startswith("_op_")]
        self.rows += (
            5 * [self._op_binary] + 4 * [self._op_unary] + 3 * [self._op_normalise, self._op_reduce]
        )

    def graph(self, count: int) -> Graph:
        """Return a graph of about `count` operations."""
        for _ in range(self.rng.integers(1, 4)):
            self.pool.append(self.leaf(self.shape(), self.pick(DTYPES), self.pick(DRAWS)))
        if self.rng.random() < 0.3:
            self.pool.append(self.leaf((0, 3), dt.float32, numbers))
        before = len(self.b.nodes)
        while len(self.b.nodes) - before < count:
            recent = self.pool[-3:] if self.rng.random() < 0.6 else self.pool
            made = self.pick(self.rows)(self.pick(recent))
            if made is not None and size(made.shape) <= self.limit:
                self.pool.append(made)
        outputs = [self.pool[-1]]
        outputs += [n for n in self.pool[:-1] if self.rng.random() < 0.25]
        return self.b.graph(*outputs)

    # -- drawing ------------------------------------------------------------------------------
    def pick(self, items: Any) -> Any:
        return items[self.rng.integers(len(items))]

    def shape(self) -> tuple[int, ...]:
        while True:
            made = tuple(int(self.pick(self.extents)) for _ in range(self.rng.integers(0, 4)))
            if size(made) <= self.limit:
                return made

    def leaf(self, shape: Any, dtype: dt.DType, draw: Any) -> Node:
        self.leaves.append(Leaf(tuple(shape), dtype, draw))
        return self.b.leaf(tuple(shape), dtype)

    def const(self, value: float, dtype: dt.DType) -> Node:
        return self.b.const(value, dtype)

    def like(self, x: Node, shape: Any = None) -> Node:
        """Return an operand of x's dtype and of a shape (x's own), old or new."""
        shape = x.shape if shape is None else tuple(shape)
        fits = [n for n in self.pool if n.dtype is x.dtype and n.shape == shape]
        if fits and self.rng.random() < 0.7:
            return self.pick(fits)
        wider = [n for n in self.pool if n.dtype is x.dtype and self.spreads(n.shape, shape)]
        if wider and self.rng.random() < 0.7:
            return self.b.expand(self.pick(wider), shape)
        if len(self.leaves) > 8:
            return self.b.expand(self.number(x.dtype), shape)
        return self.leaf(shape, x.dtype, self.pick(DRAWS))

    def spreads(self, source: Any, shape: Any) -> bool:
        if len(source) > len(shape):
            return False
        tail = shape[len(shape) - len(source) :]
        return all(a in (1, b) for a, b in zip(source, tail, strict=True))

    def number(self, dtype: dt.DType) -> Node:
        """Return a literal or a run-time number."""
        value = {"float": 0.75, "int": 3, "uint": 2, "bool": True}[dtype.kind]
        if self.rng.random() < 0.5:
            return self.const(self.pick([value, 0, 1]), dtype)
        self.scalars.append((dtype, value))
        return self.b.scalar(dtype)

    def dim(self, x: Node) -> int | None:
        return int(self.rng.integers(len(x.shape))) if x.shape else None

    # -- keeping results exact ----------------------------------------------------------------
    def signless(self, x: Node) -> Node:
        """Return x with +0 for -0."""
        return (
            self.b.add(x, self.const(0, x.dtype)) if self.exact and x.dtype.kind == "float" else x
        )

    def tame(self, x: Node, most: int = 4) -> Node:
        """Return whole numbers of at most that size, whose sums are exact."""
        if x.dtype.kind != "float" or not self.exact:
            return x
        b, low, high = self.b, self.const(-most, x.dtype), self.const(most, x.dtype)
        whole = b.emit(ops.TRUNC, (x,))
        return self.signless(b.emit(ops.MINIMUM, (b.emit(ops.MAXIMUM, (whole, low)), high)))

    def index(self, shape: Any, extent: int) -> Node | None:
        """Return indices into a dim, as a program has them: checked."""
        if extent == 0:
            return None
        raw = self.leaf(shape, dt.int64, between(-extent, extent))
        return self.b.emit(ops.WRAP_INDEX, (raw,), (extent, "index"))

    # -- operations: each returns a node or None ------------------------------------------------
    def _op_unary(self, x: Node) -> Node | None:
        b = self.b
        if x.dtype.kind == "bool":
            return b.logical_not(x)
        if x.dtype.kind != "float":
            return b.emit(ops.OPS[self.pick(["neg", "abs", "sign", "not"])], (x,))
        names = SMOOTH if self.exact else SMOOTH + ROUGH
        return b.emit(ops.OPS[self.pick(names)], (x,))

    def _op_binary(self, x: Node) -> Node | None:
        y = self.like(x) if self.rng.random() < 0.8 else self.number(x.dtype)
        kind = x.dtype.kind
        names = {
            "float": ["add", "sub", "mul", "div", "maximum", "minimum"],
            "int": ["add", "sub", "mul", "and", "xor", "maximum", "floordiv"],
            "bool": ["and", "or", "xor"],
        }
        names["uint"] = names["int"]
        name = self.pick(
            names[kind] if self.exact or kind != "float" else [*names[kind], "pow", "mod"]
        )
        if name in ("maximum", "minimum"):
            x, y = self.signless(x), self.signless(y)
        pair = (x, y) if self.rng.random() < 0.5 else (y, x)
        return self.b.emit(ops.OPS[name], pair)

    def _op_compare(self, x: Node) -> Node | None:
        return self.b.emit(ops.OPS[self.pick(["eq", "ne", "lt", "le"])], (x, self.like(x)))

    def _op_where(self, x: Node) -> Node | None:
        flags = [n for n in self.pool if n.dtype is dt.bool_ and n.shape in (x.shape, ())]
        condition = self.pick(flags) if flags else self.b.le(x, self.like(x))
        return self.b.where(condition, x, self.like(x))

    def _op_cast(self, x: Node) -> Node | None:
        b, target = self.b, self.pick(DTYPES)
        if x.dtype.kind == "float" and target.kind in ("int", "uint"):
            known = b.where(b.eq(x, x), x, b.const(1, x.dtype))  # no NaN
            low, high = b.const(0, x.dtype), b.const(100, x.dtype)
            x = b.emit(ops.MINIMUM, (b.emit(ops.MAXIMUM, (known, low)), high))
        return b.cast(x, target)

    def _op_reduce(self, x: Node) -> Node | None:
        if not x.shape:
            return None
        dims = tuple(d for d in range(len(x.shape)) if self.rng.random() < 0.6) or (0,)
        name = self.pick(["sum", "sum", "prod", "max", "min"])
        if name in ("max", "min"):
            if any(x.shape[d] == 0 for d in dims):
                return None
            return self.b.emit(ops.OPS[name], (self.signless(x),), (dims, "even"))
        return self.b.emit(ops.OPS[name], (self.tame(x, 4 if name == "sum" else 1),), (dims,))

    def _op_normalise(self, x: Node) -> Node | None:
        """Combine x with its own reduction, as softmax and norms do."""
        if not x.shape or size(x.shape) == 0:
            return None
        y = self._op_reduce(x)
        if y is None or y.dtype is not x.dtype:
            return None
        spread = self.b.expand(y, x.shape)
        return (
            self.b.emit(ops.XOR, (x, spread)) if x.dtype.kind == "bool" else self.b.sub(x, spread)
        )

    def _op_twins(self, x: Node) -> Node | None:
        """Reduce one tensor in two dtypes: what might share a kernel."""
        if x.dtype.kind != "float" or not x.shape:
            return None
        x = self.tame(x)
        dims = (len(x.shape) - 1,)
        self.pool.append(self.b.sum(self.b.cast(x, self.pick((dt.float64, dt.float32))), dims))
        return self.b.sum(x, dims)

    def _op_position(self, x: Node) -> Node | None:
        dim = self.dim(x)
        if dim is None or x.shape[dim] == 0:
            return None
        return self.b.emit(self.pick([ops.ARGMAX, ops.ARGMIN]), (x,), (dim,))

    def _op_reshape(self, x: Node) -> Node | None:
        n = size(x.shape)
        factors = [d for d in range(1, min(n, 64) + 1) if n % d == 0] or [0]
        a = int(self.pick(factors))
        return self.b.reshape(x, (a, n // a)) if a else self.b.reshape(x, (0,))

    def _op_flatten(self, x: Node) -> Node | None:
        return self.b.reshape(x, (size(x.shape),))

    def _op_permute(self, x: Node) -> Node | None:
        return self.b.permute(x, tuple(int(d) for d in self.rng.permutation(len(x.shape))))

    def _op_expand(self, x: Node) -> Node | None:
        shape = tuple(int(self.pick(self.extents)) if n == 1 else n for n in x.shape)
        if self.rng.random() < 0.4:
            shape = (int(self.pick((1, 2, 3))), *shape)
        return self.b.expand(x, shape) if size(shape) <= self.limit else None

    def _op_slice(self, x: Node) -> Node | None:
        starts, sizes, steps = self.window(x.shape)
        return self.b.slice(x, starts, sizes, steps)

    def window(self, shape: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return starts, sizes and steps of a part of a shape."""
        starts, sizes, steps = [], [], []
        for n in shape:
            step = int(self.pick([1, 1, 2, -1, -2]))
            count = int(self.rng.integers(0, (n + abs(step) - 1) // abs(step) + 1)) if n else 0
            span = max(0, count - 1) * abs(step)
            first = int(self.rng.integers(0, n - span)) if n else 0
            starts.append(first + span if step < 0 else first)
            sizes.append(count)
            steps.append(step)
        return tuple(starts), tuple(sizes), tuple(steps)

    def _op_pad(self, x: Node) -> Node | None:
        low, high = ([int(self.pick([0, 0, 1, 3])) for _ in x.shape] for _ in "ab")
        return self.b.pad(x, low, high, {"float": 0.5, "bool": True}.get(x.dtype.kind, 1))

    def _op_pieces(self, x: Node) -> Node | None:
        """Add padded pieces up, as the gradients of slices do."""
        dim = self.dim(x)
        if dim is None:
            return None
        zero = {"float": 0.0, "bool": False}.get(x.dtype.kind, 0)
        y, gap = self.like(x), int(self.pick([-1, 0, 1]))
        low, high = (
            [k if d == dim else 0 for d in range(len(x.shape))] for k in (0, x.shape[dim] + gap)
        )
        if min(high, default=0) < 0:
            return None
        return self.b.add(self.b.pad(x, low, high, zero), self.b.pad(y, high, low, zero))

    def _op_concat(self, x: Node) -> Node | None:
        dim = self.dim(x)
        if dim is None:
            return None

        def others(n: Node) -> Any:
            return n.dtype, len(n.shape), n.shape[:dim], n.shape[dim + 1 :]

        rest = [n for n in self.pool if others(n) == others(x)]
        return self.b.emit(ops.CONCAT, (x, self.pick(rest), x)[: int(self.pick([2, 3]))], (dim,))

    def _op_update(self, x: Node) -> Node | None:
        starts, sizes, steps = self.window(x.shape)
        value = self.like(x, sizes) if x.shape else self.like(x)
        return self.b.slice_update(x, value, starts, steps)

    def _op_take(self, x: Node) -> Node | None:
        dim = self.dim(x)
        index = None if dim is None else self.index(self.pick([(), (3,), (2, 5)]), x.shape[dim])
        return None if index is None else self.b.take(x, index, dim)

    def _op_take_along(self, x: Node) -> Node | None:
        dim = self.dim(x)
        if dim is None:
            return None
        shape = (*x.shape[:dim], int(self.pick(self.extents)), *x.shape[dim + 1 :])
        index = self.index(shape, x.shape[dim])
        return None if index is None else self.b.take_along(x, index, dim)

    def _op_put(self, x: Node) -> Node | None:
        dim = self.dim(x)
        index = None if dim is None else self.index((4,), x.shape[dim])
        if index is None:
            return None
        mode = self.pick(["set", "add"])
        if self.rng.random() < 0.4:
            x = self.b.full(x.shape, 1, x.dtype)
        source = self.like(x, (*x.shape[:dim], 4, *x.shape[dim + 1 :]))
        if mode == "add":
            x, source = self.tame(x), self.tame(source)
        return self.b.put(x, index, source, dim, mode)

    def _op_cumsum(self, x: Node) -> Node | None:
        dim = self.dim(x)
        return (
            None
            if dim is None
            else self.b.cumsum(self.tame(x), dim, reverse=bool(self.pick([0, 1])))
        )

    def _op_sort(self, x: Node) -> Node | None:
        dim = self.dim(x)
        if dim is None:
            return None
        order = self.b.emit(ops.ARGSORT, (x,), (dim, bool(self.pick([0, 1]))))
        return self.pick([order, self.b.take_along(x, order, dim)])

    def _op_matmul(self, x: Node) -> Node | None:
        if len(x.shape) < 2 or x.dtype.kind == "bool":
            return None
        y = self.like(x, (*x.shape[:-2], x.shape[-1], int(self.pick(self.extents))))
        product = self.b.matmul(self.tame(x), self.tame(y))
        return self.b.transpose(product) if self.rng.random() < 0.4 else product

    def _op_windows(self, x: Node) -> Node | None:
        dim = self.dim(x)
        if dim is None or x.shape[dim] < 3:
            return None
        step, dilation = int(self.pick([1, 2])), int(self.pick([1, 2]))
        made = self.b.unfold(x, dim, 2, step, dilation)
        if made.shape[dim] == 0 or self.rng.random() < 0.5:
            return made
        return self.b.fold(self.tame(made), dim, x.shape[dim], step, dilation)

    def _op_constant(self, x: Node) -> Node | None:
        if self.rng.random() < 0.5:
            return self.b.iota(int(self.pick(self.extents)), self.pick((dt.float32, dt.int64)))
        words = self.b.emit(
            ops.RANDOM_BITS, (self.b.const(7, dt.int64), self.b.const(3, dt.int64)), ((5, 7),)
        )
        return self.b.cast(words, dt.int64)

    def _op_tape(self, x: Node) -> Node | None:
        return self.b.emit(self.pick([ops.BARRIER, ops.DETACH]), (x,))
