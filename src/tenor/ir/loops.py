"""The loop-level IR: typed SSA values in structured control flow, the same for every target.

`lower` builds a `Function` for each kernel with this module; `emit` prints it in a target's
language. Types are strings: "f32", "f64", "f16", "bf16", "i1", "i8", "i16", "i32", "i64", "ptr",
and vectors as "f32x8". Integers carry no sign; the operation does ("sdiv", "udiv").
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tenor.ir.symbolic import Sym

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tenor.ir.target import Target

__all__ = ["Block", "Function", "Instr", "Value", "element", "lanes", "vector"]


@functools.cache
def vector(elem: str, count: int) -> str:
    """Return the vector type of `count` lanes, or the scalar type for one lane."""
    return elem if count == 1 else f"{elem}x{count}"


@functools.cache
def element(type_: str) -> str:
    """Return the scalar type of a scalar or vector type."""
    return type_.partition("x")[0]


@functools.cache
def lanes(type_: str) -> int:
    """Return the number of lanes; 1 for a scalar type."""
    return int(type_.partition("x")[2] or 1)


class Value:
    """An SSA value: a type and a number, or a literal (`const` not None).

    A literal may be a `Sym`: a number the kernel is given at run time, or follows from such.
    """

    __slots__ = ("const", "number", "type")

    def __init__(
        self, type_: str, number: int = -1, const: int | float | Sym | None = None
    ) -> None:
        self.type = type_
        self.number = number
        self.const = const

    def __repr__(self) -> str:
        return f"%{self.number}" if self.const is None else f"{self.const}"


class Instr:
    """One instruction: `results = op(args) {attrs} (blocks)`."""

    __slots__ = ("args", "attrs", "blocks", "op", "results")

    def __init__(
        self,
        op: str,
        args: Sequence[Value],
        results: Sequence[Value] = (),
        attrs: tuple[Any, ...] = (),
        blocks: Sequence[Block] = (),
    ) -> None:
        self.op = op
        self.args = tuple(args)
        self.results = tuple(results)
        self.attrs = attrs
        self.blocks = tuple(blocks)


class Block:
    """A straight line of instructions with parameters (a loop's index and carried values)."""

    __slots__ = ("instrs", "params", "yields")

    def __init__(self, params: Sequence[Value] = ()) -> None:
        self.params = list(params)
        self.instrs: list[Instr] = []
        self.yields: list[Value] = []


class Function:
    """A function under construction: each method appends an instruction and returns its value.

    Args:
        name: The symbol.
        params: Pairs (name, type).
        exported: Whether other modules see the symbol; inner functions are not exported.
        noalias: Whether pointer parameters never overlap.

    `result` is the value it returns, if any. `numbers` is the place in the entry's args of the
    first run-time number (symbol 0), after the pointers. `calls_kernels` says that it calls whole
    kernels, each with inner functions of its own names. `wide` says that some "i64" in it may be
    data rather than an index, though it is neither loaded nor stored as such. `target` is what it
    is printed for, where that is another machine than its module's.

    Elementwise methods take scalars or vectors of one type. Python numbers are accepted wherever
    the other operand fixes the type. Comparisons return "i1" or a vector of "i1".
    """

    def __init__(
        self,
        name: str,
        params: Sequence[tuple[str, str]],
        *,
        exported: bool = False,
        noalias: bool = False,
    ) -> None:
        self.name = name
        self.exported = exported
        self.noalias = noalias
        self.count = 0
        self.param_names = [n for n, _ in params]
        self.params = [self._new(t) for _, t in params]
        self.body = Block()
        self.block = self.body
        self.result: Value | None = None
        self.callees: dict[str, Function] = {}
        self.externs: dict[str, tuple[str, ...]] = {}
        self.numbers = 0
        self.calls_kernels = False
        self.wide = False
        self.target: Target | None = None

    # -- building ---------------------------------------------------------------------------
    def _new(self, type_: str) -> Value:
        self.count += 1
        return Value(type_, self.count)

    def _emit(self, op: str, args: Sequence[Value], type_: str, *attrs: Any) -> Value:
        self.count += 1
        result = Value(type_, self.count)
        self.block.instrs.append(Instr(op, args, (result,), attrs))
        return result

    @contextmanager
    def into(self, block: Block) -> Iterator[None]:
        """Append to another block, e.g. an enclosing one to hoist out of a loop."""
        saved, self.block = self.block, block
        try:
            yield
        finally:
            self.block = saved

    def const(self, value: float, type_: str) -> Value:
        """Return a literal; of a vector type, every lane holds it."""
        return Value(type_, const=value)

    def _pair(self, a: Value | float, b: Value | float) -> tuple[Value, Value]:
        if isinstance(a, Value):
            return a, b if isinstance(b, Value) else Value(a.type, const=b)
        assert isinstance(b, Value)
        return Value(b.type, const=a), b

    # -- arithmetic -------------------------------------------------------------------------
    def op(self, name: str, a: Value | float, b: Value | float) -> Value:
        """Apply a binary operation, folding integer literals.

        Names: add sub mul (int or float); fdiv frem fmin fmax (float; fmin and fmax are
        IEEE minNum/maxNum on ordered operands: `a < b ? a : b`); sdiv udiv srem urem and or xor
        shl lshr ashr smin smax umin umax (int).
        """
        x, y = self._pair(a, b)
        literal = x.const is not None or y.const is not None
        folded = _fold(name, x, y) if literal and x.type[0] == "i" and name in FOLDED else None
        return folded if folded is not None else self._emit(name, (x, y), x.type)

    def add(self, a: Value | float, b: Value | float) -> Value:
        """Return a + b."""
        return self.op("add", a, b)

    def sub(self, a: Value | float, b: Value | float) -> Value:
        """Return a - b."""
        return self.op("sub", a, b)

    def mul(self, a: Value | float, b: Value | float) -> Value:
        """Return a * b."""
        return self.op("mul", a, b)

    def fma(self, a: Value, b: Value, c: Value, *, exact: bool = False) -> Value:
        """Return a * b + c rounded once (llvm.fma; twice only where a target has no fma).

        `exact` says that the one rounding is what it is for: without it the result is wrong.
        """
        return self._emit("fma", (a, b, c), c.type, *["exact"] * exact)

    def byte_dots(self, a: Value, b: Value, c: Value) -> Value:
        """Return c + the sums of 4 neighbours of a * b: bytes, b's signed.

        Only for a target that has the instruction: a's are unsigned where `Target.dots` is "vnni",
        and signed where it is "sdot" or "smlad".
        """
        return self._emit("byte_dots", (a, b, c), c.type)

    def pair_dots(self, a: Value, b: Value, c: Value) -> Value:
        """Return c + the sums of 2 neighbours of a * b, of signed 16-bit numbers; on any target."""
        return self._emit("pair_dots", (a, b, c), c.type)

    def unary(self, name: str, a: Value) -> Value:
        """Apply fneg fabs sqrt floor ceil trunc roundeven (float) or ctlz cttz ctpop (int)."""
        return self._emit(name, (a,), a.type)

    def compare(self, name: str, a: Value | float, b: Value | float) -> Value:
        """Compare: eq ne slt sle sgt sge ult ule ugt uge, or oeq une olt ole ogt oge uno."""
        x, y = self._pair(a, b)
        return self._emit(name, (x, y), vector("i1", lanes(x.type)))

    def select(self, condition: Value, a: Value | float, b: Value | float) -> Value:
        """Return a where condition, else b."""
        x, y = self._pair(a, b)
        return self._emit("select", (condition, x, y), x.type)

    def convert(self, name: str, a: Value, type_: str) -> Value:
        """Convert: sext zext trunc_int sitofp uitofp fptosi fptoui fpext fptrunc bitcast.

        fptosi and fptoui give the nearest number in range, and 0 for NaN; fptosi_inside, which
        LLVM has vector instructions for, wants every lane in range.
        """
        return a if a.type == type_ else self._emit(name, (a,), type_)

    # -- vectors ----------------------------------------------------------------------------
    def splat(self, a: Value, count: int) -> Value:
        """Return a vector whose every lane is the scalar."""
        if a.const is not None:
            return Value(vector(a.type, count), const=a.const)
        return a if count == 1 else self._emit("splat", (a,), vector(a.type, count))

    def extract(self, a: Value, lane: int | Value) -> Value:
        """Return one lane."""
        index = lane if isinstance(lane, Value) else Value("i64", const=lane)
        return self._emit("extract", (a, index), element(a.type))

    def insert(self, a: Value, lane: int, scalar: Value) -> Value:
        """Return the vector with one lane replaced."""
        return self._emit("insert", (a, scalar), a.type, lane)

    def shuffle(self, a: Value, b: Value, indices: Sequence[int]) -> Value:
        """Return lanes picked from the concatenation of a and b."""
        if len(indices) == 1:
            first, at = lanes(a.type), indices[0]
            vector_, lane = (a, at) if at < first else (b, at - first)
            return self.extract(vector_, lane) if lanes(vector_.type) > 1 else vector_
        return self._emit("shuffle", (a, b), vector(element(a.type), len(indices)), tuple(indices))

    def iota(self, type_: str) -> Value:
        """Return the vector 0, 1, 2, ... of an integer vector type."""
        return self._emit("iota", (), type_)

    # -- memory -----------------------------------------------------------------------------
    def gep(self, pointer: Value, offset: Value | int, elem: str) -> Value:
        """Return the pointer `offset` elements further."""
        if not isinstance(offset, Value):
            offset = Value("i64", const=offset)
        stays = isinstance(offset.const, int) and offset.const == 0
        return pointer if stays else self._emit("gep", (pointer, offset), "ptr", elem)

    def load(
        self, type_: str, pointer: Value, offset: Value | int = 0,
        *, align: int = 0, mask: Value | None = None, index: bool = False,
    ) -> Value:  # fmt: skip
        """Load a scalar or vector at `offset` elements; masked-off lanes read 0 and touch nothing.

        `align` is in bytes; 0 means the element's own size. `index` says that an "i64" is one.
        """
        at = self.gep(pointer, offset, element(type_))
        args = (at,) if mask is None else (at, mask)
        return self._emit("load", args, type_, align, *["index"] * index)

    def store(
        self, value: Value, pointer: Value, offset: Value | int = 0,
        *, align: int = 0, mask: Value | None = None, stream: bool = False, index: bool = False,
    ) -> None:  # fmt: skip
        """Store a scalar or vector at `offset` elements; masked-off lanes are left alone.

        `stream`, of a whole aligned vector, writes past the caches; `fence` ends such writes.
        `index` says that an "i64" is one.
        """
        at = self.gep(pointer, offset, element(value.type))
        args = (value, at) if mask is None else (value, at, mask)
        attrs = (align, stream, *["index"] * index)
        self.block.instrs.append(Instr("store", args, (), attrs))

    def fence(self) -> None:
        """Wait until every thread sees what was written."""
        self.block.instrs.append(Instr("fence", ()))

    def prefetch(
        self, pointer: Value, offset: Value | int, elem: str, *, write: bool = False,
        near: bool = True,
    ) -> None:  # fmt: skip
        """Ask for a cache line ahead of its use: into the first-level cache if it is near."""
        self.block.instrs.append(
            Instr("prefetch", (self.gep(pointer, offset, elem),), (), (write, near))
        )

    # -- control flow -----------------------------------------------------------------------
    def loop(
        self,
        low: Value | int,
        high: Value | int,
        step: int,
        body: Callable[[Value, list[Value]], Sequence[Value] | None],
        carried: Sequence[Value] = (),
    ) -> list[Value]:
        """Run `body(i, carried)` for i in range(low, high, step); return what is carried last."""
        lo = low if isinstance(low, Value) else Value("i64", const=low)
        hi = high if isinstance(high, Value) else Value("i64", const=high)
        index = self._new("i64")
        params = [self._new(v.type) for v in carried]
        block = Block([index, *params])
        with self.into(block):
            block.yields = list(body(index, params) or ())
        assert len(block.yields) == len(params), "a loop yields one value for each it carries"
        results = [self._new(v.type) for v in carried]
        self.block.instrs.append(Instr("for", (lo, hi, *carried), results, (step,), (block,)))
        return results

    def while_(
        self,
        carried: Sequence[Value],
        condition: Callable[[list[Value]], Value],
        body: Callable[[list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """Run body on the carried values while condition holds; return the last ones."""
        before = Block([self._new(v.type) for v in carried])
        with self.into(before):
            before.yields = [condition(before.params)]
        after = Block([self._new(v.type) for v in carried])
        with self.into(after):
            after.yields = list(body(after.params))
        results = [self._new(v.type) for v in carried]
        self.block.instrs.append(Instr("while", carried, results, (), (before, after)))
        return results

    def if_(
        self,
        condition: Value,
        then: Callable[[], Sequence[Value] | None],
        otherwise: Callable[[], Sequence[Value] | None] | None = None,
    ) -> list[Value]:
        """Run one of two branches; return what the taken one returned."""
        blocks = (Block(), Block())
        for block, branch in zip(blocks, (then, otherwise), strict=True):
            with self.into(block):
                block.yields = list((branch() if branch else None) or ())
        results = [self._new(v.type) for v in blocks[0].yields]
        self.block.instrs.append(Instr("if", (condition,), results, (), blocks))
        return results

    def call(self, function: Function, args: Sequence[Value], name: str = "") -> None:
        """Call another function of the same module, known here by its name or another."""
        name = name or function.name
        self.callees[name] = function
        self.block.instrs.append(Instr("call", args, (), (name,)))

    def apply(self, function: Function, args: Sequence[Value]) -> Value:
        """Call another function of the same module for its result."""
        assert function.result is not None
        result = self._new(function.result.type)
        self.call(function, args)
        self.block.instrs[-1].results = (result,)
        return result

    def asked(self) -> Value:
        """Return the number of the first of its target's choices that is there, else their count.

        Only for a target that has choices.
        """
        return self._emit("asked", (), "i32")

    def text(self) -> str:
        """Return the function as readable text."""
        head = ", ".join(
            f"{v}: {v.type} {n}" for v, n in zip(self.params, self.param_names, strict=True)
        )
        inner = [f.text() for f in self.callees.values()]
        lines = [*inner, f"function {self.name}({head})", *_print(self.body, "  ")]
        return "\n".join(lines if self.result is None else [*lines, f"  return {self.result}"])


FOLDED: Final = frozenset(("add", "sub", "mul", "sdiv", "srem"))
"""Operations on integers that are worked out here where operands are literals."""


def _fold(name: str, x: Value, y: Value) -> Value | None:
    """Fold integer literals and neutral elements, so that addresses stay short."""
    a, b = x.const, y.const
    if isinstance(a, (int, Sym)) and isinstance(b, (int, Sym)):
        if name == "add":
            return Value(x.type, const=a + b)
        if name == "sub":
            return Value(x.type, const=a - b)
        if name == "mul":
            return Value(x.type, const=a * b)
        if b > 0 and a >= 0:
            return Value(x.type, const=a // b if name == "sdiv" else a % b)
    # A run-time number is not asked: it is seldom neutral, and code for it would be for it alone.
    a, b = (None if isinstance(c, Sym) else c for c in (a, b))
    if name == "mul" and (a == 0 or b == 0):
        return Value(x.type, const=0)
    if b == (0 if name in ("add", "sub") else 1) and name != "srem":
        return x
    if (name == "add" and a == 0) or (name == "mul" and a == 1):
        return y
    return None


def _print(block: Block, indent: str) -> list[str]:
    lines = []
    for instr in block.instrs:
        results = ", ".join(map(repr, instr.results))
        types = instr.results[0].type if instr.results else ""
        attrs = f" {list(instr.attrs)}" if any(instr.attrs) else ""
        args = ", ".join(map(repr, instr.args))
        left = f"{results}: {types} = " if results else ""
        lines.append(f"{indent}{left}{instr.op}({args}){attrs}")
        for inner in instr.blocks:
            params = ", ".join(map(repr, inner.params))
            lines.append(f"{indent}  ({params}):")
            lines += _print(inner, indent + "    ")
            if inner.yields:
                lines.append(f"{indent}    yield {', '.join(map(repr, inner.yields))}")
    return lines
