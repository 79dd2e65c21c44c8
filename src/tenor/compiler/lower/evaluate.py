"""Expressions as instructions, each at the outermost loop it depends on.

A value is uniform (a scalar: the same in every lane) until it meets the vector dim; it is emitted
in the block of the innermost loop whose index it uses, so what does not change in a loop is
outside of it by construction.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.element import (
    COST,
    ELEMENT,
    cast,
    from_bits,
    quantized,
    register_type,
    rounded,
    to_bits,
)
from tenor.compiler.lower.formats import any_lane
from tenor.compiler.lower.math import philox
from tenor.compiler.lower.storage import LINE, ask_for, memory_type
from tenor.ir import dtype as dt
from tenor.ir.kernel import ordered
from tenor.ir.loops import Block, Function, Value, lanes, vector
from tenor.ir.symbolic import free, known

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.dtype import DType
    from tenor.ir.kernel import Affine, Expr, Guard, Kernel

__all__ = ["WORD", "Axis", "Evaluator", "expr_cost"]


@dataclass
class Axis:
    """A dim of the domain while loops are being written.

    Attributes:
        index: Its scalar index; for the vector dim, of lane 0.
        level: The loop level the index belongs to.
    """

    index: Value
    level: int


class Evaluator:
    """Writes expressions into a function.

    Attributes:
        axes: The dims of the domain, by number; a dim may be missing while it is not needed.
        vector_dim: The dim lanes run along, or -1.
        width: Lanes of a vector.
        mask: Valid lanes, or None for all.
        shift: Elements by which the vector dim's index is moved (unrolling).
        turned: Loads whose vectors stand in scratch, and at which element.
        apart: Operations that are functions of their own.
        even: Whether unmasked vectors begin at a multiple of the width.
        streams: Whether something was written past the caches.
        masks: Bytes of an element from which on a load of some lanes is an instruction.
        ahead: How many elements further on a run of a buffer is asked for, while one is loaded.
        asking: Whether what is worked out is only asked for.
    """

    def __init__(
        self, f: Function, kernel: Kernel, buffers: list[Value], scratch: Value, status: Value
    ) -> None:
        self.f = f
        self.kernel = kernel
        self.buffers = buffers
        self.scratch = scratch
        self.status = status
        self.axes: dict[int, Axis] = {}
        self.vector_dim = -1
        self.width = 1
        self.mask: Value | None = None
        self.shift = 0
        self.reduced: list[Value] = []
        self.turned: dict[Expr, Value] = {}
        self.blocks: list[Block] = [f.block]
        self.memo: list[dict[object, Value]] = [{}]
        self.levels: dict[int, int] = {}
        self.apart = often_used(kernel)
        self.depths: dict[Expr, int] = {}
        self.even = False
        self.streams = False
        self.masks = WORD
        self.ahead: Callable[[int, Affine], int] | None = None
        self.asking = False

    # -- levels -------------------------------------------------------------------------------
    def enter(self, level: int) -> None:
        """Begin a new block at a level; what was known there and deeper is forgotten."""
        del self.blocks[level:], self.memo[level:]
        self.depths = {}
        self.blocks.append(self.f.block)
        self.memo.append({})

    def level(self, dims: list[int]) -> int:
        """Return the level at which these dims' indices are known."""
        return max((self.axes[d].level for d in dims), default=0)

    def refresh(self) -> None:
        """Forget the values of the innermost level (another unrolled step begins)."""
        self.memo[-1] = {}

    # -- affine -------------------------------------------------------------------------------
    def affine(self, affine: Affine, *, skip: int = -1) -> Value:
        """Return an affine as a scalar, the dim `skip` left out."""
        total: Value = Value("i64", const=affine.offset)
        dims = [d for d, s in enumerate(affine.strides) if s and d != skip]
        for d in sorted(dims, key=lambda d: self.axes[d].level):
            axis = self.axes[d]
            at = self._at(max(axis.level, self._level_of(total)))
            key = ("affine", d, affine.strides[d], total.const, total.number)
            memo = self.memo[at]
            found = memo.get(key)
            if found is None:
                with self.f.into(self.blocks[at]):
                    found = self.f.add(total, self.f.mul(axis.index, affine.strides[d]))
                memo[key] = found
                self.levels[found.number] = at
            total = found
        return total

    def _level_of(self, value: Value) -> int:
        return 0 if value.const is not None else self.levels.get(value.number, 0)

    def _at(self, level: int) -> int:
        return min(level, len(self.blocks) - 1)

    def lanes_of(self, affine: Affine) -> Value:
        """Return an affine with a value for each lane."""
        f, stride = self.f, affine.strides[self.vector_dim]
        base = self.affine(affine, skip=self.vector_dim)
        index = f.add(self.axes[self.vector_dim].index, self.shift)
        first = f.add(base, f.mul(index, stride))
        kind = vector("i64", self.width)
        steps = f.iota(kind) if stride == 1 else f.mul(f.iota(kind), stride)
        return f.add(f.splat(first, self.width), steps)

    def _varies(self, affine: Affine) -> bool:
        return self.vector_dim >= 0 and affine.strides[self.vector_dim] != 0

    # -- expressions ----------------------------------------------------------------------------
    def value(self, expr: Expr) -> Value:
        """Return an expression's value; a vector where it varies along the vector dim."""
        known = ChainMap(*self.memo)
        for part in ordered([expr], known):
            self._make(part, [known[a] for a in part.args])
        return known[expr]

    def _make(self, expr: Expr, args: list[Value]) -> None:
        """Compute an expression of values that are known, as far out as it can be."""
        inner = any(lanes(a.type) > 1 for a in args) or self._is_vector(expr)
        level = max(self._expr_level(expr), len(self.blocks) - 1 if inner else 0)
        level = self._at(level)
        with self.f.into(self.blocks[level]):
            self.memo[level][expr] = self._compute(expr, args)

    def _expr_level(self, root: Expr) -> int:
        for expr in ordered([root], self.depths):
            level = max((self.depths[a] for a in expr.args), default=0)
            for affine in self.affines(expr):
                level = max(level, self.level([d for d, s in enumerate(affine.strides) if s]))
            if expr.op == "reduced":
                level = len(self.blocks) - 1
            self.depths[expr] = level
        return self.depths[root]

    def affines(self, expr: Expr) -> list[Affine]:
        """Return the affines an expression itself is of."""
        if expr.op == "load":
            return [expr.attrs[1], *(g.affine for g in expr.attrs[2])]
        if expr.op in ("iota", "random"):
            return [expr.attrs[0]]
        if expr.op == "inside":
            return [g.affine for g in expr.attrs[0]]
        return []

    def _is_vector(self, expr: Expr) -> bool:
        return self.width > 1 and any(self._varies(a) for a in self.affines(expr))

    def _compute(self, expr: Expr, args: list[Value]) -> Value:
        self.f.wide |= any(d.itemsize == 8 and d.kind in ("int", "uint")
                           for d in (expr.dtype, *(a.dtype for a in expr.args)))  # fmt: skip
        special = getattr(self, f"_op_{expr.op}", None)
        if special is not None:
            return special(expr, args)  # type: ignore[no-any-return]
        args = self._alike(args)
        operand = expr.args[-1].dtype
        if expr.op in self.apart and all(a.const is None for a in args):
            made = self.f.apply(self._function(expr.op, args, operand), args)
        else:
            made = ELEMENT[expr.op](self.f, args, operand)
        return rounded(self.f, made, expr.dtype)

    def _function(self, op: str, args: list[Value], operand: DType) -> Function:
        """Return the function that applies an operation to registers of these types."""
        types = [a.type for a in args]
        name = ".".join([op, operand.name, *types])
        found = self.f.callees.get(name)
        if found is None:
            found = Function(name, [(f"x{i}", t) for i, t in enumerate(types)])
            found.wide = self.f.wide
            found.result = ELEMENT[op](found, found.params, operand)
        return found

    def _alike(self, args: list[Value]) -> list[Value]:
        """Splat uniform operands that meet vectors."""
        count = max((lanes(a.type) for a in args), default=1)
        return [self.f.splat(a, count) if lanes(a.type) < count else a for a in args]

    def _op_cast(self, expr: Expr, args: list[Value]) -> Value:
        return cast(self.f, args[0], expr.args[0].dtype, expr.dtype)

    def _op_quantize(self, expr: Expr, args: list[Value]) -> Value:
        return quantized(self.f, args[0], *expr.attrs)

    def _op_const(self, expr: Expr, _args: list[Value]) -> Value:
        value = expr.attrs[0]
        if expr.dtype in (dt.float16, dt.bfloat16):
            return rounded(self.f, Value("f32", const=value), expr.dtype)
        if expr.dtype.kind == "bool":
            value = bool(value)
        return Value(register_type(expr.dtype), const=value)

    def _op_scalar(self, expr: Expr, _args: list[Value]) -> Value:
        source = dt.float64 if expr.dtype.kind == "float" else dt.int64
        raw = self.f.load(memory_type(source), self.buffers[expr.attrs[0]])
        return cast(self.f, raw, source, expr.dtype)

    def _op_reduced(self, expr: Expr, _args: list[Value]) -> Value:
        found: Value = self.reduced[expr.attrs[0]]
        return found

    def _op_iota(self, expr: Expr, _args: list[Value]) -> Value:
        return cast(self.f, self._index(expr.attrs[0]), dt.int64, expr.dtype)

    def _index(self, affine: Affine) -> Value:
        wide = self.width > 1 and self._varies(affine)
        return self.lanes_of(affine) if wide else self._scalar_index(affine)

    def _scalar_index(self, affine: Affine) -> Value:
        value = self.affine(affine)
        if self._varies(affine) and self.shift:
            value = self.f.add(value, self.shift * affine.strides[self.vector_dim])
        return value

    def _op_random(self, expr: Expr, args: list[Value]) -> Value:
        """Word i % 4 of block i // 4."""
        f = self.f
        at = self._index(expr.attrs[0])
        seed, offset = args
        counter = f.add(f.op("lshr", at, 2), f.splat(offset, lanes(at.type)))
        words = philox(f, seed, counter)
        which = f.op("and", at, 3)
        chosen = words[0]
        for k in (1, 2, 3):
            chosen = f.select(f.compare("eq", which, k), words[k], chosen)
        return chosen

    def _op_wrap_index(self, expr: Expr, args: list[Value]) -> Value:
        """Count an "index" from the end where negative; note one out of range and give 0 for it."""
        f, x = self.f, args[0]
        extent, what, code = expr.attrs
        kind = x.type
        moved = x
        if what == "index":
            moved = f.select(f.compare("slt", x, 0), f.add(x, extent), x)
        good = f.compare("ult", moved, extent)
        if self.asking:  # whether it is in range is said when it is read
            return f.select(good, moved, f.const(0, kind))
        bad = f.op("xor", good, 1)
        if self.mask is not None and lanes(kind) > 1:
            bad = f.op("and", bad, self.mask)
        if lanes(kind) == 1:
            f.if_(bad, lambda: self._report(code, x))
        else:
            f.if_(any_lane(f, bad), lambda: self._report_lanes(code, x, bad))
        return f.select(good, moved, f.const(0, kind))

    def _report_lanes(self, code: int, x: Value, bad: Value) -> None:
        f = self.f

        def lane(i: Value, _: object) -> None:
            f.if_(f.extract(bad, i), lambda: self._report(code, f.extract(x, i)))

        f.loop(0, lanes(x.type), 1, lane)

    def _report(self, code: int, at: Value) -> None:
        self.f.store(at, self.status, 1)
        self.f.store(Value("i64", const=code), self.status, 0)

    # -- guards and loads -----------------------------------------------------------------------
    def _op_inside(self, expr: Expr, _args: list[Value]) -> Value:
        return self._holds(expr.attrs[0])

    def _holds(self, guards: tuple[Guard, ...]) -> Value:
        f = self.f
        tests = []
        for guard in guards:
            at = self._index(guard.affine)
            if guard.low != 0:
                at = f.sub(at, guard.low)
            tests.append(f.compare("ult", at, guard.high - guard.low))
        tests = self._alike(tests)
        whole = tests[0]
        for test in tests[1:]:
            whole = f.op("and", whole, test)
        return whole

    def _op_load(self, expr: Expr, args: list[Value]) -> Value:
        number, affine, guards, strides = expr.attrs
        dtype = expr.dtype
        if expr in self.turned:
            kind = vector(memory_type(dtype), self.width)
            return from_bits(self.f, dtype, self.f.load(kind, self.scratch, self.turned[expr]))
        vary = any(lanes(a.type) > 1 for a in args)
        wide = self.width > 1 and (vary or self._varies(affine) or any(
            self._varies(g.affine) for g in guards))  # fmt: skip
        count = self.width if wide else 1
        if self.kernel.buffers[number].size == 0:
            return f_zero(register_type(dtype, count))
        mask = self._holds(guards) if guards else None
        pointer = self.buffers[number]
        if not wide:
            return self._load_one(dtype, pointer, affine, args, strides, mask)
        if self.mask is not None:
            mask = self.mask if mask is None else self.f.op("and", *self._alike([mask, self.mask]))
        if mask is not None and lanes(mask.type) == 1:
            mask = self.f.splat(mask, count)
        if not vary and abs(affine.strides[self.vector_dim]) == 1:
            return self._load_run(expr, args, mask)
        steps = not vary and affine.strides[self.vector_dim] in STEPS
        if steps and (mask is None or dtype.itemsize >= self.masks):
            return self._load_steps(dtype, pointer, affine, args, strides, mask)
        if not vary and mask is None and isinstance(affine.strides[self.vector_dim], int):
            return self._load_apart(dtype, pointer, affine, args, strides)
        return self._load_lanes(dtype, pointer, affine, args, strides, mask)

    def _load_one(
        self, dtype: DType, pointer: Value, affine: Affine, args: list[Value],
        strides: tuple[int, ...], mask: Value | None,
    ) -> Value:  # fmt: skip
        f = self.f
        at = self._scalar_index(affine)
        for arg, stride in zip(args, strides, strict=True):
            at = f.add(at, f.mul(arg, stride))
        if mask is not None:
            at = f.select(mask, at, f.const(0, "i64"))
        got = from_bits(f, dtype, f.load(memory_type(dtype), pointer, at))
        return got if mask is None else f.select(mask, got, f_zero(got.type))

    def _load_run(self, expr: Expr, args: list[Value], mask: Value | None) -> Value:
        """Load adjacent elements as one vector, read backwards where the stride is -1."""
        f, dtype = self.f, expr.dtype
        number, affine, _, strides = expr.attrs
        pointer = self.buffers[number]
        at = self.affine(affine, skip=self.vector_dim)
        for arg, stride in zip(args, strides, strict=True):
            at = f.add(at, f.mul(arg, stride))
        base = f.gep(pointer, at, memory_type(dtype))
        index = f.add(self.axes[self.vector_dim].index, self.shift)
        kind = vector(memory_type(dtype), self.width)
        far = self.ahead(number, affine) if self.ahead and self.mask is None and not args else 0
        if free(far) or far:
            for line in range(0, self.width, max(1, LINE // dtype.itemsize)):
                f.prefetch(base, f.add(index, far + line), memory_type(dtype))
        if affine.strides[self.vector_dim] == 1:
            return from_bits(f, dtype, f.load(kind, base, index, mask=mask))
        backwards = range(self.width - 1, -1, -1)
        if mask is not None:
            mask = f.shuffle(mask, mask, backwards)
        raw = f.load(kind, base, f.sub(1 - self.width, index), mask=mask)
        return from_bits(f, dtype, f.shuffle(raw, raw, backwards))

    def ask(self, expr: Expr, n: int) -> None:
        """Ask for a row of n that is read at indices of its own."""
        f, dtype = self.f, expr.dtype
        number, affine, _, strides = expr.attrs
        self.asking = True
        at = self.affine(affine, skip=len(affine.strides) - 1)
        for arg, stride in zip(expr.args, strides, strict=True):
            at = f.add(at, f.mul(self.value(arg), stride))
        self.asking = False
        ask_for(f, dtype, self.buffers[number], at, n)

    def _between(self, kind: str, base: Value, step: int) -> Value:
        """Load elements a few apart, with what lies between the first and the last."""
        f, width = self.f, self.width
        last = (width - 1) * step + 1 - width
        raw = f_zero(kind)
        for start in (*range(0, last, width), last):
            piece = f.load(kind, base, start)
            raw = f.shuffle(raw, piece, [
                width + n * step - start if 0 <= n * step - start < width else n
                for n in range(width)
            ])  # fmt: skip
        return raw

    def _load_steps(
        self, dtype: DType, pointer: Value, affine: Affine, args: list[Value],
        strides: tuple[int, ...], mask: Value | None,
    ) -> Value:  # fmt: skip
        """Load elements a few apart as whole vectors, of which what lies between is masked off."""
        f, width, step = self.f, self.width, known(affine.strides[self.vector_dim])
        at = self.affine(affine, skip=self.vector_dim)
        for arg, stride in zip(args, strides, strict=True):
            at = f.add(at, f.mul(arg, stride))
        index = f.add(self.axes[self.vector_dim].index, self.shift)
        base = f.gep(pointer, f.add(at, f.mul(index, step)), memory_type(dtype))
        kind = vector(memory_type(dtype), width)
        if mask is None and dtype.itemsize < max(WORD, self.masks):
            return from_bits(f, dtype, self._between(kind, base, step))
        lane = f.iota(vector("i32", width))
        raw = f_zero(kind)
        for part in range(step):
            # Element `place` of this vector is lane `place // step`'s where the step divides it.
            places = range(part * width, part * width + width)
            wanted = f.compare("eq", f.op("urem", f.add(lane, part * width), step), 0)
            if mask is not None:
                wanted = f.op("and", wanted, f.shuffle(mask, mask, [p // step for p in places]))
            piece = f.load(kind, base, part * width, mask=wanted)
            order = [width + n * step - places[0] if n * step in places else n
                     for n in range(width)]  # fmt: skip
            raw = f.shuffle(raw, piece, order)
        return from_bits(f, dtype, raw)

    def _load_apart(
        self, dtype: DType, pointer: Value, affine: Affine, args: list[Value],
        strides: tuple[int, ...],
    ) -> Value:  # fmt: skip
        """Load elements far apart one by one, each so many bytes behind the first."""
        f, step = self.f, affine.strides[self.vector_dim]
        at = self.affine(affine, skip=self.vector_dim)
        for arg, stride in zip(args, strides, strict=True):
            at = f.add(at, f.mul(arg, stride))
        index = f.add(self.axes[self.vector_dim].index, self.shift)
        base = f.gep(pointer, f.add(at, f.mul(index, step)), memory_type(dtype))
        raw = f_zero(vector(memory_type(dtype), self.width))
        for lane in range(self.width):
            one = f.load(memory_type(dtype), base, lane * step)
            raw = f.insert(raw, lane, one)
        return from_bits(f, dtype, raw)

    def _load_lanes(
        self, dtype: DType, pointer: Value, affine: Affine, args: list[Value],
        strides: tuple[int, ...], mask: Value | None,
    ) -> Value:  # fmt: skip
        """Load elements one by one; lanes masked off read element 0, which exists."""
        f, count = self.f, self.width
        at = self.lanes_of(affine)
        for arg, stride in zip(args, strides, strict=True):
            at = f.add(at, self._alike([f.mul(arg, stride), at])[0])
        if mask is not None:
            at = f.select(mask, at, f.const(0, at.type))
        raw = f_zero(vector(memory_type(dtype), count))
        for lane in range(count):
            one = f.load(memory_type(dtype), pointer, f.extract(at, lane))
            raw = f.insert(raw, lane, one)
        got = from_bits(f, dtype, raw)
        return got if mask is None else f.select(mask, got, f_zero(got.type))

    # -- stores ---------------------------------------------------------------------------------
    def store(self, number: int, affine: Affine, expr: Expr) -> None:
        """Store an expression at an affine of the domain."""
        self.put(number, affine, expr.dtype, self.value(expr))

    def put(self, number: int, affine: Affine, dtype: DType, value: Value) -> None:
        """Store a value that is known at an affine of the domain."""
        f = self.f
        pointer = self.buffers[number]
        wide = self.width > 1 and self._varies(affine)
        if not wide:
            f.store(to_bits(f, dtype, value), pointer, self._scalar_index(affine))
            return
        value = f.splat(value, self.width) if lanes(value.type) == 1 else value
        raw = to_bits(f, dtype, value)
        if affine.strides[self.vector_dim] == 1:
            base = f.gep(pointer, self.affine(affine, skip=self.vector_dim), memory_type(dtype))
            index = f.add(self.axes[self.vector_dim].index, self.shift)
            line = self._line(number, affine)
            f.store(raw, base, index, mask=self.mask, align=line, stream=bool(line))
            self.streams |= bool(line)
            return
        at = self.lanes_of(affine)
        for lane in range(self.width):
            one, where = f.extract(raw, lane), f.extract(at, lane)
            if self.mask is None:
                f.store(one, pointer, where)
            else:
                f.if_(f.extract(self.mask, lane), partial(f.store, one, pointer, where))

    def _line(self, number: int, affine: Affine) -> int:
        """Return the alignment of a vector that is to be written past the caches, or 0."""
        buffer = self.kernel.buffers[number]
        if not (buffer.streamed and self.even and self.mask is None):
            return 0
        whole = min(LINE, self.width * buffer.dtype.itemsize)
        steps = [s for d, s in enumerate(affine.strides) if d != self.vector_dim]
        uneven = any(s * buffer.dtype.itemsize % whole for s in (*steps, affine.offset))
        return 0 if uneven or whole < LEAST else whole


LEAST: Final = 16
"""Bytes a vector has at least to be written past the caches."""


def f_zero(type_: str) -> Value:
    """Return a zero of a type."""
    return Value(type_, const=0)


STEPS: Final = (2, 3, 4)
"""Distances between elements at which loading what lies between is the faster way."""
WORD: Final = 4
"""Bytes of an element of which every vector machine loads some lanes by an instruction."""
LONG: Final = 40
"""Instructions of all uses of an operation together from which on it is a function of its own."""


def often_used(kernel: Kernel) -> frozenset[str]:
    """Return the operations that written out at each use would be most of a kernel's code."""
    uses = Counter(e.op for e in kernel.expressions() if COST.get(e.op, 0) > 10)
    return frozenset(op for op, n in uses.items() if op in ELEMENT and n * COST[op] >= LONG)


def expr_cost(expr: Expr, seen: set[Expr]) -> int:
    """Return roughly how many instructions an element of an expression takes."""
    cost = 0
    for part in ordered([expr], seen):
        seen.add(part)
        cost += COST.get(part.op, 1 if part.op in ("load", "cast") else 0)
    return cost
