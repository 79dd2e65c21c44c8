"""Map kernels that read across the rows they write: blocks are turned in registers.

A load that steps far along the vector dim touches a cache line for every lane. Where it is
contiguous along another dim, a square of it is read line by line, turned by shuffles into scratch
memory, and read from there by the rows that need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenor.compiler.lower.evaluate import Axis
from tenor.compiler.lower.frame import GRAIN, over_rows, over_vectors
from tenor.compiler.lower.storage import memory_type
from tenor.ir.loops import Value, vector
from tenor.ir.node import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.compiler.lower.evaluate import Evaluator
    from tenor.ir.kernel import Expr, Kernel
    from tenor.ir.loops import Function

__all__ = ["Plan", "blocks", "plan"]

ROWS: Final = 16
"""Rows a block is high, whatever the width of vectors; less is not worth turning."""
COLUMNS: Final = 512
FAR: Final = 16
"""Stride from which on each lane has a cache line of its own."""


@dataclass(frozen=True)
class Plan:
    """What is turned: these loads, between the vector dim and `dim`, along which they lie."""

    dim: int
    loads: tuple[Expr, ...]


def plan(kernel: Kernel, width: int) -> Plan | None:
    """Return what is worth turning in a map kernel, or None."""
    last = len(kernel.domain) - 1
    if last < 1 or width < 4 or kernel.domain[last] < ROWS:
        return None
    found: dict[int, dict[Expr, None]] = {}
    for load in kernel.expressions():
        if load.op != "load":
            continue
        strides = load.attrs[1].strides
        if load.args or load.attrs[2] or abs(strides[last]) < FAR:
            continue
        along = [d for d in range(last) if strides[d] == 1 and kernel.domain[d] >= ROWS]
        if along:
            found.setdefault(along[0], {})[load] = None
    if not found:
        return None
    dim = max(found, key=lambda d: len(found[d]))
    return Plan(dim, tuple(found[dim]))


def scratch_of(turn: Plan, width: int) -> list[int]:
    """Return where each load's square stands in scratch, and behind them all their end."""
    places = [0]
    for load in turn.loads:
        places.append(places[-1] + width * width * load.dtype.itemsize)
    return places


def blocks(
    e: Evaluator, kernel: Kernel, turn: Plan, low: Value, high: Value, body: Callable[[], None]
) -> tuple[int, int]:
    """Write the loops over blocks; return the number of tiles and the bytes of scratch."""
    f, width = e.f, e.width
    last, tall = len(kernel.domain) - 1, kernel.domain[turn.dim]
    n = kernel.domain[last]
    outer = [d for d in range(last) if d != turn.dim]
    dims = [*outer, -2, -1]
    extents = [*(kernel.domain[d] for d in outer), -(-tall // ROWS), -(-n // COLUMNS)]
    rows = size(extents)
    per_tile = max(1, GRAIN // (ROWS * min(n, COLUMNS)))
    places = scratch_of(turn, width)

    def block(_unit: Value) -> None:
        left = f.mul(e.axes.pop(-1).index, COLUMNS)
        right = f.op("smin", f.add(left, COLUMNS), n)
        top = f.mul(e.axes.pop(-2).index, ROWS)
        bottom = f.op("smin", f.add(top, ROWS), tall)
        squares = f.add(top, _whole(f, f.sub(bottom, top), width))
        edge = f.add(left, _whole(f, f.sub(right, left), width))

        def band(i: Value, _: object) -> None:
            f.loop(left, edge, width, lambda j, _c: _square(e, turn, places, i, j, body))

        f.loop(top, squares, width, band)

        def row(i: Value, _: object) -> None:
            e.axes[turn.dim] = Axis(i, 2)
            e.enter(2)
            inside = f.compare("slt", i, squares)
            start = f.select(inside, edge, left)
            over_vectors(e, last, start, right, 1, 3, body)

        f.loop(top, bottom, 1, row)

    over_rows(e, low, high, dims, extents, per_tile, rows, block)
    return -(-rows // per_tile), places[-1]


def _whole(f: Function, count: Value, step: int) -> Value:
    """Return the largest multiple of step that is not above count."""
    return f.sub(count, f.op("srem", count, step))


def _square(
    e: Evaluator, turn: Plan, places: list[int], i: Value, j: Value, body: Callable[[], None]
) -> None:
    """Turn a square of each load, and compute its rows."""
    f, width, last = e.f, e.width, len(e.kernel.domain) - 1
    e.vector_dim, e.mask = last, None
    e.axes[turn.dim], e.axes[last] = Axis(i, 2), Axis(j, 2)
    e.enter(2)
    for load, place in zip(turn.loads, places, strict=False):
        number, affine, *_ = load.attrs
        kind = vector(memory_type(load.dtype), width)
        at = e.affine(affine)
        lines = [
            f.load(kind, e.buffers[number], f.add(at, k * affine.strides[last]))
            for k in range(width)
        ]
        first = place // load.dtype.itemsize
        for k, line in enumerate(_turned(f, lines)):
            f.store(line, e.scratch, first + k * width)

    def row(k: Value, _: object) -> None:
        e.axes[turn.dim] = Axis(f.add(i, k), 3)
        e.enter(3)
        at = f.mul(k, width)
        for load, place in zip(turn.loads, places, strict=False):
            e.turned[load] = f.add(at, place // load.dtype.itemsize)
        body()
        e.turned.clear()

    f.loop(0, width, 1, row)


def _turned(f: Function, lines: list[Value]) -> list[Value]:
    """Transpose a square of vectors: swap ever larger corners."""
    count = len(lines)
    lines = list(lines)
    step = 1
    while step < count:
        upper = [lane if not lane & step else count + lane - step for lane in range(count)]
        lower = [lane + step if not lane & step else count + lane for lane in range(count)]
        for k in range(count):
            if not k & step:
                a, b = lines[k], lines[k + step]
                lines[k], lines[k + step] = f.shuffle(a, b, upper), f.shuffle(a, b, lower)
        step *= 2
    return lines
