"""The innermost loop of every contraction: a tile of C in registers while k runs.

Each element of C has one accumulator, and k runs upwards: how many rows and vectors a tile has,
where it lies and what is masked off never shows in the bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.epilogue import Leaving
from tenor.compiler.lower.lane import first_lanes
from tenor.compiler.lower.storage import (
    LINE,
    compute_type,
    load_element,
    memory_type,
    store_element,
)
from tenor.compiler.lower.ways import chosen, widest
from tenor.ir.loops import Function, Value, vector
from tenor.ir.symbolic import alike

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.lower.epilogue import Epilogue
    from tenor.ir.dtype import DType
    from tenor.ir.target import Target

AHEAD: Final = 8
"""Steps of k a row of B is asked for ahead of, where it is far from the one before."""
FAR: Final = 512
"""Bytes from one row of B to the next that the machine does not foresee."""

__all__ = [
    "Extent",
    "Micro",
    "met_kernel",
    "micro_kernel",
    "multiply_add",
    "stretch",
    "sweep",
    "write_sums",
]


def multiply_add(f: Function, dtype: DType, a: Value, b: Value, c: Value) -> Value:
    """Return a * b + c; floats round once, integers wrap, bools: (a and b) or c."""
    if dtype.kind == "float":
        return f.fma(a, b, c)
    if dtype.kind == "bool":
        return f.op("or", f.op("and", a, b), c)
    return f.add(f.mul(a, b), c)


@dataclass(frozen=True)
class Micro:
    """A micro-kernel: C[i, j] (+)= sum over k of A[rows[i] + k] B[k + j].

    Attributes:
        a, b, c: The dtypes in memory.
        rows: Where each row of A begins, in elements from A's pointer.
        a_step: Elements from one k to the next in A; None: a table of int32 offsets is given.
        b_step: The same in B.
        vectors: Vectors of the tile's columns.
        width: Lanes of a vector.
        last: Lanes of the last vector that exist.
        c_row: Elements from one row of C to the next; None: told at run time, so that layers share
            the function.
        more: Whether C may hold the sums of earlier blocks of k, to be added to.
        padded_b, padded_c: Whether B is read, and C written, beyond the last lane.
        align: Bytes B's vectors are aligned to; 0: an element.
        ahead: Steps of k that packed B is asked for ahead of its use, to the second-level cache;
            0: it is not.
        following: Elements of what is read next that are asked for in each step of k; 0: none.
        resume: Whether a run of k may be cut: the accumulators then go on from what C holds.
        unroll: Steps of k written out in one round of the loop; they divide its length.
        told: Whether how far apart rows of A are is told at run time, so that layers share the
            function: `rows` are then their numbers. So is `following`, which then says how many
            lines of a cache it is at the most.
        b_told: Whether the step in B is told too; `b_step` says whether that is far.
    """

    a: DType
    b: DType
    c: DType
    rows: tuple[int, ...]
    a_step: int | None
    b_step: int | None
    vectors: int
    width: int
    last: int
    c_row: int | None
    more: bool = False
    padded_b: bool = False
    padded_c: bool = False
    align: int = 0
    resume: bool = False
    ahead: int = 0
    following: int = 0
    unroll: int = 1
    told: bool = False
    b_told: bool = False

    @property
    def columns(self) -> int:
        """Columns of the tile."""
        return (self.vectors - 1) * self.width + self.last


def micro_kernel(
    name: str, spec: Micro, epilogue: Epilogue | None = None, *, across: bool = False
) -> Function:
    """Return the function (depth, a, b, c[, table of a][, table of b][, number of the block]).

    Where it may resume, the next argument says whether it does; where it asks for what is read
    next, the next is where that begins; where an epilogue is done to the sums, which are all there
    after one block, its pointers come last; `across` says that columns are its channels, not rows.
    """
    params = _params(spec)
    f = Function(name, params + (epilogue.params if epilogue is not None else []))
    depth, a, b, c, *rest = f.params[: len(params)]
    c_row = f.const(spec.c_row, "i64") if spec.c_row is not None else rest.pop()
    b_step: Value | int | None = rest.pop() if spec.b_told else spec.b_step
    rows: list[Value | int] = list(spec.rows)
    if spec.told:
        a_row = rest.pop()
        rows = [f.mul(a_row, row) for row in spec.rows]
    asked = rest.pop() if spec.told and spec.following else spec.following
    following = rest.pop() if spec.following else None
    resumes = rest.pop() if spec.resume else None
    block = rest.pop() if spec.more else None
    table_b = rest.pop() if spec.b_step is None else None
    table_a = rest.pop() if spec.a_step is None else None
    compute = spec.a.compute
    mask = None if spec.padded_b else first_lanes(f, spec.last, spec.width)
    zero = f.const(0, vector(compute_type(spec.a), spec.width))

    def at(
        pointer: Value, k: Value, step: Value | int | None, table: Value | None, kind: str
    ) -> Value:
        if table is not None:
            return f.gep(pointer, f.convert("sext", f.load("i32", table, k), "i64"), kind)
        return f.gep(pointer, f.mul(k, 0 if step is None else step), kind)

    def step(k: Value, held: list[Value]) -> list[Value]:
        from_a = at(a, k, spec.a_step, table_a, memory_type(spec.a))
        from_b = at(b, k, b_step, table_b, memory_type(spec.b))
        columns = [
            load_element(f, spec.b, from_b, j * spec.width, spec.width, align=spec.align,
                         mask=mask if j == spec.vectors - 1 else None)
            for j in range(spec.vectors)
        ]  # fmt: skip
        near = None
        if following is not None:
            near = f.gep(following, f.mul(k, asked), memory_type(spec.b))
        _ask(f, spec, (from_a, rows), (from_b, b_step), near)
        totals = []
        for i, row in enumerate(rows):
            x = f.splat(load_element(f, spec.a, from_a, row), spec.width)
            for j, y in enumerate(columns):
                old = held[i * spec.vectors + j]
                totals.append(multiply_add(f, compute, x, y, old))
        return totals

    before = [zero] * (len(spec.rows) * spec.vectors)
    if resumes is not None:
        held = f.compare("ne", resumes, 0)
        before = f.if_(held, lambda: _held(f, spec, c, c_row), lambda: [zero] * len(before))

    def steps(k: Value, held: list[Value]) -> list[Value]:
        for n in range(spec.unroll):
            held = step(f.add(k, n), held)
        return held

    totals = f.loop(0, depth, spec.unroll, steps, before)
    if epilogue is not None:
        leaving = Leaving(epilogue, f, f.params[len(params) :], across=across)
        totals = _left_across(spec, totals, leaving) if across else _left(f, spec, totals, leaving)
    write_sums(f, spec, totals, c, block, c_row)
    return f


def _ask(
    f: Function, spec: Micro, a: tuple[Value, list[Value | int]],
    b: tuple[Value, Value | int | None], following: Value | None,
) -> None:  # fmt: skip
    """Ask for what is used some steps of k later, where the machine does not foresee it."""
    from_b, step = b
    lined = spec.align or (spec.b_step is not None and alike((spec.b_step,), (spec.columns,)))
    pitch = 0 if lined else spec.b_step or 0
    if spec.ahead and spec.b_step is not None:
        for line in range(0, spec.vectors * spec.width * spec.b.itemsize, LINE):
            far = spec.ahead * spec.b_step + line // spec.b.itemsize
            f.prefetch(from_b, far, memory_type(spec.b), near=False)
    elif following is not None:
        for line in range(0, spec.following, LINE // spec.b.itemsize):
            f.prefetch(following, line, memory_type(spec.b), near=False)
    elif pitch * spec.b.itemsize >= FAR:
        there = from_b
        if isinstance(step, Value):
            there, pitch = f.gep(from_b, f.mul(step, AHEAD), memory_type(spec.b)), 0
        for j in range(spec.vectors):
            f.prefetch(there, AHEAD * pitch + j * spec.width, memory_type(spec.b))
    if spec.a_step and spec.a_step * spec.a.itemsize >= FAR:
        from_a, rows = a
        for row in (rows[0], rows[-1])[: len(rows)]:  # one row is both
            far = AHEAD * spec.a_step
            at = f.add(row, far) if isinstance(row, Value) else row + far
            f.prefetch(from_a, at, memory_type(spec.a))


def _left(f: Function, spec: Micro, totals: list[Value], leaving: Leaving) -> list[Value]:
    """Return what becomes of a tile's sums; rows are channels."""
    made, mask = [], first_lanes(f, spec.last, spec.width)
    for i in range(len(spec.rows)):
        leaving.channel(i)
        for j in range(spec.vectors):
            lanes = mask if j == spec.vectors - 1 else None
            made.append(leaving.value(totals[i * spec.vectors + j], j * spec.width, lanes))
    return made


def _left_across(spec: Micro, totals: list[Value], leaving: Leaving) -> list[Value]:
    """Return what becomes of a tile's sums; columns are channels, rows places."""
    made = list(totals)
    for j in range(spec.vectors):
        leaving.channel(j * spec.width)
        for i in range(j, len(totals), spec.vectors):
            made[i] = leaving.value(totals[i], 0)
    return made


def _params(spec: Micro) -> list[tuple[str, str]]:
    params = [("depth", "i64"), ("a", "ptr"), ("b", "ptr"), ("c", "ptr")]
    params += [("ta", "ptr")] * (spec.a_step is None) + [("tb", "ptr")] * (spec.b_step is None)
    params += [("block", "i64")] * spec.more + [("resumes", "i64")] * spec.resume
    params += [("next", "ptr")] * bool(spec.following)
    params += [("asked", "i64")] * bool(spec.told and spec.following)
    params += [("a_row", "i64")] * spec.told + [("b_step", "i64")] * spec.b_told
    return params + [("c_row", "i64")] * (spec.c_row is None)


def met_kernel(
    name: str, spec: Micro, target: Target, epilogue: Epilogue | None = None
) -> Function:
    """Return a micro-kernel for the machine that is met: with wider vectors where it has them.

    The tile fills the registers of the widest machine that may be met: narrower ones write it in
    parts, one beside the other. B and C are padded. An epilogue's channels are columns.
    """
    params = _params(spec) + (epilogue.params if epilogue is not None else [])
    most = ceil(spec.vectors * target.vector_bits / widest(target).vector_bits)

    def write(name: str, way: Target) -> Function:
        ratio = way.vector_bits // target.vector_bits
        if ratio > 1 and spec.vectors % ratio == 0:
            width = spec.width * ratio
            spread = replace(spec, vectors=spec.vectors // ratio, width=width, last=width)
            return micro_kernel(name, spread, epilogue, across=True)
        if spec.vectors <= most:
            return micro_kernel(name, spec, epilogue, across=True)
        f = Function(name, params)
        depth, a, b, c, *rest = f.params[: len(_params(spec))]
        given = f.params[len(_params(spec)) :]
        for first in range(0, spec.vectors, most):
            vectors = min(most, spec.vectors - first)
            some = replace(spec, vectors=vectors)
            part = micro_kernel(f"{name}part{vectors}", some, epilogue, across=True)
            at = first * spec.width
            to = f.gep(c, at, memory_type(spec.c))
            more = []
            if epilogue is not None:
                more = epilogue.moved(f, given, f.const(at, "i64"), f.const(0, "i64"))
            f.call(part, [depth, a, f.gep(b, at, memory_type(spec.b)), to, *rest, *more])
        return f

    return chosen(name, params, target, write, wider=True)


def _held(f: Function, spec: Micro, c: Value, c_row: Value) -> list[Value]:
    """Return the accumulators as they were left in C, which is padded."""
    return [
        load_element(f, spec.c, c, f.add(f.mul(c_row, i), j * spec.width), spec.width)
        for i in range(len(spec.rows))
        for j in range(spec.vectors)
    ]


def write_sums(
    f: Function, spec: Micro, totals: list[Value], c: Value, block: Value | None, c_row: Value
) -> None:
    """Write a tile's sums to C, or add them to it from the second block of k on."""
    places = [(i, j) for i in range(len(spec.rows)) for j in range(spec.vectors)]
    last = spec.width if spec.padded_c else spec.last
    mask = first_lanes(f, last, spec.width)

    def write(add: bool) -> None:
        for (i, j), total in zip(places, totals, strict=True):
            lanes, count = None, spec.width
            where = f.add(f.mul(c_row, i), j * spec.width)
            if j == spec.vectors - 1 and last == 1 < spec.width:
                # LLVM 22 writes a narrowed vector's only lane as 32 bits under a constant mask.
                total, count = f.extract(total, 0), 1
            elif j == spec.vectors - 1:
                lanes = mask
            if add:
                old = load_element(f, spec.c, c, where, count, mask=lanes)
                total = f.op("or" if spec.c.kind == "bool" else "add", old, total)
            store_element(f, spec.c, total, c, where, mask=lanes)

    if block is None:
        write(False)
    else:
        f.if_(f.compare("eq", block, 0), lambda: write(False), lambda: write(True))


@dataclass(frozen=True)
class Extent:
    """Rows or columns cut into pieces.

    Attributes:
        count: How many there are in this tile: a literal, or a value below `whole`.
        piece: How many a piece holds.
        rest: How many the very last piece holds if it is not a full one, else 0.
        halving: Whether a rest known at run time only is taken in pieces of halved sizes.
    """

    count: Value
    piece: int
    rest: int
    halving: bool = False


def stretch(f: Function, start: Value, count: int, most: int, piece: int) -> Extent:
    """Return the extent of a tile that begins at `start` of `count` and has `most` at the most."""
    if most >= count:
        return Extent(f.const(count, "i64"), piece, count % piece)
    left: Value = f.const(most, "i64")
    if count % most:
        left = f.op("smin", left, f.sub(count, start))
    return Extent(left, piece, count % piece)


def sweep(f: Function, extent: Extent, body: Callable[[Value, int], None]) -> None:
    """Run `body(start, size)` for each piece of an extent.

    Sizes are literals, but for the rest of an extent known at run time only.
    """
    count, piece, rest = extent.count, extent.piece, extent.rest
    fixed = count.const
    if isinstance(fixed, int):
        full = fixed // piece * piece
        if full == piece:
            body(f.const(0, "i64"), piece)
        elif full:
            f.loop(0, full, piece, lambda i, _: body(i, piece))
        if fixed > full:
            body(f.const(full, "i64"), rest)
        return
    some = extent.halving or bool(rest)
    left = f.op("urem", count, piece) if some else f.const(0, "i64")
    full_count = f.sub(count, left)
    f.loop(0, full_count, piece, lambda i, _: body(i, piece))
    if extent.halving:
        _halved(f, full_count, left, piece, body)
        return
    if rest:
        f.if_(f.compare("ne", left, 0), lambda: body(full_count, rest))


def _halved(
    f: Function, start: Value, left: Value, piece: int, body: Callable[[Value, int], None]
) -> None:
    """Run `body(at, size)` for the powers of two that make up what is left, largest first."""
    at, size = start, 1 << (piece - 1).bit_length() >> 1
    while size:
        part = f.op("and", left, size)
        f.if_(f.compare("ne", part, 0), functools.partial(body, at, size))
        at, size = f.add(at, part), size >> 1
