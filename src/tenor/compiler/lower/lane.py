"""Vectors looked at lane by lane: masks, and square blocks transposed in registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenor.ir.loops import lanes, vector

if TYPE_CHECKING:
    from tenor.ir.loops import Function, Value

__all__ = ["first_lanes", "transposed"]


def first_lanes(f: Function, count: int, width: int) -> Value | None:
    """Return the mask of the first `count` of `width` lanes; None where that is all."""
    if count == width:
        return None
    lane = f.iota(vector("i32", width))
    return f.compare("slt", lane, f.const(count, lane.type))


def transposed(f: Function, rows: list[Value]) -> list[Value]:
    """Return the columns of a square block whose rows are vectors; a power of two of lanes."""
    n = len(rows)
    if n >= 4:
        rows = [v for q in range(0, n, 4) for v in _quads(f, rows[q : q + 4])]
    step = 4 if n >= 4 else 1
    while step < n:
        low = [lane if not lane & step else lane - step + n for lane in range(n)]
        high = [lane + step if not lane & step else lane + n for lane in range(n)]
        swapped = list(rows)
        for i in range(n):
            if not i & step:
                swapped[i] = f.shuffle(rows[i], rows[i + step], low)
                swapped[i + step] = f.shuffle(rows[i], rows[i + step], high)
        rows, step = swapped, step * 2
    return rows


def _quads(f: Function, rows: list[Value]) -> list[Value]:
    """Transpose within each group of four lanes, in the steps x86 and ARM have instructions for."""
    n = lanes(rows[0].type)
    groups = range(0, n, 4)

    def pick(a: Value, b: Value, order: tuple[int, ...]) -> Value:
        return f.shuffle(a, b, [g + (x if x < 4 else x - 4 + n) for g in groups for x in order])

    a, b, c, d = rows
    low, high = (0, 4, 1, 5), (2, 6, 3, 7)
    ab, cd = pick(a, b, low), pick(c, d, low)
    ef, gh = pick(a, b, high), pick(c, d, high)
    front, back = (0, 1, 4, 5), (2, 3, 6, 7)
    return [pick(ab, cd, front), pick(ab, cd, back), pick(ef, gh, front), pick(ef, gh, back)]
